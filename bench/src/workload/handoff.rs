//! The hand-over: all tasks want one lock, again and again. What counts is how often the holder changed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use leasehold_core::{Env, Error, ErrorKind, Result};
use tokio::task::JoinSet;

use super::pair::hold;
use super::{Meter, Part, Start, all, sum};
use crate::entrant::{Locker, Seat};
use crate::load::Load;
use crate::measure::{Measured, Waits};

/// Nobody.
const NOBODY: usize = usize::MAX;

/// What the lock protects: who is inside, and who was last. It notices when the lock does not do its work.
#[derive(Debug)]
struct Room {
    inside: AtomicUsize,
    last: AtomicUsize,
    hand_overs: AtomicU64,
}

impl Room {
    fn new() -> Self {
        Self {
            inside: AtomicUsize::new(NOBODY),
            last: AtomicUsize::new(NOBODY),
            hand_overs: AtomicU64::new(0),
        }
    }

    /// Goes in. A hand-over is counted if somebody else was in there last and the time is not yet over.
    fn enter(&self, task: usize, counts: bool) -> Result<()> {
        let other = self.inside.swap(task, Ordering::AcqRel);
        if other != NOBODY {
            return Err(both(task, other));
        }
        let last = self.last.swap(task, Ordering::Relaxed);
        if counts && last != task && last != NOBODY {
            self.hand_overs.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Goes out.
    fn leave(&self, task: usize) -> Result<()> {
        match self.inside.swap(NOBODY, Ordering::AcqRel) {
            inside if inside == task => Ok(()),
            other => Err(both(task, other)),
        }
    }

    fn hand_overs(&self) -> u64 {
        self.hand_overs.load(Ordering::Relaxed)
    }
}

fn both(one: usize, other: usize) -> Error {
    let message = format!("tasks {one} and {other} held the lock at once: the lock is broken");
    Error::new(ErrorKind::Unexpected, "bench", message)
}

/// Runs hand-overs.
///
/// # Errors
/// The first that a seat meets, or that two tasks held the lock at once.
pub async fn handoff<L: Locker>(env: &Env, locker: &L, load: Load) -> Result<Measured> {
    let start = Arc::new(Start::new(load.tasks));
    let room = Arc::new(Room::new());
    let mut tasks = JoinSet::new();
    let mut seats = Vec::with_capacity(load.tasks);
    for _ in 0..load.tasks {
        seats.push(locker.seat("handoff").await?);
    }
    let meter = Meter::read(locker)?;
    for (task, seat) in seats.into_iter().enumerate() {
        tasks.spawn(one(env.clone(), seat, Arc::clone(&start), Arc::clone(&room), task, load));
    }
    let parts = all(tasks).await?;
    meter.charge(locker, &load, sum(&parts, Some(room.hand_overs())))
}

async fn one<S: Seat>(
    env: Env,
    mut seat: S,
    start: Arc<Start>,
    room: Arc<Room>,
    task: usize,
    load: Load,
) -> Result<Part> {
    let mut waits = Waits::default();
    let (began, end) = start.together(&env, &load).await;
    let mut held = 0;
    loop {
        let asked = env.now();
        if asked >= end {
            return Ok(Part { held, waits, began, ended: end });
        }
        seat.acquire().await?;
        let got = env.now();
        // A wait that outlasts the run is a wait; a turn after its end is no turn.
        waits.record(got.since(asked));
        let counts = got < end;
        room.enter(task, counts)?;
        held += u64::from(counts);
        hold(&env, load.hold).await;
        room.leave(task)?;
        seat.release().await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locking_again_is_no_hand_over() {
        let room = Room::new();
        for task in [1, 1, 2, 1, 1, 1, 2] {
            room.enter(task, true).unwrap();
            room.leave(task).unwrap();
        }
        assert_eq!(room.hand_overs(), 3);
        room.enter(1, false).unwrap();
        room.leave(1).unwrap();
        assert_eq!(room.hand_overs(), 3, "the time was over");
    }

    #[test]
    fn two_inside_are_noticed() {
        let room = Room::new();
        room.enter(1, true).unwrap();
        let error = room.enter(2, true).unwrap_err();
        insta::assert_snapshot!(error);
        room.leave(1).unwrap_err();
    }
}
