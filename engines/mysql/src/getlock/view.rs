//! Who has what: our own claims, and what others have of those names or of the one that is asked for.

use std::sync::Arc;
use std::time::Duration;

use leasehold_core::desk::Session as _;
use leasehold_core::engine::{ClaimView, Page, Query, QueueView};
use leasehold_core::{ClaimId, Meta, Name, Result};

use crate::failure;
use crate::getlock::Inner;
use crate::getlock::name::Key;

/// A page of queues.
pub(super) async fn page(inner: &Arc<Inner>, query: &Query) -> Result<Page> {
    let now = inner.place.env.now();
    let mut queues = inner.desk().view(&query.prefix, now);
    // Whoever asks for one lock tells its name.
    if let Ok(name) = Name::new(&query.prefix)
        && queues.iter().all(|(_, queue)| queue.name != name)
    {
        queues.push((Key::of(name.as_str()), QueueView { name, capacity: 1, claims: Vec::new() }));
    }
    queues.retain(|(_, queue)| query.after.as_ref().is_none_or(|after| queue.name > *after));
    queues.sort_unstable_by(|(_, one), (_, other)| one.name.cmp(&other.name));
    let elsewhere = |queue: &QueueView| queue.claims.first().is_none_or(|first| first.token.is_none());
    let asked: Vec<Key> =
        queues.iter().filter(|(_, queue)| elsewhere(queue)).map(|(key, _)| key.clone()).collect();
    if !asked.is_empty() {
        let looking = async { inner.side().await?.who_has(&asked).await };
        let found = inner.place.in_time(looking).await;
        let found = found.unwrap_or_else(|| Err(failure::late("inspect", &inner.place.name)))?;
        // A server that was started anew counts its sessions anew.
        let ours: Vec<u32> =
            inner.links().iter().filter(|link| !link.is_over()).map(|link| link.id()).collect();
        let waiting = queues.iter_mut().filter(|(_, queue)| elsewhere(queue));
        for ((_, queue), holder) in waiting.zip(found) {
            if let Some(session) = holder.filter(|session| !ours.contains(session)) {
                queue.claims.insert(0, foreign(session));
            }
        }
    }
    let mut page = Page::default();
    for (_, queue) in queues.into_iter().filter(|(_, queue)| !queue.claims.is_empty()) {
        if page.queues.len() == query.limit {
            page.next = page.queues.last().map(|queue| queue.name.clone());
            break;
        }
        page.queues.push(queue);
    }
    Ok(page)
}

fn foreign(session: u32) -> ClaimView {
    ClaimView {
        // Who it is and since when, only its client knows.
        id: ClaimId(0),
        weight: 1,
        token: None,
        age: Duration::ZERO,
        ttl_left: Duration::ZERO,
        revoked: false,
        meta: Meta { owner: format!("connection {session}").into(), payload: None },
    }
}
