//! What is left to do when nobody waits any more: requests that are still under way, and leaves that must be
//! repeated until they are certain.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use leasehold_core::engine::Standing;
use leasehold_core::{Batch, ClaimId, ClaimRef, Leave, Manner, Moment, Reply};
use tokio::sync::Notify;

use crate::roll::id_of;
use crate::shared::Shared;

/// The first and the longest pause between two tries to leave.
const PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

type Errand = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What the tail has not taken yet.
#[derive(Default)]
pub(crate) struct Errands {
    inner: Mutex<Inner>,
    wake: Notify,
}

#[derive(Default)]
struct Inner {
    waiting: Vec<Errand>,
    closed: bool,
}

impl fmt::Debug for Errands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Errands")
    }
}

impl Errands {
    pub(crate) fn add(&self, errand: impl Future<Output = ()> + Send + 'static) {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).waiting.push(Box::pin(errand));
        self.wake.notify_one();
    }

    /// Nobody is left who could have any.
    pub(crate) fn close(&self) {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.wake.notify_one();
    }

    fn take(&self) -> (Vec<Errand>, bool) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        (std::mem::take(&mut inner.waiting), inner.closed)
    }
}

/// The background work of a quorum: whoever makes one runs this.
#[derive(Debug)]
#[must_use = "without it, what was asked in vain is not left"]
pub struct Tail {
    pub(crate) shared: Arc<Shared>,
}

impl Tail {
    /// Runs until the quorum is dropped and everything has been left, or is dead.
    pub async fn run(self) {
        let mut running = FuturesUnordered::new();
        loop {
            let (fresh, closed) = self.shared.errands.take();
            running.extend(fresh);
            if closed && running.is_empty() {
                return;
            }
            tokio::select! {
                biased;
                () = self.shared.errands.wake.notified() => {}
                Some(()) = running.next(), if !running.is_empty() => {}
            }
        }
    }
}

/// A `join` on its way that nobody waits for.
pub(crate) struct Straggler {
    pub(crate) node: usize,
    pub(crate) key: ClaimRef,
    pub(crate) nth: u16,
    pub(crate) reply: Reply<Standing>,
}

impl Shared {
    /// Completes a `join`, so that the `leave` cannot overtake it; then leaves, if it is not wanted any more.
    pub(crate) fn finish(self: &Arc<Self>, straggler: Straggler, until: Moment) {
        let shared = Arc::clone(self);
        self.errands.add(async move {
            let Straggler { node, key, nth, mut reply } = straggler;
            if let Some(answers) = shared.by(until, &mut reply).await {
                shared.nodes[node].answers(answers.iter().all(Result::is_ok));
            }
            if !shared.roll.wants(key.id, node, nth) {
                let leave = at_node(&key, nth, Manner::Evict);
                shared.leave_until(node, Batch::from_elem(leave, 1), None, until).await;
            }
        });
    }

    /// Leaves at one node until that is certain, or until what is left is dead.
    pub(crate) async fn leave_until(
        &self,
        node: usize,
        leaves: Batch<Leave>,
        mut under_way: Option<Reply<()>>,
        until: Moment,
    ) {
        if !(self.config.rules.leaves)() {
            return;
        }
        let mut pause = PAUSE.0;
        loop {
            let mut reply = under_way.take().unwrap_or_else(|| self.nodes[node].engine.leave(&leaves));
            let patience = (self.env.now() + PAUSE.1).min(until);
            if self.by(patience, &mut reply).await.is_some_and(|all| all.iter().all(Result::is_ok)) {
                self.nodes[node].answers(true);
                return;
            }
            if self.env.now() >= until {
                return;
            }
            self.env.clock.sleep_until((self.env.now() + pause).min(until)).await;
            pause = (pause * 2).min(PAUSE.1);
        }
    }

    async fn by<T>(&self, until: Moment, reply: &mut Reply<T>) -> Option<Batch<leasehold_core::Result<T>>> {
        tokio::select! {
            biased;
            answers = reply => Some(answers),
            () = self.env.clock.sleep_until(until) => None,
        }
    }
}

/// The `leave` of a try.
pub(crate) fn at_node(key: &ClaimRef, nth: u16, manner: Manner) -> Leave {
    let id: ClaimId = id_of(key.id, nth);
    Leave { claim: ClaimRef { name: key.name.clone(), id }, manner }
}
