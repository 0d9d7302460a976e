//! Where hints wait for their claims: every engine that is told of hand-overs puts them here.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use futures_util::Stream;
use hashbrown::HashMap;

use crate::claim::ClaimId;
use crate::engine::{Hint, Hints};

/// How many hints are remembered for claims that nobody watches yet: a hand-over may be told before the waiter
/// has read the answer to its `join`.
const EARLY_HINTS_MAX: usize = 1024;

/// Hints by claim. Cheap to clone; clones share.
#[derive(Clone, Debug, Default)]
pub struct Inbox(Arc<Mutex<Slots>>);

#[derive(Debug, Default)]
struct Slots {
    watched: HashMap<ClaimId, Arc<Slot>>,
    early: VecDeque<(ClaimId, Hint)>,
}

impl Slots {
    fn take_early(&mut self, id: ClaimId) -> Option<Hint> {
        let at = self.early.iter().rposition(|(early, _)| *early == id)?;
        self.early.remove(at).map(|(_, hint)| hint)
    }
}

/// Where one watcher finds its hints. It has a lock of its own, so that whoever waits is not in the way of others.
#[derive(Debug, Default)]
struct Slot(Mutex<Unread>);

/// What a watcher has not read yet: the last hint, for each later one makes the earlier ones stale.
#[derive(Debug, Default)]
struct Unread {
    hint: Option<Hint>,
    waker: Option<Waker>,
}

impl Inbox {
    /// Puts a hint where the claim's watcher finds it, now or when it comes.
    pub fn deliver(&self, id: ClaimId, hint: Hint) {
        let mut slots = self.lock();
        let slot = match hint {
            Hint::Held(_) => slots.watched.remove(&id),
            Hint::Look => slots.watched.get(&id).cloned(),
        };
        let Some(slot) = slot else {
            if slots.early.len() == EARLY_HINTS_MAX {
                slots.early.pop_front();
            }
            slots.early.push_back((id, hint));
            return;
        };
        drop(slots);
        let mut unread = lock(&slot.0);
        // A look must not hide the news that the claim is held.
        if !(hint == Hint::Look && unread.hint.is_some()) {
            unread.hint = Some(hint);
        }
        let waker = unread.waker.take();
        drop(unread);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Tells every watcher to look, as after a lost connection.
    pub fn look(&self) {
        let mut ids: Vec<ClaimId> = self.lock().watched.keys().copied().collect();
        // The order of a hash map is random, and a simulated run must be the same each time.
        ids.sort_unstable();
        for id in ids {
            self.deliver(id, Hint::Look);
        }
    }

    /// The hints for a claim from now on, and what came for it just before. One watcher a claim; that the claim is
    /// held is the last that it hears.
    pub fn watch(&self, id: ClaimId) -> Hints {
        let mut slots = self.lock();
        let hint = slots.take_early(id);
        let slot = Arc::new(Slot(Mutex::new(Unread { hint, waker: None })));
        if !is_last(hint) {
            slots.watched.insert(id, Arc::clone(&slot));
        }
        drop(slots);
        Box::pin(Watcher { inbox: self.clone(), id, slot, over: is_last(hint) })
    }

    fn lock(&self) -> MutexGuard<'_, Slots> {
        lock(&self.0)
    }
}

/// Whether nothing comes after it: the slot of a claim that has been told that it is held is out of the map.
fn is_last(hint: Option<Hint>) -> bool {
    matches!(hint, Some(Hint::Held(_)))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing in here can panic half-way, so what is in a poisoned lock is still good.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Watcher {
    inbox: Inbox,
    id: ClaimId,
    slot: Arc<Slot>,
    /// It has read the last hint.
    over: bool,
}

impl Stream for Watcher {
    type Item = Hint;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Hint>> {
        let mut unread = lock(&self.slot.0);
        let hint = unread.hint.take();
        if hint.is_none() {
            unread.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        drop(unread);
        self.over |= is_last(hint);
        Poll::Ready(hint)
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        if !self.over {
            self.inbox.lock().watched.remove(&self.id);
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
        assert!(inbox.lock().watched.is_empty() && inbox.lock().early.is_empty());
    }
}
