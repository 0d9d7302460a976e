//! How a waiter learns that it is its turn: it watches those who stand in its way, and nobody else.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::select_all;
use futures_util::stream;

use crate::claim::ClaimRef;
use crate::engine::{Hint, Hints};
use crate::ordered::Inner;
use crate::ordered::rule::place;
use crate::ordered::store::Store;
use crate::ordered::table::State;

/// The first and the longest pause before a line that could not be read is looked at again.
const PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// The hints for a claim: polled by the waiter itself, so that whoever goes away watches nothing any more.
pub(super) fn hints<S: Store>(inner: Arc<Inner<S>>, claim: ClaimRef) -> Hints {
    Box::pin(stream::unfold(Some((inner, claim)), |waiter| async {
        let (inner, claim) = waiter?;
        let hint = next(&inner, &claim).await?;
        // That it is held is the last word; so is that there is nothing left to wait for.
        Some((hint, None))
    }))
}

/// Waits until the claim is held, or is not there any more.
async fn next<S: Store>(inner: &Arc<Inner<S>>, claim: &ClaimRef) -> Option<Hint> {
    let mut pause = PAUSE.0;
    loop {
        let (blockers, stamp, session) = {
            let table = inner.table();
            let entry = table.alive(claim.id, inner.env.now())?;
            match &entry.state {
                State::Waiting => (entry.blockers.0.clone(), entry.blockers.1, entry.session.clone()?),
                State::Held(token) => return Some(Hint::Held(*token)),
                State::Entering | State::Revoked | State::Left => return None,
            }
        };
        let watched = blockers.iter().map(|key| inner.store.gone(&claim.name, key, stamp));
        select_all(watched).await;
        match inner.store.line_up_to(&session.id, claim).await {
            Ok(line) => {
                let now = inner.env.now();
                // Its owner has not asked, so it does not live on by this.
                if !inner.table().settle(claim.id, &place(&line, claim.id), line.stamp, now, None) {
                    inner.look_at(now);
                    return Some(Hint::Look);
                }
                pause = PAUSE.0;
            }
            Err(_) => {
                inner.env.clock.sleep_until(inner.env.now() + pause).await;
                pause = (pause * 2).min(PAUSE.1);
            }
        }
    }
}
