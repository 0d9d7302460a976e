//! What goes on in the background: the dead are removed, and sessions are looked after.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use hashbrown::HashSet;

use crate::claim::ClaimId;
use crate::clock::Moment;
use crate::error::{ErrorKind, Result};
use crate::ordered::Inner;
use crate::ordered::rule::{Place, place};
use crate::ordered::session::Session;
use crate::ordered::store::{Owned, Store};
use crate::ordered::table::Going;

/// How many contenders are ended at a time.
const EXITS_AT_A_TIME: usize = 64;
/// What a session owns is listed so often in its TTL.
const SWEEPS: u32 = 2;
/// And never more often than so.
const PAUSE_MIN: Duration = Duration::from_millis(20);
/// After a sweep that failed, the next one comes after this part of the TTL.
const RETRY_PART: u32 = 20;

/// Ends the contenders of claims that have died by their own deadline, and of those that could not be ended before.
/// For ever: it is aborted with the engine.
pub(super) async fn remove_the_dead<S: Store>(weak: Weak<Inner<S>>) {
    while let Some(inner) = weak.upgrade() {
        inner.upkeep_at.store(Moment::NEVER.as_nanos(), Ordering::Release);
        let overdue = inner.table().overdue(inner.env.now());
        inner.exit_all(overdue).await;
        let next = inner.table().next_due();
        let until =
            Moment::from_nanos(inner.upkeep_at.fetch_min(next.as_nanos(), Ordering::AcqRel)).min(next);
        let (clock, earlier) = (Arc::clone(&inner.env.clock), Arc::clone(&inner.earlier));
        drop(inner);
        tokio::select! {
            () = earlier.notified() => {}
            () = clock.sleep_until(until), if until != Moment::NEVER => {}
        }
    }
}

/// Looks after a session until it is over: what it owns and nobody knows is removed, what was taken from it is noticed,
/// and if nobody uses it any more it is closed.
pub(super) async fn look_after<S: Store>(weak: Weak<Inner<S>>, session: Arc<Session>) {
    let mut pause = session.ttl / SWEEPS;
    let mut sweep = false;
    loop {
        let Some(inner) = weak.upgrade().filter(|_| !session.is_over()) else { return };
        // Listened for before the sweep, so that nothing happens unheard between the two.
        let upset = inner.store.upset(&session.id);
        if sweep {
            pause = session.ttl / if inner.sweep(&session).await.is_ok() { SWEEPS } else { RETRY_PART };
        } else if inner.env.now().since(session.idle_since()) >= session.ttl && !inner.table().uses(&session)
        {
            inner.sessions.forget(&session);
            // Its time-out ends what this could not.
            drop(inner.store.close(&session.id).await);
            return;
        }
        let (clock, now) = (Arc::clone(&inner.env.clock), inner.env.now());
        drop(inner);
        // What upsets it again and again must not keep a processor busy.
        clock.sleep_until(now + PAUSE_MIN).await;
        let upset = tokio::select! {
            biased;
            () = upset => true,
            () = clock.sleep_until(now + pause) => false,
        };
        sweep = upset || weak.upgrade().is_some_and(|inner| inner.table().uses(&session));
    }
}

impl<S: Store> Inner<S> {
    async fn exit_all(&self, going: Vec<Going>) {
        // What fails stays in the table and is due again.
        stream::iter(going)
            .for_each_concurrent(EXITS_AT_A_TIME, async |going| drop(self.exit(going).await))
            .await;
    }

    /// Compares what a session owns with what is known of it.
    async fn sweep(&self, session: &Arc<Session>) -> Result<()> {
        let known = self.table().under(session);
        if let Err(error) = self.sessions.beat(session, &self.store, &self.env).await {
            if error.kind() == ErrorKind::Lost {
                self.purge();
            }
            return Err(error);
        }
        let owned = self.store.owned(&session.id).await?;
        let mut upset = false;
        for contender in owned.iter().filter(|o| o.revoked) {
            upset |= self.mark_revoked(contender.id);
        }
        let there: HashSet<ClaimId> = owned.iter().map(|o| o.id).collect();
        for id in known.into_iter().filter(|id| !there.contains(id)) {
            upset |= self.is_taken(session, id).await?;
        }
        if upset {
            self.bell.send_replace(());
        }
        self.exit_all(self.strays(owned)).await;
        Ok(())
    }

    /// What nobody knows of: it came late, after its own end.
    fn strays(&self, owned: Vec<Owned>) -> Vec<Going> {
        let table = self.table();
        let strays = owned.into_iter().filter(|o| !table.knows(o.id));
        strays.map(|o| Going { id: o.id, name: o.name, key: Some(o.key) }).collect()
    }

    /// Whether the contender of a claim, missed in a list that may be older than it, was ended by somebody else. Then
    /// the claim is forgotten.
    async fn is_taken(&self, session: &Arc<Session>, id: ClaimId) -> Result<bool> {
        let Some(name) = self.table().alive(id, self.env.now()).map(|e| e.claim.name.clone()) else {
            return Ok(false);
        };
        let line = self.store.line_of(&session.id, &name).await?;
        let taken = place(&line, id) == Place::Absent && self.table().alive(id, self.env.now()).is_some();
        if taken {
            self.table().forget(id);
        }
        Ok(taken)
    }
}
