//! The memory engine: the [`Ledger`] behind a lock.
//!
//! One process only. Everything is answered in the call itself; the future that it returns is ready.

use std::os::fd::BorrowedFd;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::Waker;
use std::time::Duration;

use smallvec::SmallVec;

use crate::claim::{Claim, ClaimRef, Leave, Refresh};
use crate::clock::Env;
use crate::engine::{
    Alarms, Batch, ClockKind, Durability, Engine, EngineInfo, Hint, Hints, Page, Query, Reach, Reply,
    Standing, TokensRise, Validity, Wakeups, no_alarms,
};
use crate::error::Result;
use crate::inbox::{Desk, Inbox};
use crate::ledger::Ledger;

/// Locks between the tasks and threads of one process.
///
/// Clones share their queues. Tokens start at the wall clock in microseconds, so those of the next run of the
/// program are higher as long as the clock has not gone back meanwhile.
#[derive(Clone, Debug)]
pub struct Memory {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// With the ledger under its lock: who is told of a hand-over is found in the request that causes it.
    inbox: Inbox<Ledger>,
    env: Env,
}

static INFO: LazyLock<EngineInfo> = LazyLock::new(|| {
    let mut info = EngineInfo::least("memory");
    info.reach = Reach::Process;
    info.durability = Durability::Volatile;
    info.clock = ClockKind::ServerBoot;
    info.wakeups = Wakeups::Push;
    info.validity = Validity::Proven;
    info.ttl_min = Duration::from_millis(10);
    info.batch_max = 1024;
    info.shared = true;
    info.at_least = true;
    info.raise = true;
    info.tokens_rise = TokensRise::ClockAhead;
    info
});

impl Memory {
    /// An empty engine.
    pub fn new(env: Env) -> Self {
        let inbox = Inbox::beside(Ledger::new(env.clock.wall_micros()));
        Self { shared: Arc::new(Shared { inbox, env }) }
    }

    /// Applies a batch and tells the hand-overs.
    fn apply<T, A>(&self, items: &[A], mut step: impl FnMut(&mut Ledger, &A) -> T) -> Reply<T> {
        let mut woken = SmallVec::<[Waker; 1]>::new();
        // The ledger's only panic is the end of all tokens, before anything has changed.
        let mut desk = self.shared.inbox.lock();
        let Desk { slots, beside: ledger } = &mut *desk;
        let results = match items {
            // Nearly every batch.
            [item] => Batch::from_buf([Ok(step(ledger, item))]),
            _ => items.iter().map(|item| Ok(step(ledger, item))).collect(),
        };
        for hand_over in ledger.hand_overs() {
            if let Some(waker) = slots.put(hand_over.id, Hint::Held(hand_over.token)) {
                woken.push(waker);
            }
        }
        drop(desk);
        for waker in woken {
            waker.wake();
        }
        Reply::ready(results)
    }
}

impl Engine for Memory {
    fn info(&self) -> &EngineInfo {
        &INFO
    }

    fn join(&self, claims: &[Claim]) -> Reply<Standing> {
        let now = self.shared.env.now();
        self.apply(claims, |ledger, claim| ledger.join(now, claim))
    }

    fn refresh(&self, claims: &[Refresh]) -> Reply<Standing> {
        let now = self.shared.env.now();
        self.apply(claims, |ledger, ask| ledger.refresh(now, ask))
    }

    fn leave(&self, claims: &[Leave]) -> Reply<()> {
        let now = self.shared.env.now();
        self.apply(claims, |ledger, ask| ledger.leave(now, ask))
    }

    fn watch(&self, claim: &ClaimRef) -> Hints {
        self.shared.inbox.watch(claim.id)
    }

    fn inspect(&self, query: Query) -> Pin<Box<dyn Future<Output = Result<Page>> + Send>> {
        let page = self.shared.inbox.lock().beside.inspect(self.shared.env.now(), &query);
        Box::pin(std::future::ready(Ok(page)))
    }

    fn alarms(&self) -> Alarms {
        no_alarms()
    }

    fn lifeline(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}
