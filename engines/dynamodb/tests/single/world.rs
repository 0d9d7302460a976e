//! Engines on a server, and short words for requests of one item.

use std::time::Duration;

use leasehold_core::claim::{Leave, Manner};
use leasehold_core::url::EngineUrl;
use leasehold_core::{
    Claim, ClaimId, Client, Engine, Env, Meta, Name, Query, Refresh, Result, Standing, Token,
};
use leasehold_dynamodb::{Config, DynamoDb};

/// A TTL that no test outlives.
pub(crate) const LONG: Duration = Duration::from_secs(3600);

/// The shortest TTL that there is.
pub(crate) const SHORT: Duration = Duration::from_millis(500);

pub(crate) async fn try_open(url: &str) -> Result<DynamoDb> {
    DynamoDb::open(Config::from_url(EngineUrl::parse(url)?)?, Env::system()).await
}

pub(crate) async fn open(url: &str) -> DynamoDb {
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

/// Requests of one item.
pub(crate) trait One: Engine {
    async fn try_join(&self, claim: &Claim) -> Result<Standing> {
        self.join(std::slice::from_ref(claim)).await.pop().unwrap()
    }

    async fn join_one(&self, claim: &Claim) -> Standing {
        self.try_join(claim).await.unwrap()
    }

    async fn renew(&self, claim: &Claim) -> Standing {
        let ask = Refresh { claim: claim.key(), ttl: claim.ttl, raise: None };
        self.refresh(&[ask]).await.pop().unwrap().unwrap()
    }

    async fn release(&self, claim: &Claim) {
        let leave = Leave { claim: claim.key(), manner: Manner::Release };
        self.leave(&[leave]).await.pop().unwrap().unwrap();
    }

    /// How many stand in a queue, for an onlooker.
    async fn standing_in(&self, claim: &Claim) -> usize {
        let page = self.inspect(Query::exactly(&claim.name)).await.unwrap();
        page.queues.first().map_or(0, |queue| queue.claims.len())
    }
}

impl<E: Engine> One for E {}

pub(crate) fn token(standing: &Standing) -> Token {
    match standing {
        Standing::Held { token, .. } => *token,
        other => panic!("not held: {other:?}"),
    }
}

pub(crate) fn ahead(standing: &Standing) -> u32 {
    match standing {
        Standing::Queued { ahead, .. } => *ahead,
        other => panic!("not queued: {other:?}"),
    }
}
