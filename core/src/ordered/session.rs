//! Sessions, one a TTL for all claims of a client, confirmed by a heartbeat when somebody needs to know.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::{Env, Moment};
use crate::error::{Error, ErrorKind, Result};
use crate::ordered::store::{SessionId, Store};

/// A confirmation is new enough for a refresh if it is younger than this part of the TTL.
const FRESH_PART: u32 = 6;
/// A claim may join on one that is younger than this part; then somebody confirms it meanwhile.
const USABLE_PART: u32 = 2;

/// The last heartbeat that was answered.
#[derive(Clone, Copy, Debug)]
struct Proof {
    /// When it was sent.
    sent: Moment,
    /// How long the store keeps the session after its receipt.
    granted: Duration,
}

/// A session as its client knows it.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: SessionId,
    /// The TTL that it was opened for.
    pub(super) ttl: Duration,
    proof: Mutex<Proof>,
    /// When somebody used it last, in nanoseconds.
    used: AtomicU64,
    over: AtomicBool,
    /// One heartbeat at a time: whoever comes meanwhile takes its answer.
    beating: tokio::sync::Mutex<()>,
}

impl Session {
    /// How long it surely lasts, from `now`.
    pub(super) fn left(&self, now: Moment) -> Duration {
        if self.is_over() {
            return Duration::ZERO;
        }
        let proof = self.proof();
        proof.granted.saturating_sub(now.since(proof.sent))
    }

    fn proof(&self) -> MutexGuard<'_, Proof> {
        self.proof.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it has been confirmed within this part of its time.
    fn is_within(&self, part: u32, now: Moment) -> bool {
        let proof = self.proof();
        !self.is_over() && now.since(proof.sent) < proof.granted / part
    }

    /// Whether it is known to be lost or closed.
    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// Since when nobody has used it.
    pub(super) fn idle_since(&self) -> Moment {
        Moment::from_nanos(self.used.load(Ordering::Acquire))
    }

    /// Takes in an answer to a request that was sent at `sent`; the one sent last counts.
    fn confirm(&self, sent: Moment, granted: Duration) {
        let mut proof = self.proof();
        if sent > proof.sent {
            *proof = Proof { sent, granted };
        }
    }
}

/// The sessions of a client.
#[derive(Debug, Default)]
pub(super) struct Pool {
    open: Mutex<BTreeMap<Duration, Arc<Session>>>,
    /// One is opened at a time.
    opening: tokio::sync::Mutex<()>,
}

/// A session to enter under.
pub(super) struct Usable {
    pub(super) session: Arc<Session>,
    /// It has just been opened.
    pub(super) new: bool,
    /// It is so long ago that it was confirmed that somebody should do it again.
    pub(super) stale: bool,
}

impl Pool {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Duration, Arc<Session>>> {
        // A map of pointers: no change of it can be half done.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, ttl: Duration) -> Option<Arc<Session>> {
        self.lock().get(&ttl).cloned()
    }

    /// The session for claims of this TTL, surely alive for half of it; opened if there is none.
    ///
    /// # Errors
    /// [`ErrorKind::Lost`] if the one that there was is gone: then it is out of the pool, and the next call opens
    /// another. Otherwise what the store says.
    pub(super) async fn usable(&self, ttl: Duration, store: &impl Store, env: &Env) -> Result<Usable> {
        if let Some(session) = self.find(ttl) {
            let now = env.now();
            session.used.store(now.as_nanos(), Ordering::Release);
            if session.is_within(USABLE_PART, now) {
                let stale = !session.is_within(FRESH_PART, now);
                return Ok(Usable { session, new: false, stale });
            }
            self.beat(&session, store, env).await?;
            return Ok(Usable { session, new: false, stale: false });
        }
        let _one_at_a_time = self.opening.lock().await;
        if let Some(session) = self.find(ttl).filter(|s| s.is_within(USABLE_PART, env.now())) {
            return Ok(Usable { session, new: false, stale: false });
        }
        let sent = env.now();
        let opened = store.open(ttl).await?;
        let session = Arc::new(Session {
            id: opened.id,
            ttl,
            proof: Mutex::new(Proof { sent, granted: opened.ttl }),
            used: AtomicU64::new(sent.as_nanos()),
            over: AtomicBool::new(false),
            beating: tokio::sync::Mutex::new(()),
        });
        self.lock().insert(ttl, Arc::clone(&session));
        Ok(Usable { session, new: true, stale: false })
    }

    /// Makes sure that a session was confirmed lately.
    ///
    /// # Errors
    /// [`ErrorKind::Lost`] if it is gone: then it is out of the pool. Otherwise what the store says.
    pub(super) async fn confirm(&self, session: &Arc<Session>, store: &impl Store, env: &Env) -> Result<()> {
        if session.is_within(FRESH_PART, env.now()) {
            return Ok(());
        }
        self.beat(session, store, env).await
    }

    /// Confirms a session now, unless somebody else has while this one waited.
    pub(super) async fn beat(&self, session: &Arc<Session>, store: &impl Store, env: &Env) -> Result<()> {
        let asked = env.now();
        let _one_at_a_time = session.beating.lock().await;
        if session.is_over() {
            return Err(lost());
        }
        if session.proof().sent >= asked {
            return Ok(());
        }
        let sent = env.now();
        match store.beat(&session.id).await {
            Ok(alive) => {
                session.confirm(sent, alive.ttl);
                Ok(())
            }
            Err(error) => {
                if error.kind() == ErrorKind::Lost {
                    self.forget(session);
                }
                Err(error)
            }
        }
    }

    /// Takes a session out: nobody joins under it any more.
    pub(super) fn forget(&self, session: &Arc<Session>) {
        session.over.store(true, Ordering::Release);
        let mut open = self.lock();
        if open.get(&session.ttl).is_some_and(|s| Arc::ptr_eq(s, session)) {
            open.remove(&session.ttl);
        }
    }

    /// All that are open.
    pub(super) fn all(&self) -> Vec<Arc<Session>> {
        self.lock().values().cloned().collect()
    }
}

fn lost() -> Error {
    Error::new(ErrorKind::Lost, "heartbeat", "the session is over")
}
