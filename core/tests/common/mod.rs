//! A memory engine that does some things only when it is told to.

use std::os::fd::BorrowedFd;
use std::pin::Pin;
use std::sync::Arc;

use leasehold_core::engine::Alarms;
use leasehold_core::{
    Claim, ClaimRef, Engine, EngineInfo, Env, Hints, Leave, Memory, Page, Query, Refresh, Reply, Result,
    Standing,
};
use tokio::sync::{Notify, Semaphore};

/// The engine.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) memory: Memory,
    /// Rings the alarm.
    pub(crate) bell: Arc<Notify>,
    /// How many answers to `join` and `leave` may be given, if not all.
    pub(crate) answers: Option<Arc<Semaphore>>,
}

impl Default for Told {
    fn default() -> Self {
        Self { memory: Memory::new(Env::system()), bell: Arc::default(), answers: None }
    }
}

impl Told {
    fn tell<T: Send + 'static>(&self, reply: Reply<T>) -> Reply<T> {
        let Some(answers) = self.answers.clone() else { return reply };
        Reply::later(async move {
            answers.acquire().await.expect("it is never closed").forget();
            reply.await
        })
    }
}

impl Engine for Told {
    fn info(&self) -> &EngineInfo {
        self.memory.info()
    }

    fn join(&self, claims: &[Claim]) -> Reply<Standing> {
        self.tell(self.memory.join(claims))
    }

    fn refresh(&self, claims: &[Refresh]) -> Reply<Standing> {
        self.memory.refresh(claims)
    }

    fn leave(&self, claims: &[Leave]) -> Reply<()> {
        self.tell(self.memory.leave(claims))
    }

    fn watch(&self, claim: &ClaimRef) -> Hints {
        self.memory.watch(claim)
    }

    fn inspect(&self, query: Query) -> Pin<Box<dyn Future<Output = Result<Page>> + Send>> {
        self.memory.inspect(query)
    }

    fn alarms(&self) -> Alarms {
        let bell = Arc::clone(&self.bell);
        Box::pin(futures_util::stream::unfold(bell, async |bell| {
            bell.notified().await;
            Some(((), bell))
        }))
    }

    fn lifeline(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

/// How many claims stand in each queue.
pub(crate) async fn queue_lengths(engine: &dyn Engine) -> Vec<usize> {
    let page = engine.inspect(Query { limit: 100, ..Query::default() }).await.unwrap();
    page.queues.iter().map(|q| q.claims.len()).collect()
}
