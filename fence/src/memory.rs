//! A fence in this process's memory, for what is in its memory too, and for services.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use leasehold_core::{Mode, Name};
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

use crate::{Marks, Sequencer, Stale};

/// A fence in memory. Cheap to clone; clones share the marks.
///
/// Whoever is let in stays in until [`Entered`] is dropped, and keeps out those that conflict with it: between the
/// check and what is done under it nobody slips in. One that waited for its turn is checked when it gets it.
///
/// # What it costs
/// A look into a map; about a hundred bytes for each name, for as long as the process lives.
///
/// # What it cannot see
/// Other processes, and what this one saw before it was restarted: a holder that slept through the restart is let in
/// until a later one has come. What outlives the process must be fenced where it is stored.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    gates: Arc<Mutex<HashMap<Name, Arc<Gate>>>>,
}

/// The fence of one lock.
#[derive(Debug, Default)]
struct Gate {
    marks: Mutex<Marks>,
    turn: Arc<RwLock<()>>,
}

/// Let in, until it is dropped.
#[derive(Debug)]
#[must_use = "whoever conflicts is let in as soon as this is dropped"]
pub struct Entered {
    sequencer: Sequencer,
    _turn: Turn,
}

#[derive(Debug)]
enum Turn {
    Exclusive { _turn: OwnedRwLockWriteGuard<()> },
    Shared { _turn: OwnedRwLockReadGuard<()> },
}

impl Memory {
    /// One that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Waits until nobody that conflicts is inside, then raises the mark. Read and write while you hold what it
    /// returns.
    ///
    /// # Errors
    /// [`Stale`] if a later holder has been there.
    ///
    /// # Cancel safety
    /// Dropped on the way, it has changed nothing.
    pub async fn enter(&self, who: impl Into<Sequencer>) -> Result<Entered, Stale> {
        let sequencer = who.into();
        let gate = self.gate(sequencer.name());
        let turn = Arc::clone(&gate.turn);
        let turn = match sequencer.mode() {
            Mode::Exclusive => Turn::Exclusive { _turn: turn.write_owned().await },
            Mode::Shared => Turn::Shared { _turn: turn.read_owned().await },
        };
        locked(&gate.marks).admit(sequencer.mode(), sequencer.token())?;
        Ok(Entered { sequencer, _turn: turn })
    }

    /// What has been seen of a lock.
    pub fn marks(&self, name: &Name) -> Marks {
        locked(&self.gates).get(name).map(|gate| *locked(&gate.marks)).unwrap_or_default()
    }

    fn gate(&self, name: &Name) -> Arc<Gate> {
        let mut gates = locked(&self.gates);
        if let Some(gate) = gates.get(name) {
            return Arc::clone(gate);
        }
        Arc::clone(gates.entry(name.clone()).or_default())
    }
}

impl Entered {
    /// Who was let in.
    pub fn sequencer(&self) -> &Sequencer {
        &self.sequencer
    }
}

/// Nothing that is done under these mutexes can panic half-way.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use leasehold_core::Token;

    use super::*;

    fn who(token: u64, mode: Mode) -> Sequencer {
        Sequencer::new(Name::new("x").unwrap(), Token::new(token).unwrap(), mode)
    }

    #[tokio::test]
    async fn who_waited_for_its_turn_is_checked_when_it_gets_it() {
        let fence = Memory::new();
        let inside = fence.enter(who(1, Mode::Exclusive)).await.unwrap();
        let mut late = Box::pin(fence.enter(who(2, Mode::Exclusive)));
        let mut next = Box::pin(fence.enter(who(3, Mode::Exclusive)));
        assert!(matches!(futures_util::poll!(&mut next), Poll::Pending));
        assert!(matches!(futures_util::poll!(&mut late), Poll::Pending));
        drop(inside);
        drop(next.await.unwrap());
        assert_eq!(late.await.unwrap_err().seen, 3);
        assert_eq!(fence.marks(&Name::new("x").unwrap()), Marks::new(3, 0));
    }

    #[tokio::test]
    async fn readers_are_inside_together_and_keep_a_writer_waiting() {
        let fence = Memory::new();
        let one = fence.enter(who(2, Mode::Shared)).await.unwrap();
        let other = fence.enter(who(1, Mode::Shared)).await.unwrap();
        let mut writer = Box::pin(fence.enter(who(3, Mode::Exclusive)));
        assert!(matches!(futures_util::poll!(&mut writer), Poll::Pending));
        drop((one, other));
        drop(writer.await.unwrap());
        assert_eq!(fence.enter(who(2, Mode::Shared)).await.unwrap_err().seen, 3);
    }
}
