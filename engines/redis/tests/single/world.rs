//! A server, engines and clients on it, and short words for requests of one item.

use std::time::Duration;

use leasehold_core::claim::{Leave, Manner};
use leasehold_core::clock::BootClock;
use leasehold_core::url::EngineUrl;
use leasehold_core::{
    Claim, ClaimId, ClaimRef, Client, Clock, Engine, Env, Meta, Name, Query, Refresh, Result, Standing, Token,
};
use leasehold_redis::{Config, Redis};
use leasehold_testkit::redis::{Redis as Server, Reply};

/// How long anything may take before a test fails instead of hanging.
pub(crate) const BOUND: Duration = Duration::from_secs(60);

/// A TTL that no test outlives: what is left behind hangs its test.
pub(crate) const LONG: Duration = Duration::from_secs(3600);

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// An engine on the server of this URL.
pub(crate) async fn try_open(url: &str) -> Result<Redis> {
    Redis::open(Config::from_url(EngineUrl::parse(url)?)?, Env::system()).await
}

pub(crate) async fn open(url: &str) -> Redis {
    try_open(url).await.unwrap()
}

/// A client of an engine of its own.
pub(crate) async fn client(url: &str, ttl: Duration) -> Client {
    Client::builder(open(url).await).ttl(ttl).spawn().unwrap()
}

/// A claim to all of a mutex, for half a minute.
pub(crate) fn claim(resource: &str, id: u128) -> Claim {
    Claim {
        name: Name::new(resource).unwrap(),
        id: ClaimId(id),
        capacity: 1,
        weight: 1,
        ttl: 30 * SECOND,
        at_least: Duration::ZERO,
        raise: None,
        meta: Meta { owner: "test".into(), payload: None },
    }
}

/// A claim to a part of something.
pub(crate) fn share(resource: &str, id: u128, (weight, capacity): (u32, u32)) -> Claim {
    Claim { capacity, weight, ..claim(resource, id) }
}

pub(crate) fn key(resource: &str, id: u128) -> ClaimRef {
    claim(resource, id).key()
}

/// The claim's id as it stands in the plain key.
pub(crate) fn hex(id: u128) -> String {
    ClaimId(id).to_string()
}

/// Requests of one item.
pub(crate) trait One: Engine {
    fn try_join(&self, claim: Claim) -> impl Future<Output = Result<Standing>> {
        let reply = self.join(&[claim]);
        async { reply.await.remove(0) }
    }

    fn join_one(&self, claim: Claim) -> impl Future<Output = Standing> {
        let reply = self.try_join(claim);
        async { reply.await.unwrap() }
    }

    fn try_refresh(&self, claim: &ClaimRef, ttl: Duration) -> impl Future<Output = Result<Standing>> {
        let reply = self.refresh(&[Refresh { claim: claim.clone(), ttl, raise: None }]);
        async { reply.await.remove(0) }
    }

    fn look(&self, claim: &ClaimRef) -> impl Future<Output = Standing> {
        let reply = self.try_refresh(claim, 30 * SECOND);
        async { reply.await.unwrap() }
    }

    fn try_leave(&self, claim: &ClaimRef, manner: Manner) -> impl Future<Output = Result<()>> {
        let reply = self.leave(&[Leave { claim: claim.clone(), manner }]);
        async { reply.await.remove(0) }
    }

    fn release(&self, claim: &ClaimRef) -> impl Future<Output = ()> {
        let reply = self.try_leave(claim, Manner::Release);
        async { reply.await.unwrap() }
    }

    fn names(&self, prefix: &str, limit: usize) -> impl Future<Output = Vec<String>> {
        let page = self.inspect(Query { prefix: prefix.to_owned(), limit, after: None });
        async { page.await.unwrap().queues.iter().map(|q| q.name.to_string()).collect() }
    }
}

impl One for Redis {}

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

/// Acquires and releases, and tells the token.
pub(crate) async fn next_token(engine: &Redis, resource: &str, id: u128) -> u64 {
    let got = token(&engine.join_one(claim(resource, id)).await).get();
    engine.release(&key(resource, id)).await;
    got
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

/// Looks until the claim is held.
pub(crate) async fn until_held(engine: &Redis, claim: &ClaimRef) -> Token {
    let mut held = None;
    until("the claim is held", async || {
        match engine.look(claim).await {
            Standing::Held { token, .. } => held = Some(token),
            Standing::Queued { .. } => {}
            other => panic!("{other:?}"),
        }
        held.is_some()
    })
    .await;
    held.unwrap()
}

/// What a test asks of the server itself.
pub(crate) trait Ask {
    /// One command, its words between spaces.
    fn ask(&self, command: &str) -> Reply;
    /// The string at a key, if there is one.
    fn get(&self, key: &str) -> Option<String>;
    /// How many milliseconds a key has left.
    fn pttl(&self, key: &str) -> i64;
    /// All keys but the counters of tokens.
    fn keys(&self) -> Vec<String>;
    /// The only counter of tokens.
    fn counter(&self) -> String;
}

fn is_counter(key: &str) -> bool {
    key.len() == "leasehold:{xyz}".len() && key.starts_with("leasehold:{") && key.ends_with('}')
}

fn all_keys(server: &Server) -> Vec<String> {
    server.ask("KEYS *").list().iter().map(|key| key.text().to_owned()).collect()
}

impl Ask for Server {
    fn ask(&self, command: &str) -> Reply {
        self.command(command.split(' ')).unwrap()
    }

    fn get(&self, key: &str) -> Option<String> {
        match self.command(["GET", key]).unwrap() {
            Reply::Nil => None,
            reply => Some(reply.text().to_owned()),
        }
    }

    fn pttl(&self, key: &str) -> i64 {
        self.command(["PTTL", key]).unwrap().int()
    }

    fn keys(&self) -> Vec<String> {
        all_keys(self).into_iter().filter(|key| !is_counter(key)).collect()
    }

    fn counter(&self) -> String {
        let counters: Vec<String> = all_keys(self).into_iter().filter(|key| is_counter(key)).collect();
        assert_eq!(counters.len(), 1, "{counters:?}");
        counters[0].clone()
    }
}
