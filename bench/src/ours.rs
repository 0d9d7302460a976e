//! Our client on an engine, with the engine's requests counted.

use std::os::fd::BorrowedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use leasehold_core::engine::Alarms;
use leasehold_core::{
    Claim, ClaimRef, Client, Engine, EngineInfo, Env, Error, ErrorKind, Guard, Hints, Leave, Mutex, Page,
    Query, Refresh, Reply, Result, Standing,
};

use thread_local::ThreadLocal;

use crate::entrant::{Entrant, Locker, Role, Seat};
use crate::load::{Case, Load};
use crate::workload;

/// Everything that is locked here has this in front of its name, to stay clear of what the user locks.
const PREFIX: &str = "leasehold-bench";

/// Our client as whoever uses the library has it: one for all tasks.
#[derive(Debug)]
pub struct Ours {
    client: Client,
    requests: Arc<Requests>,
    prefix: String,
    ttl: Duration,
}

/// What the engine was asked.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    /// Requests of any kind, by the thread that made them: the floors are not counted at all, and a counter that
    /// threads share would be a part of what is measured.
    all: ThreadLocal<AtomicU64>,
    /// Claims that were to be renewed.
    renewals: AtomicU64,
}

impl Requests {
    pub(crate) fn all(&self) -> u64 {
        self.all.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    pub(crate) fn renewals(&self) -> u64 {
        self.renewals.load(Ordering::Relaxed)
    }
}

impl Ours {
    /// A client of this engine.
    ///
    /// # Errors
    /// As [`Builder::spawn`](leasehold_core::client::Builder::spawn).
    pub fn new(engine: Arc<dyn Engine>, env: &Env, ttl: Duration) -> Result<Self> {
        let requests = Arc::new(Requests::default());
        let counted = Counted { engine, requests: Arc::clone(&requests) };
        let client = Client::builder(counted).env(env.clone()).ttl(ttl).spawn()?;
        // Two benchmarks on one engine must not wait for each other.
        let prefix = format!("{PREFIX}/{:08x}", env.rng.next() >> 96);
        Ok(Self { client, requests, prefix, ttl })
    }

    /// As an entrant, with a client of its own for every run.
    pub fn entrant(engine: Arc<dyn Engine>, env: &Env) -> Entrant {
        let env = env.clone();
        Entrant::new("leasehold", Role::Ours, move |load: Load| {
            let (engine, env) = (Arc::clone(&engine), env.clone());
            Box::pin(async move {
                let ours = Self::new(engine, &env, load.ttl)?;
                let measured = match load.case {
                    Case::Pair => workload::pair(&env, &ours, load).await?,
                    Case::Handoff => workload::handoff(&env, &ours, load).await?,
                    Case::Renew => workload::renew(&env, &ours, load).await?,
                };
                ours.client.shutdown(load.ttl).await?;
                Ok(measured)
            })
        })
    }

    pub(crate) fn mutex(&self, name: &str) -> Result<Mutex> {
        self.client.mutex(&format!("{}/{name}", self.prefix))
    }

    pub(crate) fn counts(&self) -> &Requests {
        &self.requests
    }

    pub(crate) fn ttl(&self) -> Duration {
        self.ttl
    }
}

impl Locker for Ours {
    type Seat = OurSeat;

    async fn seat(&self, name: &str) -> Result<OurSeat> {
        Ok(OurSeat { mutex: self.mutex(name)?, guard: None })
    }

    fn requests(&self) -> Option<u64> {
        Some(self.requests.all())
    }
}

/// One task's mutex and guard.
#[derive(Debug)]
pub struct OurSeat {
    mutex: Mutex,
    guard: Option<Guard>,
}

impl Seat for OurSeat {
    async fn acquire(&mut self) -> Result<()> {
        self.guard = Some(self.mutex.lock().await?);
        Ok(())
    }

    async fn release(&mut self) -> Result<()> {
        match self.guard.take() {
            Some(guard) => guard.release().await,
            None => Err(Error::new(ErrorKind::Unexpected, "bench", "released before it was acquired")),
        }
    }
}

/// An engine whose requests are counted: calls, not the claims in them.
#[derive(Debug)]
struct Counted {
    engine: Arc<dyn Engine>,
    requests: Arc<Requests>,
}

impl Counted {
    fn count(&self) -> &Arc<dyn Engine> {
        let count = self.requests.all.get_or_default();
        // Nobody else writes to it.
        count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        &self.engine
    }
}

#[deny(clippy::missing_trait_methods)]
impl Engine for Counted {
    fn info(&self) -> &EngineInfo {
        self.engine.info()
    }

    fn join(&self, claims: &[Claim]) -> Reply<Standing> {
        self.count().join(claims)
    }

    fn refresh(&self, claims: &[Refresh]) -> Reply<Standing> {
        self.requests.renewals.fetch_add(claims.len() as u64, Ordering::Relaxed);
        self.count().refresh(claims)
    }

    fn leave(&self, claims: &[Leave]) -> Reply<()> {
        self.count().leave(claims)
    }

    fn watch(&self, claim: &ClaimRef) -> Hints {
        self.engine.watch(claim)
    }

    fn inspect(&self, query: Query) -> Pin<Box<dyn Future<Output = Result<Page>> + Send>> {
        self.count().inspect(query)
    }

    fn alarms(&self) -> Alarms {
        self.engine.alarms()
    }

    fn lifeline(&self) -> Option<BorrowedFd<'_>> {
        self.engine.lifeline()
    }
}
