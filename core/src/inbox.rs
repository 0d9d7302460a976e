//! Where hints wait for their claims: every engine that is told of hand-overs puts them here.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
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
    watched: HashMap<ClaimId, Slot>,
    early: VecDeque<(ClaimId, Hint)>,
}

/// What a watcher has not read yet: the last hint, for each later one makes the earlier ones stale.
#[derive(Debug, Default)]
struct Slot {
    hint: Option<Hint>,
    waker: Option<Waker>,
}

impl Inbox {
    /// Puts a hint where the claim's watcher finds it, now or when it comes.
    pub fn deliver(&self, id: ClaimId, hint: Hint) {
        let mut slots = self.lock();
        let waker = match slots.watched.get_mut(&id) {
            Some(slot) => {
                // A look must not hide the news that the claim is held.
                if !(hint == Hint::Look && slot.hint.is_some()) {
                    slot.hint = Some(hint);
                }
                slot.waker.take()
            }
            None => {
                if slots.early.len() == EARLY_HINTS_MAX {
                    slots.early.pop_front();
                }
                slots.early.push_back((id, hint));
                None
            }
        };
        drop(slots);
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

    /// The hints for a claim from now on, and what came for it just before. One watcher a claim.
    pub fn watch(&self, id: ClaimId) -> Hints {
        let mut slots = self.lock();
        let early = slots.early.iter().rposition(|(early, _)| *early == id);
        let hint = early.and_then(|at| slots.early.remove(at)).map(|(_, hint)| hint);
        slots.watched.insert(id, Slot { hint, waker: None });
        Box::pin(Watcher { inbox: self.clone(), id })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Slots> {
        // Nothing in here can panic half-way, so a poisoned map is still a good one.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Watcher {
    inbox: Inbox,
    id: ClaimId,
}

impl Stream for Watcher {
    type Item = Hint;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Hint>> {
        let mut slots = self.inbox.lock();
        let Some(slot) = slots.watched.get_mut(&self.id) else { return Poll::Ready(None) };
        match slot.hint.take() {
            Some(hint) => Poll::Ready(Some(hint)),
            None => {
                slot.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.inbox.lock().watched.remove(&self.id);
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
        inbox.look();
        assert_eq!(hints.next().now_or_never(), Some(Some(Hint::Look)));
        drop(hints);
        assert!(inbox.lock().watched.is_empty());
    }
}
