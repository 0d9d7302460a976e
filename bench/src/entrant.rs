//! Who does the work: our client, a floor, a peer. All look the same to a workload.

use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use leasehold_core::{Env, Result};

use crate::load::{Case, Load};
use crate::measure::Measured;
use crate::workload;

/// Something that locks.
pub trait Locker: Send + Sync + 'static {
    /// What one task locks with.
    type Seat: Seat;

    /// A seat for one task at the lock of this name.
    ///
    /// # Errors
    /// Whatever keeps it from making one.
    fn seat(&self, name: &str) -> impl Future<Output = Result<Self::Seat>> + Send;

    /// How many requests its engine has had so far, if that can be counted.
    fn requests(&self) -> Option<u64>;

    /// Cleans up when all seats are gone.
    ///
    /// # Errors
    /// Whatever keeps it from that, or what it finds that must not be there.
    fn close(&self) -> impl Future<Output = Result<()>> + Send {
        std::future::ready(Ok(()))
    }
}

/// One task's hand on one lock. It acquires and releases in turn.
pub trait Seat: Send + 'static {
    /// Waits until the lock is held.
    fn acquire(&mut self) -> impl Future<Output = Result<()>> + Send;

    /// Lets go of it, and returns when that is certain.
    fn release(&mut self) -> impl Future<Output = Result<()>> + Send;
}

/// What an entrant is to the others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Ours.
    Ours,
    /// The bare client's commands: what a row's ratio is to.
    Floor,
    /// Somebody else's way of doing it.
    Peer,
}

type Run = Box<dyn Fn(Load) -> BoxFuture<'static, Result<Measured>> + Send + Sync>;

/// Somebody who can be given a load to run.
pub struct Entrant {
    name: &'static str,
    role: Role,
    run: Run,
}

impl fmt::Debug for Entrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entrant").field("name", &self.name).field("role", &self.role).finish_non_exhaustive()
    }
}

impl Entrant {
    /// Whoever brings a way to run a load.
    pub fn new(
        name: &'static str,
        role: Role,
        run: impl Fn(Load) -> BoxFuture<'static, Result<Measured>> + Send + Sync + 'static,
    ) -> Self {
        Self { name, role, run: Box::new(run) }
    }

    /// A locker, which runs the pair and the hand-over.
    pub fn of(name: &'static str, role: Role, env: &Env, locker: impl Locker) -> Self {
        let (locker, env) = (Arc::new(locker), env.clone());
        Self::new(name, role, move |load| {
            let (locker, env) = (Arc::clone(&locker), env.clone());
            Box::pin(async move { run(&env, &*locker, load).await })
        })
    }

    /// A locker that is opened for every run and closed after it; neither is measured.
    pub fn opened<L: Locker, F>(
        name: &'static str,
        role: Role,
        env: &Env,
        open: impl Fn(Load) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<L>> + Send + 'static,
    {
        let env = env.clone();
        Self::new(name, role, move |load| {
            let (env, opening) = (env.clone(), open(load));
            Box::pin(async move {
                let locker = opening.await?;
                let measured = run(&env, &locker, load).await?;
                locker.close().await?;
                Ok(measured)
            })
        })
    }

    /// Its name in the results.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// What it is to the others.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Runs a load once.
    ///
    /// # Errors
    /// The first that a task meets.
    pub async fn run(&self, load: Load) -> Result<Measured> {
        (self.run)(load).await
    }
}

async fn run<L: Locker>(env: &Env, locker: &L, load: Load) -> Result<Measured> {
    match load.case {
        Case::Pair => workload::pair(env, locker, load).await,
        Case::Handoff => workload::handoff(env, locker, load).await,
        Case::Renew => unreachable!("only our client renews; nobody else enters that case"),
    }
}
