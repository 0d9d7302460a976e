//! An engine over a store that keeps an order of contenders and sessions that end them: what ZooKeeper, etcd and Consul
//! have in common.
//!
//! A claim is a contender in the store, under a session that all claims of one TTL share. The session is for when the
//! client is gone; while it lives, each claim has a deadline of its own here, and the client itself removes what is
//! dead: by [`upkeep`]. A hold is as long as the session surely is, counted from the sending of its last heartbeat.
//!
//! [`store`] is what a server must do, [`rule`] who holds, [`session`] and [`table`] are what a client knows,
//! [`verbs`] and [`waiting`] what it does.

mod rule;
mod session;
pub mod store;
mod table;
mod upkeep;
mod verbs;
mod view;
mod waiting;

#[cfg(test)]
mod tests;

use std::fmt;
use std::os::fd::BorrowedFd;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::stream;
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;

use crate::claim::{Claim, ClaimRef, Leave, Refresh};
use crate::clock::{Env, Moment};
use crate::engine::{Alarms, Engine, EngineInfo, Hints, Page, Query, Reply, Standing};
use crate::error::Result;

pub use store::{Contender, Key, Line, Owned, Store};

/// An engine over a store. Cheap to clone; clones share all. When the last one is dropped, its sessions are closed and
/// with them ends everything that was held.
pub struct Ordered<S: Store> {
    life: Arc<Life<S>>,
}

struct Life<S: Store> {
    inner: Arc<Inner<S>>,
    upkeep: AbortHandle,
}

/// What the verbs and the background work share.
struct Inner<S: Store> {
    store: S,
    env: Env,
    sessions: session::Pool,
    table: Mutex<table::Table>,
    /// When the upkeep looks next, in nanoseconds.
    upkeep_at: AtomicU64,
    /// Something is due before that.
    earlier: Arc<Notify>,
    /// Rings when claims were lost that their owners believe in.
    bell: watch::Sender<()>,
    runtime: Handle,
}

impl<S: Store> Clone for Ordered<S> {
    fn clone(&self) -> Self {
        Self { life: Arc::clone(&self.life) }
    }
}

impl<S: Store> fmt::Debug for Ordered<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ordered").field("store", self.store()).finish_non_exhaustive()
    }
}

impl<S: Store> Drop for Life<S> {
    fn drop(&mut self) {
        self.upkeep.abort();
        let inner = Arc::clone(&self.inner);
        let sessions = inner.sessions.all();
        for session in &sessions {
            inner.sessions.forget(session);
        }
        // If the runtime is shutting down this is not run, and the sessions end by their time-out.
        self.inner.runtime.spawn(async move {
            for session in sessions {
                // Nobody is left to hear of an error; the time-out ends what this could not.
                drop(inner.store.close(&session.id).await);
            }
        });
    }
}

impl<S: Store> Ordered<S> {
    /// An engine over this store, its background work on the current tokio runtime.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn new(store: S, env: Env) -> Self {
        let inner = Arc::new(Inner {
            store,
            env,
            sessions: session::Pool::default(),
            table: Mutex::default(),
            upkeep_at: AtomicU64::new(Moment::NEVER.as_nanos()),
            earlier: Arc::default(),
            bell: watch::Sender::new(()),
            runtime: Handle::current(),
        });
        let upkeep = inner.runtime.spawn(upkeep::remove_the_dead(Arc::downgrade(&inner))).abort_handle();
        Self { life: Arc::new(Life { inner, upkeep }) }
    }

    /// The store.
    pub fn store(&self) -> &S {
        &self.life.inner.store
    }
}

impl<S: Store> Inner<S> {
    fn table(&self) -> MutexGuard<'_, table::Table> {
        // Nothing under this lock can panic between two changes that belong together.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the upkeep look at this time, if it would sleep longer.
    fn look_at(&self, at: Moment) {
        if at.as_nanos() < self.upkeep_at.fetch_min(at.as_nanos(), Ordering::AcqRel) {
            self.earlier.notify_one();
        }
    }

    /// A session was found to be over: its claims are, too.
    fn purge(&self) {
        if self.table().purge() {
            self.bell.send_replace(());
        }
    }
}

impl<S: Store> Engine for Ordered<S> {
    fn info(&self) -> &EngineInfo {
        self.store().info()
    }

    fn join(&self, claims: &[Claim]) -> Reply<Standing> {
        Reply::later(Arc::clone(&self.life.inner).join(claims.to_vec()))
    }

    fn refresh(&self, claims: &[Refresh]) -> Reply<Standing> {
        Reply::later(Arc::clone(&self.life.inner).refresh(claims.to_vec()))
    }

    fn leave(&self, claims: &[Leave]) -> Reply<()> {
        Reply::later(Arc::clone(&self.life.inner).leave(claims.to_vec()))
    }

    fn watch(&self, claim: &ClaimRef) -> Hints {
        waiting::hints(Arc::clone(&self.life.inner), claim.clone())
    }

    fn inspect(&self, query: Query) -> Pin<Box<dyn Future<Output = Result<Page>> + Send>> {
        Box::pin(view::page(Arc::clone(&self.life.inner), query))
    }

    fn alarms(&self) -> Alarms {
        let bell = self.life.inner.bell.subscribe();
        let rings = stream::unfold(bell, |mut bell| async { bell.changed().await.ok().map(|()| ((), bell)) });
        Box::pin(rings)
    }

    fn lifeline(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}
