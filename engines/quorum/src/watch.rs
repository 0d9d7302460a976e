//! Hints: those of the node in whose queue a claim waits.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::{Stream, StreamExt};
use leasehold_core::engine::{Hint, Hints};
use leasehold_core::{ClaimId, ClaimRef};

use crate::shared::Shared;

/// The hints of the node in whose queue a claim waits, wherever that is by now.
struct Watcher {
    shared: Arc<Shared>,
    claim: ClaimId,
    /// What is watched: which node, under which id.
    source: Option<(usize, ClaimRef, Hints)>,
}

impl Shared {
    /// The hints about a claim.
    pub(crate) fn watch(self: &Arc<Self>, claim: &ClaimRef) -> Hints {
        Box::pin(Watcher { shared: Arc::clone(self), claim: claim.id, source: None })
    }
}

impl Stream for Watcher {
    type Item = Hint;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Hint>> {
        let Self { shared, claim, source } = self.get_mut();
        let waits = shared.roll.with(*claim, |entry| {
            entry.watcher = Some(cx.waker().clone());
            entry.queue.map(|node| (node, entry.key(node)))
        });
        // What is not known any more has nothing to be told.
        let Some(waits) = waits else { return Poll::Ready(None) };
        let Some((node, key)) = waits else { return Poll::Pending };
        let watched = source.take().filter(|(at, same, _)| *at == node && *same == key);
        let (.., hints) = source.insert(watched.unwrap_or_else(|| {
            let hints = shared.nodes[node].engine.watch(&key);
            (node, key, hints)
        }));
        let Poll::Ready(hint) = hints.poll_next_unpin(cx) else { return Poll::Pending };
        if let Some(Hint::Held(token)) = hint {
            shared.note(token);
            // That it is held there says only that it is its turn to ask the others.
            shared.roll.with(*claim, |entry| entry.hinted = entry.queue == Some(node));
        }
        Poll::Ready(hint.map(|_| Hint::Look))
    }
}
