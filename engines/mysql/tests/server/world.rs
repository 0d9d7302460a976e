//! A server, engines and clients on it, and short words for requests of one item.

use std::time::Duration;

use leasehold_core::claim::{Leave, Manner};
use leasehold_core::clock::BootClock;
use leasehold_core::url::EngineUrl;
use leasehold_core::{
    Claim, ClaimId, ClaimRef, Client, Clock, Engine, Env, Meta, Name, Refresh, Result, Standing, Token,
};
use leasehold_mysql::{Config, MySql};

/// How long anything may take before a test fails instead of hanging.
pub(crate) const BOUND: Duration = Duration::from_secs(60);

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// An engine on the database of this URL.
pub(crate) async fn try_open(url: &str) -> Result<MySql> {
    MySql::open(Config::from_url(EngineUrl::parse(url)?)?, Env::system()).await
}

pub(crate) async fn open(url: &str) -> MySql {
    try_open(url).await.unwrap()
}

/// Why an engine cannot be opened.
pub(crate) async fn refused(url: &str) -> String {
    try_open(url).await.expect_err("it is refused").to_string()
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
}

impl One for MySql {}

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

/// Awaits what must happen.
pub(crate) async fn within<T>(what: &str, event: impl Future<Output = T>) -> T {
    tokio::select! {
        out = event => out,
        () = BootClock.sleep_until(BootClock.now() + BOUND) => panic!("within {BOUND:?} it must happen that {what}"),
    }
}

/// Asks again until the database answers.
pub(crate) async fn ask<T>(mut call: impl AsyncFnMut() -> Result<T>) -> T {
    within("the database answers", async {
        loop {
            match call().await {
                Ok(out) => return out,
                Err(e) if e.is_transient() => BootClock.sleep_until(BootClock.now() + SECOND / 20).await,
                Err(e) => panic!("{e:?}"),
            }
        }
    })
    .await
}

/// The same server as another user.
pub(crate) fn url_of(server: &leasehold_testkit::mariadb::MariaDb, user: &str) -> String {
    server.url().replace("root@", &format!("{user}@"))
}

/// What the server says, without what differs from run to run.
pub(crate) fn fixed(server: &leasehold_testkit::mariadb::MariaDb, said: &str) -> String {
    said.replace(&server.port().to_string(), "PORT")
}
