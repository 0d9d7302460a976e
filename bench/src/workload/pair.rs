//! The uncontended pair: lock and release with nothing in between, each task on a lock of its own.

use std::sync::Arc;
use std::time::Duration;

use leasehold_core::{Env, Result};
use tokio::task::JoinSet;

use super::{Meter, Part, Start, all, sum};
use crate::WORKERS;
use crate::entrant::{Locker, Seat};
use crate::load::Load;
use crate::measure::{Measured, Waits};

/// Two readings of the clock may cost this much of the pairs between them at the most, so faster pairs are timed
/// once in a while: one in as many as fill this time.
const TIMED_EVERY: Duration = Duration::from_micros(4);
/// The most pairs that are not timed between two that are.
const UNTIMED_MAX: u32 = 1024;
/// A task gives way to the others this often, for an engine that is always ready never does.
const YIELD_EVERY: Duration = Duration::from_micros(50);
/// The same where nobody waits for a thread: giving way is then a system call that wakes an idle one.
const YIELD_ALONE_EVERY: Duration = Duration::from_millis(1);

/// Runs pairs.
///
/// # Errors
/// The first that a seat meets.
pub async fn pair<L: Locker>(env: &Env, locker: &L, load: Load) -> Result<Measured> {
    let start = Arc::new(Start::new(load.tasks));
    let mut tasks = JoinSet::new();
    let mut seats = Vec::with_capacity(load.tasks);
    for task in 0..load.tasks {
        seats.push(locker.seat(&format!("pair/{task}")).await?);
    }
    let meter = Meter::read(locker)?;
    for seat in seats {
        tasks.spawn(one(env.clone(), seat, Arc::clone(&start), load));
    }
    meter.charge(locker, &load, sum(&all(tasks).await?, None))
}

async fn one<S: Seat>(env: Env, mut seat: S, start: Arc<Start>, load: Load) -> Result<Part> {
    let mut waits = Waits::default();
    let (began, end) = start.together(&env, &load).await;
    let (mut held, mut untimed) = (0, 0);
    let yield_every = if load.tasks > WORKERS { YIELD_EVERY } else { YIELD_ALONE_EVERY };
    let mut now = env.now();
    let mut gave_way = now;
    while now < end {
        seat.acquire().await?;
        let got = env.now();
        waits.record(got.since(now));
        hold(&env, load.hold).await;
        seat.release().await?;
        for _ in 0..untimed {
            seat.acquire().await?;
            hold(&env, load.hold).await;
            seat.release().await?;
        }
        held += 1 + u64::from(untimed);
        let done = env.now();
        if done.since(now) < TIMED_EVERY {
            untimed = (untimed * 2 + 1).min(UNTIMED_MAX);
        }
        now = done;
        if now.since(gave_way) >= yield_every {
            tokio::task::yield_now().await;
            now = env.now();
            gave_way = now;
        }
    }
    Ok(Part { held, waits, began, ended: now })
}

/// Holds the lock for a while; not at all costs nothing.
pub(super) async fn hold(env: &Env, span: Duration) {
    if !span.is_zero() {
        env.clock.sleep_until(env.now() + span).await;
    }
}
