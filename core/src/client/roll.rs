//! Every claim that a client answers for, by when something is due for it, and what its dropped futures left.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::claim::{ClaimId, Leave};
use crate::client::hold::Hold;
use crate::clock::Moment;
use crate::engine::{Reply, Standing};

/// A claim that must go: tried again until it would be dead anyway.
#[derive(Debug)]
pub(crate) struct Leaving {
    pub(crate) leave: Leave,
    pub(crate) until: Moment,
    pub(crate) failures: u32,
}

/// A call whose future was dropped before the answer. It is completed before the claim leaves, so that the
/// `leave` cannot overtake the `join`.
pub(crate) struct Orphan {
    pub(crate) call: Reply<Standing>,
    pub(crate) leaving: Leaving,
}

impl std::fmt::Debug for Orphan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Orphan").field(&self.leaving).finish()
    }
}

/// The roll.
#[derive(Debug, Default)]
pub(crate) struct Roll {
    inner: Mutex<Inner>,
    /// How many claims are on their way here; and [`CLOSED`], which is set under the lock.
    joining: AtomicUsize,
    /// What the driver sleeps until, in nanoseconds. Written under the lock.
    wake_at: AtomicU64,
    /// The driver has something to do before the time it sleeps until.
    pub(crate) wake: Notify,
    /// There may be nothing left to wait for.
    pub(crate) idle: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    /// Claims that came since the driver last looked. Most locks are released before it looks again: those never
    /// need a place in the order.
    fresh: Vec<Arc<Hold>>,
    /// The others, by when something is due.
    due: BTreeMap<(Moment, ClaimId), Arc<Hold>>,
    orphans: Vec<Orphan>,
    leaving: Vec<Leaving>,
    /// Calls and leaves that the driver has taken and not finished.
    in_hand: usize,
    /// Nobody is left who could make claims.
    abandoned: bool,
}

/// No new claims.
const CLOSED: usize = 1 << (usize::BITS - 1);

/// What the driver takes from the roll at a time.
#[derive(Debug, Default)]
pub(crate) struct Work {
    pub(crate) due: Vec<Arc<Hold>>,
    pub(crate) orphans: Vec<Orphan>,
    pub(crate) leaving: Vec<Leaving>,
}

/// Where a hold stands in a roll: its index among the fresh, or its time among the due. Written under the roll's
/// lock only.
#[derive(Debug)]
pub(super) struct Place {
    fresh: AtomicUsize,
    due: AtomicU64,
}

const NOT_FRESH: usize = usize::MAX;

impl Default for Place {
    fn default() -> Self {
        Self { fresh: AtomicUsize::new(NOT_FRESH), due: AtomicU64::new(u64::MAX) }
    }
}

impl Place {
    fn key(&self, hold: &Hold) -> (Moment, ClaimId) {
        (Moment::from_nanos(self.due.load(Relaxed)), hold.key().id)
    }
}

impl Inner {
    fn nobody(&self) -> bool {
        self.due.is_empty() && self.fresh.is_empty()
    }

    /// Finds everybody a place in the order.
    fn settle(&mut self) {
        for hold in self.fresh.drain(..) {
            hold.place.fresh.store(NOT_FRESH, Relaxed);
            hold.place.due.store(hold.next().as_nanos(), Relaxed);
            self.due.insert(hold.place.key(&hold), hold);
        }
    }
}

impl Roll {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing under this lock can panic between two changes that belong together.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A claim is on its way here; `false` if no new claims are taken. Every `true` needs an [`end`](Self::end), after
    /// the claim has been entered or left.
    pub(crate) fn begin(&self) -> bool {
        let open = self.joining.fetch_add(1, AcqRel) & CLOSED == 0;
        if !open {
            self.end();
        }
        open
    }

    /// It is no longer on its way.
    pub(crate) fn end(&self) {
        if self.joining.fetch_sub(1, AcqRel) == CLOSED | 1 {
            self.idle.notify_waiters();
        }
    }

    /// Enters a claim for which something is due at `next`; `false` if no new claims are taken.
    pub(crate) fn enter(&self, hold: &Arc<Hold>, next: Moment) -> bool {
        let mut inner = self.lock();
        if self.is_closed() {
            return false;
        }
        hold.place.fresh.store(inner.fresh.len(), Relaxed);
        inner.fresh.push(Arc::clone(hold));
        self.wake_before(inner, next);
        true
    }

    /// Moves a claim to where its next due time says, if it has not been struck off meanwhile.
    pub(crate) fn place(&self, hold: &Arc<Hold>, next: Moment) {
        let place = &hold.place;
        // A fresh claim is asked by the driver when it is due; only the driver's sleep can be too long for it. That
        // can be seen without the lock: the driver takes a claim off the fresh ones, asks the hold under the hold's
        // lock, and then says how long it sleeps; the caller has changed the hold under that lock before it reads
        // here. So either the driver has heard of the change, or these readings are as new as its last sleep.
        if place.fresh.load(Relaxed) != NOT_FRESH && next >= self.wake_at() {
            return;
        }
        let mut inner = self.lock();
        if place.fresh.load(Relaxed) == NOT_FRESH && place.due.load(Relaxed) != next.as_nanos() {
            let Some(entry) = inner.due.remove(&place.key(hold)) else { return };
            // The driver finds it a place in the order when it looks next, if it is still there then.
            place.fresh.store(inner.fresh.len(), Relaxed);
            inner.fresh.push(entry);
        }
        self.wake_before(inner, next);
    }

