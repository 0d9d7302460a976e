//! Engines and clients on a server, the bare client beside them, and short words for requests of one item.
#![allow(dead_code, reason = "each test program uses what it needs")]

use std::time::Duration;

use leasehold_core::claim::{Leave, Manner};
use leasehold_core::clock::BootClock;
use leasehold_core::url::EngineUrl;
use leasehold_core::{
    Claim, ClaimId, ClaimRef, Client, Clock, Engine, Env, Meta, Name, Query, Refresh, Result, Standing, Token,
};
use leasehold_zookeeper::{Config, ZooKeeper};
use zookeeper_client::Client as Bare;

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// How long anything may take before a test fails instead of hanging.
pub(crate) const BOUND: Duration = Duration::from_secs(60);

/// An engine on the servers of this URL.
pub(crate) async fn try_open(url: &str) -> Result<ZooKeeper> {
    ZooKeeper::open(Config::from_url(EngineUrl::parse(url)?)?, Env::system()).await
}

pub(crate) async fn open(url: &str) -> ZooKeeper {
    try_open(url).await.unwrap()
}

/// A client of an engine of its own.
pub(crate) async fn client(url: &str, ttl: Duration) -> Client {
    Client::builder(open(url).await).ttl(ttl).spawn().unwrap()
}

/// The bare client, for looking and for being somebody else.
pub(crate) async fn bare(url: &str) -> Bare {
    let hosts = url.trim_start_matches("zookeeper://").split(['/', '?']).next().unwrap();
    Bare::connector().with_session_timeout(10 * SECOND).connect(hosts).await.unwrap()
}

/// What must happen.
pub(crate) async fn within<T>(what: &str, event: impl Future<Output = T>) -> T {
    tokio::select! {
        biased;
        out = event => out,
        () = BootClock.sleep_until(BootClock.now() + BOUND) => panic!("it did not happen in time that {what}"),
    }
}

/// Lets a moment pass where nothing tells that something has changed.
pub(crate) async fn pause() {
    BootClock.sleep_until(BootClock.now() + Duration::from_millis(10)).await;
}

/// A claim to all of a mutex.
pub(crate) fn claim(resource: &str, id: u128) -> Claim {
    Claim {
        name: Name::new(resource).unwrap(),
        id: ClaimId(id),
        capacity: 1,
        weight: 1,
        ttl: 10 * SECOND,
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
    fn try_join(&self, claim: &Claim) -> impl Future<Output = Result<Standing>> + use<Self> {
        let reply = self.join(std::slice::from_ref(claim));
        async { reply.await.remove(0) }
    }

    fn join_one(&self, claim: &Claim) -> impl Future<Output = Standing> + use<Self> {
        let reply = self.try_join(claim);
        async { reply.await.unwrap() }
    }

    fn try_look(&self, claim: &Claim) -> impl Future<Output = Result<Standing>> + use<Self> {
        let reply = self.refresh(&[Refresh { claim: claim.key(), ttl: claim.ttl, raise: None }]);
        async { reply.await.remove(0) }
    }

    fn look(&self, claim: &Claim) -> impl Future<Output = Standing> + use<Self> {
        let reply = self.try_look(claim);
        async { reply.await.unwrap() }
    }

    fn try_end(&self, claim: &ClaimRef, manner: Manner) -> impl Future<Output = Result<()>> + use<Self> {
        let reply = self.leave(&[Leave { claim: claim.clone(), manner }]);
        async { reply.await.remove(0) }
    }

    fn release(&self, claim: &Claim) -> impl Future<Output = ()> + use<Self> {
        let reply = self.try_end(&claim.key(), Manner::Release);
        async { reply.await.unwrap() }
    }

    fn names(&self, prefix: &str, limit: usize) -> impl Future<Output = Vec<String>> {
        let page = self.inspect(Query { prefix: prefix.to_owned(), limit, after: None });
        async { page.await.unwrap().queues.iter().map(|q| q.name.to_string()).collect() }
    }
}

impl One for ZooKeeper {}

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

/// The children of a node, sorted; none if it is not there.
pub(crate) async fn children(bare: &Bare, path: &str) -> Vec<String> {
    // Whatever was agreed on before is seen.
    bare.sync(path).await.unwrap();
    let mut children = bare.list_children(path).await.unwrap_or_default();
    children.sort();
    children
}
