//! Short words for what tests ask of an engine: claims by name and number, requests of one item.
//!
//! What is refused or fails is a panic, unless the word begins with `try`.

use std::time::Duration;

use leasehold_core::claim::{Leave, Manner};
use leasehold_core::{Claim, ClaimId, ClaimRef, Engine, Meta, Name, Query, Refresh, Result, Standing, Token};

const HALF_A_MINUTE: Duration = Duration::from_secs(30);

/// A claim to all of a mutex, for half a minute.
pub fn claim(resource: &str, id: u128) -> Claim {
    Claim {
        name: Name::new(resource).unwrap(),
        id: ClaimId(id),
        capacity: 1,
        weight: 1,
        ttl: HALF_A_MINUTE,
        at_least: Duration::ZERO,
        raise: None,
        meta: Meta { owner: "test".into(), payload: None },
    }
}

/// A claim to a part of something.
pub fn share(resource: &str, id: u128, (weight, capacity): (u32, u32)) -> Claim {
    Claim { capacity, weight, ..claim(resource, id) }
}

/// Which claim that is.
pub fn key(resource: &str, id: u128) -> ClaimRef {
    claim(resource, id).key()
}

/// Requests of one item.
pub trait One: Engine {
    /// Its standing, or why it is not known.
    fn try_join(&self, claim: Claim) -> impl Future<Output = Result<Standing>> {
        let reply = self.join(&[claim]);
        async { reply.await.remove(0) }
    }

    /// Its standing.
    fn join_one(&self, claim: Claim) -> impl Future<Output = Standing> {
        let reply = self.try_join(claim);
        async { reply.await.unwrap() }
    }

    /// Its standing after a renewal, or why it is not known.
    fn try_refresh(&self, claim: &ClaimRef, ttl: Duration) -> impl Future<Output = Result<Standing>> {
        let reply = self.refresh(&[Refresh { claim: claim.clone(), ttl, raise: None }]);
        async { reply.await.remove(0) }
    }

    /// Its standing after a renewal for half a minute.
    fn look(&self, claim: &ClaimRef) -> impl Future<Output = Standing> {
        let reply = self.try_refresh(claim, HALF_A_MINUTE);
        async { reply.await.unwrap() }
    }

    /// Ends it, or tells why that is not known.
    fn try_leave(&self, claim: &ClaimRef, manner: Manner) -> impl Future<Output = Result<()>> {
        let reply = self.leave(&[Leave { claim: claim.clone(), manner }]);
        async { reply.await.remove(0) }
    }

    /// Ends it as its owner does.
    fn release(&self, claim: &ClaimRef) -> impl Future<Output = ()> {
        let reply = self.try_leave(claim, Manner::Release);
        async { reply.await.unwrap() }
    }

    /// The names of so many locks at which somebody stands.
    fn names(&self, prefix: &str, limit: usize) -> impl Future<Output = Vec<String>> {
        let page = self.inspect(Query { prefix: prefix.to_owned(), limit, after: None });
        async { page.await.unwrap().queues.iter().map(|q| q.name.to_string()).collect() }
    }
}

impl<E: Engine + ?Sized> One for E {}

/// The token of a held claim.
pub fn token(standing: &Standing) -> Token {
    match standing {
        Standing::Held { token, .. } => *token,
        other => panic!("not held: {other:?}"),
    }
}

/// How many are ahead of a waiting claim.
pub fn ahead(standing: &Standing) -> u32 {
    match standing {
        Standing::Queued { ahead, .. } => *ahead,
        other => panic!("not queued: {other:?}"),
    }
}