    /// Makes every claim due now: something has happened that may concern any of them.
    pub(crate) fn hasten(&self, now: Moment) {
        let mut inner = self.lock();
        inner.settle();
        let all: Vec<_> = std::mem::take(&mut inner.due).into_values().collect();
        for hold in all {
            hold.look(now);
            hold.place.due.store(hold.next().as_nanos(), Relaxed);
            inner.due.insert(hold.place.key(&hold), hold);
        }
    }

    /// Strikes a claim off. Whoever does so has seen to its end before.
    pub(crate) fn strike(&self, hold: &Arc<Hold>) {
        let mut inner = self.lock();
        let at = hold.place.fresh.swap(NOT_FRESH, Relaxed);
        if at == NOT_FRESH {
            inner.due.remove(&hold.place.key(hold));
        } else {
            inner.fresh.swap_remove(at);
            if let Some(moved) = inner.fresh.get(at) {
                moved.place.fresh.store(at, Relaxed);
            }
        }
        if self.is_closed() && inner.nobody() {
            self.idle.notify_waiters();
        }
    }

    /// Leaves a claim to the driver to end.
    pub(crate) fn leave(&self, leaving: Leaving) {
        let mut inner = self.lock();
        inner.leaving.push(leaving);
        self.wake_before(inner, Moment::BOOT);
    }

    /// Leaves an unfinished call to the driver to complete and undo.
    pub(crate) fn adopt(&self, orphan: Orphan) {
        let mut inner = self.lock();
        inner.orphans.push(orphan);
        self.wake_before(inner, Moment::BOOT);
    }

    fn wake_before(&self, inner: MutexGuard<'_, Inner>, at: Moment) {
        if at < self.wake_at() {
            self.wake_at.store(at.as_nanos(), Relaxed);
            drop(inner);
            self.wake.notify_one();
        }
    }

    fn wake_at(&self) -> Moment {
        Moment::from_nanos(self.wake_at.load(Relaxed))
    }

    /// What is due at `now`: if anything is, then with it what is near enough to go together.
    pub(crate) fn take(&self, now: Moment, horizon: Duration, finished: usize) -> Work {
        let mut inner = self.lock();
        inner.in_hand -= finished;
        inner.settle();
        let anything = inner.due.first_key_value().is_some_and(|((at, _), _)| *at <= now);
        let last = (now + horizon, ClaimId(u128::MAX));
        let due = if anything {
            inner.due.range(..=last).map(|(_, l)| Arc::clone(l)).collect()
        } else {
            Vec::new()
        };
        let work = Work {
            due,
            orphans: std::mem::take(&mut inner.orphans),
            leaving: std::mem::take(&mut inner.leaving),
        };
        inner.in_hand += work.orphans.len() + work.leaving.len();
        work
    }

    /// Says until when the driver may sleep, given when it must be up for its own sake; `None` if its work is
    /// done for ever.
    pub(crate) fn rest(&self, own: Moment) -> Option<Moment> {
        let mut inner = self.lock();
        let fresh = !inner.orphans.is_empty() || !inner.leaving.is_empty();
        if inner.in_hand == 0 && !fresh {
            self.idle.notify_waiters();
            if inner.abandoned && inner.nobody() {
                return None;
            }
        }
        inner.settle();
        let next = inner.due.first_key_value().map_or(Moment::NEVER, |((at, _), _)| *at);
        let wake_at = if fresh { Moment::BOOT } else { next.min(own) };
        self.wake_at.store(wake_at.as_nanos(), Relaxed);
        Some(wake_at)
    }

    /// No new claims from now on; the ones that there are.
    pub(crate) fn close(&self) -> Vec<Arc<Hold>> {
        let mut inner = self.lock();
        self.joining.fetch_or(CLOSED, AcqRel);
        inner.settle();
        inner.due.values().cloned().collect()
    }

    /// Whether new claims are refused.
    pub(crate) fn is_closed(&self) -> bool {
        self.joining.load(Acquire) & CLOSED != 0
    }

    /// Nobody is left who could make claims: when the last leave is done, so is the driver.
    pub(crate) fn abandon(&self) {
        let mut inner = self.lock();
        inner.abandoned = true;
        self.wake_before(inner, Moment::BOOT);
    }

    /// How many claims there are whose end the engine has not confirmed.
    pub(crate) fn outstanding(&self) -> usize {
        let inner = self.lock();
        // Whoever is no longer joining is to be found in here.
        let joining = self.joining.load(Acquire) & !CLOSED;
        let leaving = inner.in_hand + inner.orphans.len() + inner.leaving.len();
        joining + inner.due.len() + inner.fresh.len() + leaving
    }
}
