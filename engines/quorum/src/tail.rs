//! What is left to do when nobody waits any more: requests that are still under way, and leaves that must be
//! repeated until they are certain.
//!
//! Nearly always the last answers of a round come a moment after it has been decided, and say that all is well. So
//! nobody is woken for each of them: the tail looks at what has been left over together, after a pause.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use leasehold_core::clock::Sleep;
use leasehold_core::engine::Standing;
use leasehold_core::{Batch, ClaimId, ClaimRef, Leave, Manner, Moment, Reply, Result};
use tokio::sync::Notify;

use crate::roll::id_of;
use crate::shared::Shared;

/// How long what is left over lies until the tail looks at it.
const LIES: Duration = Duration::from_millis(5);
/// The first and the longest pause between two tries to leave.
const PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// A request that nobody waits for.
#[derive(Debug)]
pub(crate) struct Leftover {
    pub(crate) node: usize,
    /// When what it may leave behind is dead.
    pub(crate) until: Moment,
    pub(crate) work: Work,
}

/// What was asked for.
#[derive(Debug)]
pub(crate) enum Work {
    /// A `join` on its way. A `leave` that is sent meanwhile may overtake it.
    Join { key: ClaimRef, nth: u16, reply: Reply<Standing> },
    /// A `leave`, and the request if one is under way.
    Leave { leaves: Batch<Leave>, reply: Option<Reply<()>> },
}

/// What the tail has not looked at yet.
#[derive(Debug, Default)]
pub(crate) struct Leftovers {
    inner: Mutex<Inner>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    lying: Vec<Leftover>,
    closed: bool,
}

impl Leftovers {
    pub(crate) fn extend(&self, left: impl IntoIterator<Item = Leftover>) {
        let mut left = left.into_iter().peekable();
        if left.peek().is_none() {
            return;
        }
        let mut inner = self.lock();
        let first = inner.lying.is_empty();
        inner.lying.extend(left);
        drop(inner);
        if first {
            self.wake.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nobody is left who could have any.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.wake.notify_one();
    }

    fn is_closed(&self) -> bool {
        self.lock().closed
    }

    fn take(&self) -> Vec<Leftover> {
        std::mem::take(&mut self.lock().lying)
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
        let Self { shared } = self;
        let mut running = FuturesUnordered::new();
        let mut lies: Option<Sleep> = None;
        loop {
            let closed = shared.leftovers.is_closed();
            if closed || lies.is_none() {
                let left = shared.leftovers.take().into_iter().filter_map(|left| shared.glance(left));
                running.extend(left.map(|left| finish(Arc::clone(&shared), left)));
            }
            if closed && running.is_empty() {
                return;
            }
            tokio::select! {
                biased;
                () = shared.leftovers.wake.notified() => {
                    lies.get_or_insert_with(|| shared.env.clock.sleep_until(shared.env.now() + LIES));
                }
                () = async { if let Some(lies) = &mut lies { lies.await } }, if lies.is_some() => lies = None,
                Some(()) = running.next(), if !running.is_empty() => {}
            }
        }
    }
}

/// Does what is still to be done.
async fn finish(shared: Arc<Shared>, left: Leftover) {
    let Leftover { node, until, work } = left;
    match work {
        Work::Join { key, nth, mut reply } => {
            let answers = shared.by(until, &mut reply).await.unwrap_or_default();
            if let Some(Work::Leave { leaves, .. }) = shared.joined(node, &key, nth, &answers) {
                shared.leave_until(node, leaves, None, until).await;
            }
        }
        Work::Leave { leaves, reply } => shared.leave_until(node, leaves, reply, until).await,
    }
}

impl Shared {
    /// Leaves one node; nobody waits for it.
    pub(crate) fn let_go(&self, node: usize, leave: Leave, until: Moment) {
        if !(self.config.rules.leaves)() {
            return;
        }
        let leaves = Batch::from_iter([leave]);
        let reply = Some(self.nodes[node].engine.leave(&leaves));
        // It may be sent only when it is looked at.
        self.leftovers.extend(self.glance(Leftover { node, until, work: Work::Leave { leaves, reply } }));
    }

    /// Looks whether what is left over is done; what is still to be done.
    fn glance(&self, left: Leftover) -> Option<Leftover> {
        let Leftover { node, until, work } = left;
        let work = match work {
            Work::Join { key, nth, mut reply } => match look(&mut reply) {
                Some(answers) => self.joined(node, &key, nth, &answers),
                None => Some(Work::Join { key, nth, reply }),
            },
            Work::Leave { leaves, mut reply } => match reply.as_mut().and_then(look) {
                Some(answers) if self.left(node, &answers) => None,
                Some(_) => Some(Work::Leave { leaves, reply: None }),
                None => Some(Work::Leave { leaves, reply }),
            },
        };
        work.map(|work| Leftover { node, until, work })
    }

    /// A `join` has been answered, or never will be; what is to be done if it is not wanted any more.
    fn joined(&self, node: usize, key: &ClaimRef, nth: u16, answers: &[Result<Standing>]) -> Option<Work> {
        if !answers.is_empty() {
            self.nodes[node].answers(answers.iter().all(Result::is_ok));
        }
        let leave = || Batch::from_iter([at_node(key, nth, Manner::Evict)]);
        (!self.roll.wants(key.id, node, nth)).then(|| Work::Leave { leaves: leave(), reply: None })
    }

    /// Whether a `leave` is certain.
    fn left(&self, node: usize, answers: &[Result<()>]) -> bool {
        let certain = answers.iter().all(Result::is_ok);
        if certain {
            self.nodes[node].answers(true);
        }
        certain
    }

    /// Leaves at one node until that is certain, or until what is left is dead.
    async fn leave_until(
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
            if self.by(patience, &mut reply).await.is_some_and(|answers| self.left(node, &answers)) {
                return;
            }
            if self.env.now() >= until {
                return;
            }
            self.env.clock.sleep_until((self.env.now() + pause).min(until)).await;
            pause = (pause * 2).min(PAUSE.1);
        }
    }

    async fn by<T>(&self, until: Moment, reply: &mut Reply<T>) -> Option<Batch<Result<T>>> {
        tokio::select! {
            biased;
            answers = reply => Some(answers),
            () = self.env.clock.sleep_until(until) => None,
        }
    }
}

/// An answer, if it is there.
fn look<T>(reply: &mut Reply<T>) -> Option<Batch<Result<T>>> {
    match Pin::new(reply).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answers) => Some(answers),
        Poll::Pending => None,
    }
}

/// The `leave` of a try.
pub(crate) fn at_node(key: &ClaimRef, nth: u16, manner: Manner) -> Leave {
    let id: ClaimId = id_of(key.id, nth);
    Leave { claim: ClaimRef { name: key.name.clone(), id }, manner }
}
