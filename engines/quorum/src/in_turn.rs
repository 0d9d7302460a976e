//! A node that is asked when its turn comes: for those who ask one after the other.

use std::os::fd::BorrowedFd;
use std::pin::Pin;
use std::sync::Arc;

use leasehold_core::engine::{Alarms, Hints, Page, Query, Standing};
use leasehold_core::{Batch, Claim, ClaimRef, Engine, EngineInfo, Leave, Refresh, Reply, Result};

/// An engine whose requests leave when their answers are first asked for, not when they are made.
#[derive(Debug)]
pub(crate) struct InTurn(pub(crate) Arc<dyn Engine>);

impl InTurn {
    fn later<A, T>(
        &self,
        items: &[A],
        call: impl FnOnce(&dyn Engine, &[A]) -> Reply<T> + Send + 'static,
    ) -> Reply<T>
    where
        A: Clone + Send + 'static,
        T: Send + 'static,
    {
        let (engine, items) = (Arc::clone(&self.0), Batch::from(items));
        Reply::later(async move {
            let reply = call(&*engine, &items);
            reply.await
        })
    }
}

impl Engine for InTurn {
    fn info(&self) -> &EngineInfo {
        self.0.info()
    }

    fn join(&self, claims: &[Claim]) -> Reply<Standing> {
        self.later(claims, |engine, claims| engine.join(claims))
    }

    fn refresh(&self, claims: &[Refresh]) -> Reply<Standing> {
        self.later(claims, |engine, claims| engine.refresh(claims))
    }

    fn leave(&self, claims: &[Leave]) -> Reply<()> {
        self.later(claims, |engine, claims| engine.leave(claims))
    }

    fn watch(&self, claim: &ClaimRef) -> Hints {
        self.0.watch(claim)
    }

    fn inspect(&self, query: Query) -> Pin<Box<dyn Future<Output = Result<Page>> + Send>> {
        self.0.inspect(query)
    }

    fn alarms(&self) -> Alarms {
        self.0.alarms()
    }

    fn lifeline(&self) -> Option<BorrowedFd<'_>> {
        self.0.lifeline()
    }
}
