//! Where hints wait for their claims: every engine that is told of hand-overs puts them here.

use std::collections::VecDeque;
use std::hash::{BuildHasherDefault, Hasher};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use futures_util::Stream;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

use crate::claim::ClaimId;
use crate::engine::{Hint, Hints};

/// How many hints are remembered for claims that nobody watches yet: a hand-over may be told before the waiter
/// has read the answer to its `join`.
const EARLY_HINTS_MAX: usize = 1024;

/// Hints by claim; and, for an engine that lives in this process, what it keeps under the same lock. Cheap to clone;
/// clones share.
#[derive(Debug)]
pub struct Inbox<T = ()>(Arc<Shared<T>>);

#[derive(Debug)]
struct Shared<T> {
    desk: Mutex<Desk<T>>,
    /// How often all were told to look. Written under the lock.
    looks: AtomicU64,
}

/// What is under the lock.
#[derive(Debug)]
pub(crate) struct Desk<T> {
    pub(crate) slots: Slots,
    pub(crate) beside: T,
}

#[derive(Debug, Default)]
pub(crate) struct Slots {
    watched: HashMap<ClaimId, Slot, BuildHasherDefault<Random>>,
    early: VecDeque<(ClaimId, Hint)>,
}

/// What a watcher has not read, and how it is woken.
#[derive(Debug, Default)]
struct Slot {
    /// The last hint, for each later one makes the earlier ones stale.
    hint: Option<Hint>,
    waker: Option<Waker>,
}

impl Slot {
    fn put(&mut self, hint: Hint) -> Option<Waker> {
        // A look must not hide the news that the claim is held.
        if !(hint == Hint::Look && self.hint.is_some()) {
            self.hint = Some(hint);
        }
        self.waker.take()
    }
}

/// Claim ids are random: any part of one is as good as a hash of it.
#[derive(Debug, Default)]
struct Random(u64);

impl Hasher for Random {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u128(&mut self, id: u128) {
        self.0 = id as u64;
    }
}

impl Slots {
    /// Puts a hint where the claim's watcher finds it, now or when it comes; who is to be woken for it.
    pub(crate) fn put(&mut self, id: ClaimId, hint: Hint) -> Option<Waker> {
        if let Some(slot) = self.watched.get_mut(&id) {
            return slot.put(hint);
        }
        if self.early.len() == EARLY_HINTS_MAX {
            self.early.pop_front();
        }
        self.early.push_back((id, hint));
        None
    }

    fn take_early(&mut self, id: ClaimId) -> Option<Hint> {
        let at = self.early.iter().rposition(|(early, _)| *early == id)?;
        self.early.remove(at).map(|(_, hint)| hint)
    }
}

impl Default for Inbox {
    fn default() -> Self {
        Self::beside(())
    }
}

impl<T> Clone for Inbox<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Send + 'static> Inbox<T> {
    /// With something beside it.
    pub(crate) fn beside(beside: T) -> Self {
        let desk = Mutex::new(Desk { slots: Slots::default(), beside });
        Self(Arc::new(Shared { desk, looks: AtomicU64::default() }))
    }

    /// Puts a hint where the claim's watcher finds it, now or when it comes.
    pub fn deliver(&self, id: ClaimId, hint: Hint) {
        let waker = self.lock().slots.put(id, hint);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Tells every watcher to look, as after a lost connection.
    pub fn look(&self) {
        let mut desk = self.lock();
        self.0.looks.fetch_add(1, Ordering::Relaxed);
        let woken = desk.slots.watched.iter_mut().filter_map(|(id, slot)| Some((*id, slot.put(Hint::Look)?)));
        let mut woken: Vec<(ClaimId, Waker)> = woken.collect();
        drop(desk);
        // The order of a hash map is random, and a simulated run must be the same each time.
        woken.sort_unstable_by_key(|(id, _)| *id);
        for (_, waker) in woken {
            waker.wake();
        }
    }

    /// The hints for a claim from now on, and what came for it just before. One watcher a claim; that the claim is
    /// held is the last that it hears.
    pub fn watch(&self, id: ClaimId) -> Hints {
        let looks = self.0.looks.load(Ordering::Relaxed);
        Box::pin(Watcher { inbox: self.clone(), id, stage: Stage::Opened { looks } })
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Desk<T>> {
        // Nothing in here can panic half-way, so what is in a poisoned lock is still good.
        self.0.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Watcher<T: Send + 'static> {
    inbox: Inbox<T>,
    id: ClaimId,
    stage: Stage,
}

#[derive(Clone, Copy)]
enum Stage {
    /// It has not been polled; when it was made, all had been told to look so often.
    Opened { looks: u64 },
    /// It has a slot.
    Watching,
    /// It has read the last hint.
    Over,
}

impl<T: Send> Stream for Watcher<T> {
    type Item = Hint;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Hint>> {
        let Self { inbox, id, stage } = &mut *self;
        let Desk { slots, .. } = &mut *inbox.lock();
        let early = match *stage {
            Stage::Opened { looks } => {
                let missed = inbox.0.looks.load(Ordering::Relaxed) != looks;
                slots.take_early(*id).or(missed.then_some(Hint::Look))
            }
            Stage::Watching => None,
            Stage::Over => return Poll::Pending,
        };
        let mut slot = match slots.watched.entry(*id) {
            Entry::Occupied(slot) => slot,
            Entry::Vacant(room) => room.insert_entry(Slot { hint: early, waker: None }),
        };
        *stage = Stage::Watching;
        let Some(hint) = slot.get_mut().hint.take() else {
            slot.get_mut().waker = Some(cx.waker().clone());
            return Poll::Pending;
        };
        if let Hint::Held(_) = hint {
            slot.remove();
            *stage = Stage::Over;
        }
        Poll::Ready(Some(hint))
    }
}

impl<T: Send> Drop for Watcher<T> {
    fn drop(&mut self) {
        if let Stage::Watching = self.stage {
            self.inbox.lock().slots.watched.remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, StreamExt};

    use super::*;
    use crate::token::Token;

    #[test]
    fn early_hints_are_kept_and_held_is_not_hidden() {
        let inbox = Inbox::default();
        let held = Hint::Held(Token::new(7).unwrap());
        inbox.deliver(ClaimId(1), held);
        let mut hints = inbox.watch(ClaimId(1));
        inbox.look();
        assert_eq!(hints.next().now_or_never(), Some(Some(held)));
        assert_eq!(hints.next().now_or_never(), None);
    }

    #[test]
    fn held_is_the_last_word_and_nothing_is_left_of_a_watcher() {
        let inbox = Inbox::default();
        let held = Hint::Held(Token::new(7).unwrap());
        let (mut first, second) = (inbox.watch(ClaimId(1)), inbox.watch(ClaimId(2)));
        inbox.look();
        assert_eq!(first.next().now_or_never(), Some(Some(Hint::Look)));
        inbox.deliver(ClaimId(1), held);
        inbox.look();
        assert_eq!(first.next().now_or_never(), Some(Some(held)));
        assert_eq!(first.next().now_or_never(), None);
        drop((first, second));
        let slots = &inbox.lock().slots;
        assert!(slots.watched.is_empty() && slots.early.is_empty());
    }
}
