//! Speaks with an engine directly, as a client's innermost part does, and notes when.

use std::slice;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use leasehold::claim::{CAPACITY_MAX, Claim, ClaimId, Leave, Manner, Meta, Refresh, WAITING_TTL_MAX};
use leasehold::engine::{Batch, Hints, Query, QueueView, Standing};
use leasehold::{Engine, Env, Moment, Name, Result, Token};

use crate::setup::{BOUND, ask, within};
use crate::verdict::{Failure, Verdict, ensure};

/// A TTL that no test outlives.
pub(crate) const LONG: Duration = Duration::from_secs(120);

/// Between two looks at something that tells nobody of its changes.
const LOOK: Duration = Duration::from_millis(5);

/// An answer, and two readings of the clock with the engine's receipt of the request between them.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) standing: Standing,
    pub(crate) sent: Moment,
    pub(crate) answered: Moment,
}

impl Told {
    /// The token, if it is held.
    pub(crate) fn token(&self) -> Option<Token> {
        match self.standing {
            Standing::Held { token, .. } => Some(token),
            _ => None,
        }
    }

    pub(crate) fn held(&self) -> Verdict<Token> {
        self.token().ok_or_else(|| Failure::Violation(format!("it must be held, but is {:?}", self.standing)))
    }

    /// How many are ahead of it; it must be waiting.
    pub(crate) fn ahead(&self) -> Verdict<u32> {
        match self.standing {
            Standing::Queued { ahead, .. } => Ok(ahead),
            _ => Err(Failure::Violation(format!("it must wait, but is {:?}", self.standing))),
        }
    }

    pub(crate) fn gone(&self) -> Verdict {
        ensure!(self.standing == Standing::Gone, "it must be gone, but is {:?}", self.standing);
        Ok(())
    }
}

/// One engine and the clock beside it.
#[derive(Clone)]
pub(crate) struct Probe {
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) env: Env,
    prefix: String,
    bound: Duration,
}

impl Probe {
    pub(crate) fn new(engine: Arc<dyn Engine>, env: Env, prefix: &str, bound: Duration) -> Self {
        Self { engine, env, prefix: prefix.to_owned(), bound }
    }

    /// A new claim to all of a mutex.
    pub(crate) fn claim(&self, name: &str, ttl: Duration) -> Claim {
        Claim {
            name: Name::new(&format!("{}{name}", self.prefix)).expect("the tests' names are good"),
            id: ClaimId(self.env.rng.next()),
            capacity: 1,
            weight: 1,
            ttl: ttl.min(self.engine.info().ttl_max),
            at_least: Duration::ZERO,
            raise: None,
            meta: Meta { owner: "behavior".into(), payload: None },
        }
    }

    /// A new claim to a part of a resource.
    pub(crate) fn part(&self, name: &str, weight: u32, capacity: u32) -> Claim {
        Claim { weight, capacity, ..self.claim(name, LONG) }
    }

    pub(crate) fn reader(&self, name: &str) -> Claim {
        self.part(name, 1, CAPACITY_MAX)
    }

    pub(crate) fn writer(&self, name: &str) -> Claim {
        self.part(name, CAPACITY_MAX, CAPACITY_MAX)
    }

    /// One answer, with the last request's times: the one that was answered.
    async fn told(&self, call: impl AsyncFn() -> Result<Standing>) -> Verdict<Told> {
        let (sent, standing) = ask(&*self.env.clock, async || {
            let sent = self.env.now();
            Ok((sent, call().await?))
        })
        .await?;
        Ok(Told { standing, sent, answered: self.env.now() })
    }

    pub(crate) async fn join(&self, claim: &Claim) -> Verdict<Told> {
        self.told(async || only(self.engine.join(slice::from_ref(claim)).await)).await
    }

    /// The same from another task, as another user of the same client.
    pub(crate) async fn join_elsewhere(&self, claim: &Claim) -> Verdict<Told> {
        self.told(async || {
            let (engine, claim) = (Arc::clone(&self.engine), claim.clone());
            only(
                tokio::spawn(async move { engine.join(&[claim]).await })
                    .await
                    .expect("an engine does not panic"),
            )
        })
        .await
    }

    pub(crate) async fn refresh(&self, claim: &Claim) -> Verdict<Told> {
        let ask = Refresh { claim: claim.key(), ttl: claim.ttl, raise: claim.raise };
        self.told(async || only(self.engine.refresh(slice::from_ref(&ask)).await)).await
    }

