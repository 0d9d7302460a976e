//! A server, engines and clients on it, and short words for requests of one item.

use std::time::Duration;

use leasehold_consul::{Config, Consul};
use leasehold_core::claim::{Leave, Manner};
use leasehold_core::clock::BootClock;
use leasehold_core::url::EngineUrl;
use leasehold_core::{
    Claim, ClaimId, ClaimRef, Client, Clock, Engine, Env, Hint, Meta, Name, Page, Query, Refresh, Result,
    Standing, Token,
};

/// How long anything may take before a test fails instead of hanging.
pub(crate) const BOUND: Duration = Duration::from_secs(120);

/// A TTL that no test outlives: what is left behind hangs its test.
pub(crate) const LONG: Duration = Duration::from_secs(3600);

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// The shortest TTL that there is.
pub(crate) const SHORT: Duration = Duration::from_secs(10);

/// An engine on the server of this URL.
pub(crate) async fn try_open(url: &str) -> Result<Consul> {
    leasehold_consul::open(Config::from_url(EngineUrl::parse(url)?)?, Env::system()).await
}

pub(crate) async fn open(url: &str) -> Consul {
    try_open(url).await.unwrap()
}

/// A client of an engine of its own.
pub(crate) async fn client(url: &str, ttl: Duration) -> Client {
    Client::builder(open(url).await).ttl(ttl).spawn().unwrap()
}

/// A claim to all of a mutex, for an hour.
pub(crate) fn claim(resource: &str, id: u128) -> Claim {
    Claim {
        name: Name::new(resource).unwrap(),
        id: ClaimId(id),
        capacity: 1,
        weight: 1,
        ttl: LONG,
        at_least: Duration::ZERO,
        raise: None,
        meta: Meta { owner: "test".into(), payload: None },
    }
}

/// A claim to a part of something.
pub(crate) fn share(resource: &str, id: u128, (weight, capacity): (u32, u32)) -> Claim {
    Claim { capacity, weight, ..claim(resource, id) }
}

/// Requests of one item.
pub(crate) trait One: Engine {
    fn try_join(&self, claim: &Claim) -> impl Future<Output = Result<Standing>> {
        let reply = self.join(std::slice::from_ref(claim));
        async { reply.await.remove(0) }
    }

    fn join_one(&self, claim: &Claim) -> impl Future<Output = Standing> {
        let reply = self.try_join(claim);
        async { reply.await.unwrap() }
    }

    fn try_refresh(&self, claim: &Claim) -> impl Future<Output = Result<Standing>> {
        let reply = self.refresh(&[Refresh { claim: claim.key(), ttl: claim.ttl, raise: None }]);
        async { reply.await.remove(0) }
    }

    fn look(&self, claim: &Claim) -> impl Future<Output = Standing> {
        let reply = self.try_refresh(claim);
        async { reply.await.unwrap() }
    }

    fn end(&self, claim: ClaimRef, manner: Manner) -> impl Future<Output = Result<()>> {
        let reply = self.leave(&[Leave { claim, manner }]);
        async { reply.await.remove(0) }
    }

    fn release(&self, claim: &Claim) -> impl Future<Output = ()> {
        let reply = self.end(claim.key(), Manner::Release);
        async { reply.await.unwrap() }
    }

    /// Requests of many.
    fn join_all(&self, claims: &[Claim]) -> impl Future<Output = Vec<Standing>> {
        let reply = self.join(claims);
        async { reply.await.into_iter().map(Result::unwrap).collect() }
    }

    fn look_all(&self, claims: &[Claim]) -> impl Future<Output = Vec<Standing>> {
        let asks: Vec<_> =
            claims.iter().map(|c| Refresh { claim: c.key(), ttl: c.ttl, raise: None }).collect();
        let reply = self.refresh(&asks);
        async { reply.await.into_iter().map(Result::unwrap).collect() }
    }

    fn page(&self, prefix: &str) -> impl Future<Output = Page> {
        let page = self.inspect(Query { prefix: prefix.to_owned(), limit: 100, after: None });
        async { page.await.unwrap() }
    }

    /// What a waiter is told when it is its turn.
    fn hint(&self, claim: &Claim) -> impl Future<Output = Hint> {
        use futures_util::StreamExt;
        let mut hints = self.watch(&claim.key());
        async move { within("a hint comes", hints.next()).await.expect("it waits") }
    }
}

impl One for Consul {}

/// The token of a held claim.
pub(crate) fn token(standing: &Standing) -> Token {
    match standing {
        Standing::Held { token, .. } => *token,
        other => panic!("not held: {other:?}"),
    }
}

/// How many are ahead of a waiting claim.
pub(crate) fn ahead(standing: &Standing) -> u32 {
    match standing {
        Standing::Queued { ahead, .. } => *ahead,
        other => panic!("not queued: {other:?}"),
    }
}

/// How many claims stand at a lock.
pub(crate) async fn standing(engine: &impl One, name: &str) -> usize {
    try_standing(engine, name).await.unwrap()
}

pub(crate) async fn try_standing(engine: &impl One, name: &str) -> Result<usize> {
    let page = engine.inspect(Query { prefix: name.to_owned(), limit: 100, after: None }).await?;
    let queues = page.queues.iter().filter(|queue| queue.name.as_str() == name);
    Ok(queues.map(|queue| queue.claims.len()).sum())
}

/// Asks again until it is so.
pub(crate) async fn until(what: &str, mut so: impl AsyncFnMut() -> bool) {
    let give_up = BootClock.now() + BOUND;
    while !so().await {
        assert!(BootClock.now() < give_up, "waited in vain until {what}");
        BootClock.sleep_until(BootClock.now() + Duration::from_millis(5)).await;
    }
}

/// Awaits what must happen.
pub(crate) async fn within<T>(what: &str, event: impl Future<Output = T>) -> T {
    tokio::select! {
        biased;
        out = event => out,
        () = BootClock.sleep_until(BootClock.now() + BOUND) => panic!("waited in vain until {what}"),
    }
}
