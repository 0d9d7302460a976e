//! Chaos: an engine around an engine that does what networks do. By a seed it delays requests and replies, loses
//! requests before their effect and replies after it, delivers requests twice, and loses, delays and doubles hints.
//!
//! For tests: whatever holds over an engine must hold over the same engine in chaos, only later.
//! ```
//! # use std::sync::Arc;
//! # use leasehold_core::{Client, Env, Memory, Result};
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<()> {
//! use leasehold_chaos::{Chaos, Plan};
//! let engine = Chaos::new(Arc::new(Memory::new(Env::system())), Env::system(), Plan::seeded(7));
//! let locks = Client::new(engine)?;
//! locks.mutex("m")?.lock().await?.release().await
//! # }
//! ```

mod plan;

use std::fmt;
use std::os::fd::BorrowedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use leasehold_core::claim::{Claim, ClaimRef, Leave, Refresh};
use leasehold_core::engine::{Alarms, Engine, EngineInfo, Hints, Page, Query, Reply, Standing, Wakeups};
use leasehold_core::{Env, Error, ErrorKind, Outcome, Result};

use plan::Dice;
pub use plan::Plan;

/// The layer. Needs a tokio runtime: a request goes its way even if nobody waits for its reply any more.
pub struct Chaos {
    inner: Arc<dyn Engine>,
    env: Env,
    info: EngineInfo,
    dice: Arc<Dice>,
}

impl Chaos {
    /// Wraps an engine.
    pub fn new(inner: Arc<dyn Engine>, env: Env, plan: Plan) -> Self {
        let mut info = inner.info().clone();
        if plan.hint_lost > 0 {
            // Who may not be told must ask.
            info.wakeups = Wakeups::Poll;
        }
        Self { inner, env, info, dice: Arc::new(Dice::new(plan)) }
    }

    /// Sends a batch on its way through the weather.
    fn send<A, T>(
        &self,
        operation: &'static str,
        batch: &[A],
        call: fn(&dyn Engine, &[A]) -> Reply<T>,
    ) -> Reply<T>
    where
        A: Clone + Send + Sync + 'static,
        T: Send + 'static,
    {
        // Drawn at the call: the order of the calls, and nothing else, decides who meets what.
        let fate = self.dice.fate();
        let items = batch.len();
        let (inner, env, batch) = (Arc::clone(&self.inner), self.env.clone(), batch.to_vec());
        let journey = tokio::spawn(async move {
            pause(&env, fate.before).await;
            if fate.request_lost {
                return None;
            }
            if let Some(later) = fate.again {
                let (inner, env, batch) = (Arc::clone(&inner), env.clone(), batch.clone());
                tokio::spawn(async move {
                    pause(&env, later).await;
                    // Its answer finds nobody: the sender takes the first one.
                    drop(call(&*inner, &batch).await);
                });
            }
            let mut answers = call(&*inner, &batch).await;
            if fate.doubled {
                // The sender cannot tell which of the two is answered.
                answers = call(&*inner, &batch).await;
            }
            pause(&env, fate.after).await;
            (!fate.reply_lost).then_some(answers)
        });
        Reply::later(async move {
            match journey.await {
                Ok(Some(answers)) => answers,
                // Lost, or the runtime is shutting down: the sender cannot tell which.
                Ok(None) | Err(_) => (0..items).map(|_| Err(unknown(operation))).collect(),
            }
        })
    }
}

async fn pause(env: &Env, span: Duration) {
    if !span.is_zero() {
        env.clock.sleep_until(env.now() + span).await;
    }
}

fn unknown(operation: &'static str) -> Error {
    Error::new(ErrorKind::Unavailable, operation, "lost in chaos").with_outcome(Outcome::Unknown)
}

impl Engine for Chaos {
    fn info(&self) -> &EngineInfo {
        &self.info
    }

    fn join(&self, claims: &[Claim]) -> Reply<Standing> {
        self.send("join", claims, |engine, claims| engine.join(claims))
    }

    fn refresh(&self, claims: &[Refresh]) -> Reply<Standing> {
        self.send("refresh", claims, |engine, claims| engine.refresh(claims))
    }

    fn leave(&self, claims: &[Leave]) -> Reply<()> {
        self.send("leave", claims, |engine, claims| engine.leave(claims))
    }

    fn watch(&self, claim: &ClaimRef) -> Hints {
        let (env, dice) = (self.env.clone(), Arc::clone(&self.dice));
        let told = self.inner.watch(claim).then(move |hint| {
            let (env, fate) = (env.clone(), dice.hint());
            async move {
                pause(&env, fate.delay).await;
                stream::iter(std::iter::repeat_n(hint, fate.copies))
            }
        });
        Box::pin(told.flatten())
    }

    fn inspect(&self, query: Query) -> Pin<Box<dyn Future<Output = Result<Page>> + Send>> {
        let fate = self.dice.fate();
        let (inner, env) = (Arc::clone(&self.inner), self.env.clone());
        Box::pin(async move {
            pause(&env, fate.before).await;
            if fate.request_lost || fate.reply_lost {
                return Err(unknown("inspect"));
            }
            inner.inspect(query).await
        })
    }

    fn alarms(&self) -> Alarms {
        self.inner.alarms()
    }

    fn lifeline(&self) -> Option<BorrowedFd<'_>> {
        self.inner.lifeline()
    }
}

impl fmt::Debug for Chaos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chaos").field("inner", &self.inner).field("dice", &self.dice).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
