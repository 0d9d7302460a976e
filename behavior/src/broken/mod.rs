//! Engines that are broken on purpose, each in one way: the tests of the contract must catch them.
//!
//! A fault sits around the engine under test and changes what goes in or what comes out, one item at a time.

pub(crate) mod queue;
pub(crate) mod time;
pub(crate) mod tokens;

use std::collections::HashMap;
use std::fmt;
use std::os::fd::BorrowedFd;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use leasehold::claim::{Claim, ClaimId, ClaimRef, Leave, Refresh};
use leasehold::engine::{Alarms, Batch, Engine, EngineInfo, Hints, Page, Query, Reply, Standing};
use leasehold::{Env, Result};

/// What is broken. Whatever a fault does not say goes through.
pub(crate) trait Fault: fmt::Debug + Send + Sync + 'static {
    fn join(&self, to: &Inner, claim: Claim) -> impl Future<Output = Result<Standing>> + Send {
        to.join(claim)
    }

    fn refresh(&self, to: &Inner, ask: Refresh) -> impl Future<Output = Result<Standing>> + Send {
        to.refresh(ask)
    }

    fn leave(&self, to: &Inner, ask: Leave) -> impl Future<Output = Result<()>> + Send {
        to.leave(ask)
    }

    fn watch(&self, to: &Inner, claim: &ClaimRef) -> Hints {
        to.0.watch(claim)
    }

    fn inspect(&self, to: &Inner, query: Query) -> impl Future<Output = Result<Page>> + Send {
        to.inspect(query)
    }

    /// What becomes of the answers to a batch.
    fn answers(&self, _answers: &mut Batch<Result<Standing>>) {}

    /// In which order the items of a batch take effect.
    fn order(&self, items: usize) -> Vec<usize> {
        (0..items).collect()
    }
}

/// The engine inside, asked for one thing at a time.
#[derive(Clone, Debug)]
pub(crate) struct Inner(Arc<dyn Engine>);

impl Inner {
    pub(crate) async fn join(&self, claim: Claim) -> Result<Standing> {
        only(self.0.join(&[claim]).await)
    }

    pub(crate) async fn refresh(&self, ask: Refresh) -> Result<Standing> {
        only(self.0.refresh(&[ask]).await)
    }

    pub(crate) async fn leave(&self, ask: Leave) -> Result<()> {
        only(self.0.leave(&[ask]).await)
    }

    pub(crate) async fn inspect(&self, query: Query) -> Result<Page> {
        self.0.inspect(query).await
    }

    pub(crate) fn ttl_min(&self) -> Duration {
        self.0.info().ttl_min
    }
}

fn only<T>(mut answers: Batch<Result<T>>) -> Result<T> {
    answers.pop().expect("an engine answers each item")
}

/// An engine with a fault.
#[derive(Debug)]
pub(crate) struct Broken<F> {
    fault: Arc<F>,
    inner: Inner,
}

/// Puts a fault around an engine.
pub(crate) fn broken(fault: impl Fault, engine: Arc<dyn Engine>) -> Arc<dyn Engine> {
    Arc::new(Broken { fault: Arc::new(fault), inner: Inner(engine) })
}

/// The usual way to break an engine: with a fault that knows nothing yet.
pub(crate) fn with<F: Fault + Default>(engine: Arc<dyn Engine>, _env: &Env) -> Arc<dyn Engine> {
    broken(F::default(), engine)
}

impl<F: Fault> Broken<F> {
    fn standings<A, Fut>(&self, batch: &[A], one: fn(Arc<F>, Inner, A) -> Fut) -> Reply<Standing>
    where
        A: Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<Standing>> + Send + 'static,
    {
        let (fault, inner, batch) = (Arc::clone(&self.fault), self.inner.clone(), batch.to_vec());
        Reply::later(async move {
            let mut answers: Vec<Option<Result<Standing>>> = vec![None; batch.len()];
            for at in fault.order(batch.len()) {
                answers[at] = Some(one(Arc::clone(&fault), inner.clone(), batch[at].clone()).await);
            }
            let mut answers = answers.into_iter().map(|a| a.expect("each item has its turn")).collect();
            fault.answers(&mut answers);
            answers
        })
    }
}

impl<F: Fault> Engine for Broken<F> {
    fn info(&self) -> &EngineInfo {
        self.inner.0.info()
    }

    fn join(&self, claims: &[Claim]) -> Reply<Standing> {
        self.standings(claims, |fault, inner, claim| async move { fault.join(&inner, claim).await })
    }

    fn refresh(&self, claims: &[Refresh]) -> Reply<Standing> {
        self.standings(claims, |fault, inner, ask| async move { fault.refresh(&inner, ask).await })
    }

    fn leave(&self, claims: &[Leave]) -> Reply<()> {
        let (fault, inner, claims) = (Arc::clone(&self.fault), self.inner.clone(), claims.to_vec());
        Reply::later(async move {
            let mut answers = Batch::new();
            for ask in claims {
                answers.push(fault.leave(&inner, ask).await);
            }
            answers
        })
    }

    fn watch(&self, claim: &ClaimRef) -> Hints {
        self.fault.watch(&self.inner, claim)
    }

    fn inspect(&self, query: Query) -> Pin<Box<dyn Future<Output = Result<Page>> + Send>> {
        let (fault, inner) = (Arc::clone(&self.fault), self.inner.clone());
        Box::pin(async move { fault.inspect(&inner, query).await })
    }

    fn alarms(&self) -> Alarms {
        self.inner.0.alarms()
    }

    fn lifeline(&self) -> Option<BorrowedFd<'_>> {
        self.inner.0.lifeline()
    }
}

/// What a fault remembers of claims.
#[derive(Debug)]
pub(crate) struct Memo<T>(Mutex<HashMap<ClaimId, T>>);

impl<T> Default for Memo<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Clone> Memo<T> {
    fn lock(&self) -> MutexGuard<'_, HashMap<ClaimId, T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn put(&self, id: ClaimId, value: T) -> Option<T> {
        self.lock().insert(id, value)
    }

    pub(crate) fn get(&self, id: ClaimId) -> Option<T> {
        self.lock().get(&id).cloned()
    }

    pub(crate) fn take(&self, id: ClaimId) -> Option<T> {
        self.lock().remove(&id)
    }

    pub(crate) fn all(&self) -> Vec<T> {
        self.lock().values().cloned().collect()
    }

    /// What was remembered first stays.
    pub(crate) fn first(&self, id: ClaimId, value: impl FnOnce() -> T) -> T {
        self.lock().entry(id).or_insert_with(value).clone()
    }
}