    pub(crate) async fn end(&self, claim: &Claim, manner: Manner) -> Verdict {
        let leave = Leave { claim: claim.key(), manner };
        ask(&*self.env.clock, async || only(self.engine.leave(slice::from_ref(&leave)).await)).await
    }

    pub(crate) async fn leave(&self, claim: &Claim) -> Verdict {
        self.end(claim, Manner::Release).await
    }

    /// Several claims in one request; asked for again until each is answered.
    pub(crate) async fn join_all(&self, claims: &[Claim]) -> Verdict<Vec<Standing>> {
        ask(&*self.env.clock, async || self.engine.join(claims).await.into_iter().collect()).await
    }

    /// The same for refreshes.
    pub(crate) async fn refresh_all(&self, claims: &[Claim]) -> Verdict<Vec<Standing>> {
        ask(&*self.env.clock, async || {
            let batch: Vec<_> =
                claims.iter().map(|c| Refresh { claim: c.key(), ttl: c.ttl, raise: c.raise }).collect();
            self.engine.refresh(&batch).await.into_iter().collect()
        })
        .await
    }

    pub(crate) fn watch(&self, claim: &Claim) -> Hints {
        self.engine.watch(&claim.key())
    }

    /// The queues of this test that somebody stands in.
    pub(crate) async fn queues(&self) -> Verdict<Vec<QueueView>> {
        let mut queues = Vec::new();
        let mut after = None;
        loop {
            let query = Query { prefix: self.prefix.clone(), after, limit: 100 };
            let page = ask(&*self.env.clock, async || self.engine.inspect(query.clone()).await).await?;
            queues.extend(page.queues);
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(queues),
            }
        }
    }

    /// How many claims stand in this queue.
    pub(crate) async fn standing_in(&self, claim: &Claim) -> Verdict<usize> {
        let queues = self.queues().await?;
        Ok(queues.iter().find(|q| q.name == claim.name).map_or(0, |q| q.claims.len()))
    }

    /// A moment, where nothing tells that something has changed.
    pub(crate) async fn pause(&self) {
        self.until(self.env.now() + LOOK).await;
    }

    /// Lets time pass.
    pub(crate) async fn until(&self, at: Moment) {
        self.env.clock.sleep_until(at).await;
    }

    /// Lets time pass, and keeps a claim alive that waits meanwhile.
    pub(crate) async fn keep(&self, waiter: &Claim, until: Moment) -> Verdict {
        loop {
            self.until(until.min(self.env.now() + WAITING_TTL_MAX / 5)).await;
            if self.env.now() >= until {
                return Ok(());
            }
            self.refresh(waiter).await?;
        }
    }

    /// Refreshes a claim until its standing is as wanted.
    pub(crate) async fn refresh_until(
        &self,
        claim: &Claim,
        what: &str,
        so: impl Fn(&Standing) -> bool,
    ) -> Verdict<Told> {
        within(&*self.env.clock, self.bound, what, async {
            loop {
                let told = self.refresh(claim).await?;
                if so(&told.standing) {
                    return Ok(told);
                }
                ensure!(told.standing != Standing::Gone, "a claim that is refreshed all the time is gone");
                self.pause().await;
            }
        })
        .await?
    }

    /// Refreshes a waiting claim until it is held.
    pub(crate) async fn until_held(&self, claim: &Claim) -> Verdict<Told> {
        self.refresh_until(claim, "the next in the queue is held", |s| matches!(s, Standing::Held { .. }))
            .await
    }

    /// Starts a `join` and does not wait for its answer.
    pub(crate) fn join_unheard(&self, claim: &Claim) {
        drop(self.engine.join(slice::from_ref(claim)).now_or_never());
    }
}

fn only<T>(mut answers: Batch<Result<T>>) -> Result<T> {
    debug_assert_eq!(answers.len(), 1);
    answers.pop().expect("an engine answers each item")
}

/// A test with a TTL in it may find that the machine stood still for longer than that: then it says `None`, and
/// is run again with a longer TTL.
pub(crate) async fn patiently(
    short: Duration,
    attempt: impl AsyncFn(Duration) -> Verdict<Option<()>>,
) -> Verdict {
    let mut ttl = short;
    while ttl < BOUND / 2 {
        if attempt(ttl).await?.is_some() {
            return Ok(());
        }
        ttl *= 2;
    }
    Err(Failure::Trouble(format!("this machine stands still for longer than {:?} at a time", ttl / 2)))
}
