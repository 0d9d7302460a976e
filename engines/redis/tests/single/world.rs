//! A server, and engines and clients on it.

use std::time::Duration;

use leasehold_core::clock::BootClock;
use leasehold_core::url::EngineUrl;
use leasehold_core::{ClaimId, ClaimRef, Client, Clock, Env, Result, Standing, Token};
use leasehold_redis::{Config, Redis};
use leasehold_testkit::redis::{Redis as Server, Reply};

pub(crate) use leasehold_testkit::requests::*;

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

/// The claim's id as it stands in the plain key.
pub(crate) fn hex(id: u128) -> String {
    ClaimId(id).to_string()
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
