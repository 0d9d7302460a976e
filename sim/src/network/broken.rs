//! The ledger as the engine keeps it, with the defect that a mutation asks for, or none.

use std::collections::BTreeMap;
use std::time::Duration;

use leasehold_core::ledger::{HandOver, Ledger};
use leasehold_core::{
    Claim, ClaimId, ClaimRef, Leave, Manner, Mint, Moment, Name, Page, Query, Refresh, Standing, Token,
};

use crate::mutation::Mutation;

/// An engine that forgets early keeps a claim for so many thousandths of its TTL.
const EARLY_PER_MILLE: u32 = 990;

/// A ledger, or something that should be one.
#[derive(Debug)]
pub struct Store {
    ledger: Ledger,
    floor: u64,
    mutation: Option<Mutation>,
    /// What has been joined, for the defects that need to know.
    claims: BTreeMap<ClaimId, Claim>,
    /// The token under which a claim was told to hold.
    told: BTreeMap<ClaimId, Token>,
    /// The last token of each resource.
    last: BTreeMap<Name, Token>,
    /// Claims that stand for another of the same client.
    alias: BTreeMap<ClaimId, ClaimId>,
}

impl Store {
    /// An empty one.
    pub fn new(floor: u64, mutation: Option<Mutation>) -> Self {
        Self {
            ledger: Ledger::new(floor),
            floor,
            mutation,
            claims: BTreeMap::new(),
            told: BTreeMap::new(),
            last: BTreeMap::new(),
            alias: BTreeMap::new(),
        }
    }

    fn is(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }

    /// Queues a claim.
    pub fn join(&mut self, now: Moment, claim: &Claim) -> Standing {
        let mut claim = claim.clone();
        let (id, name) = (claim.id, claim.name.clone());
        let known = self.claims.insert(id, claim.clone()).is_some();
        if self.is(Mutation::JoinTwice) && known {
            self.ledger.join(now, &Claim { id: ClaimId(id.0 ^ 1), ..claim.clone() });
        }
        if self.is(Mutation::ReEntrant)
            && let Some(held) = self.held_by(now, &name, &claim.meta.owner).filter(|held| *held != id)
        {
            self.alias.insert(id, held);
            return self.refresh(now, &Refresh { claim: claim.key(), ttl: claim.ttl, raise: claim.raise });
        }
        if self.is(Mutation::ForgetsEarly) {
            claim.ttl = claim.ttl * EARLY_PER_MILLE / 1000;
        }
        let last = self.ledger.mint().last();
        let standing = self.ledger.join(now, &claim);
        let standing = self.misjudge(claim.raise, last, claim.ttl, standing);
        self.tell(&name, id, standing)
    }

    /// Renews a claim.
    pub fn refresh(&mut self, now: Moment, ask: &Refresh) -> Standing {
        let mut ask = ask.clone();
        let (id, name) = (ask.claim.id, ask.claim.name.clone());
        if let Some(held) = self.alias.get(&id) {
            ask.claim.id = *held;
        }
        if self.is(Mutation::ForgetsEarly) {
            ask.ttl = ask.ttl * EARLY_PER_MILLE / 1000;
        }
        let last = self.ledger.mint().last();
        let standing = self.ledger.refresh(now, &ask);
        let mut standing = self.misjudge(ask.raise, last, ask.ttl, standing);
        if self.is(Mutation::LosesPlace)
            && matches!(standing, Standing::Queued { .. })
            && let Some(claim) = self.claims.get(&id)
        {
            let leave = Leave { claim: ask.claim.clone(), manner: Manner::Release };
            self.ledger.leave(now, &leave);
            standing = self.ledger.join(now, claim);
        }
        if self.is(Mutation::Revives)
            && standing == Standing::Gone
            && let Some(token) = self.told.get(&id)
        {
            return Standing::Held { token: *token, ttl: ask.ttl };
        }
        self.tell(&name, id, standing)
    }

    /// Ends a claim.
    pub fn leave(&mut self, now: Moment, ask: &Leave) {
        if self.alias.remove(&ask.claim.id).is_some() {
            return;
        }
        if self.is(Mutation::OwnerOnlyRelease)
            && let Some(claim) = self.claims.get(&ask.claim.id)
        {
            let same = |c: &&Claim| c.name == claim.name && c.meta.owner == claim.meta.owner;
            let all: Vec<ClaimRef> = self.claims.values().filter(same).map(Claim::key).collect();
            for claim in all {
                self.ledger.leave(now, &Leave { claim, manner: ask.manner });
            }
        }
        self.ledger.leave(now, ask);
        self.told.remove(&ask.claim.id);
    }

    /// The hand-overs since the last call.
    pub fn hand_overs(&mut self) -> Vec<HandOver> {
        let all: Vec<HandOver> = self.ledger.hand_overs().collect();
        let mut told = Vec::with_capacity(all.len());
        for hand_over in all {
            let Some(name) = self.claims.get(&hand_over.id).map(|c| c.name.clone()) else { continue };
            let mut token = self.number(hand_over.token);
            if self.is(Mutation::NoMintOnHandOver)
                && let Some(last) = self.last.get(&name)
            {
                token = *last;
            }
            self.told.insert(hand_over.id, token);
            self.last.insert(name, token);
            told.push(HandOver { id: hand_over.id, token });
        }
        told
    }

    /// Who stands where.
    pub fn inspect(&self, now: Moment, query: &Query) -> Page {
        self.ledger.inspect(now, query)
    }

    /// The engine starts again: the queues are durable, and so are its tokens, give or take a gap.
    pub fn restart(&mut self, gap: u64) {
        let mint = self.ledger.mint();
        let last = mint.last();
        if self.mutation == Some(Mutation::TokenNotDurable) {
            *mint = Mint::above(self.floor);
        } else {
            mint.raise(last + gap);
        }
    }

    /// The answer to a proposal, by a node that accepts what it must not.
    fn misjudge(&mut self, raise: Option<Token>, last: u64, ttl: Duration, standing: Standing) -> Standing {
        let Some(token) = raise else { return standing };
        match standing {
            Standing::Held { ttl, .. } if self.is(Mutation::AcceptsAgain) && token.get() == last => {
                Standing::Held { token, ttl }
            }
            Standing::Queued { .. } | Standing::Gone if self.is(Mutation::NoLease) && token.get() > last => {
                self.ledger.mint().raise(token.get());
                Standing::Held { token, ttl }
            }
            standing => standing,
        }
    }

    /// The claim that somebody holds in a queue.
    fn held_by(&self, now: Moment, name: &Name, owner: &str) -> Option<ClaimId> {
        let page = self.ledger.inspect(now, &Query::exactly(name));
        let queue = page.queues.first().filter(|queue| queue.name == *name)?;
        queue.claims.iter().find(|c| c.token.is_some() && *c.meta.owner == *owner).map(|c| c.id)
    }

    /// The number that a token has for clients.
    fn number(&self, token: Token) -> Token {
        if self.is(Mutation::TokenNotBumped) {
            // Two holds in a row have the same.
            return Token::new(token.get().div_ceil(2)).unwrap_or(token);
        }
        token
    }

    /// A standing as clients are told it.
    fn tell(&mut self, name: &Name, id: ClaimId, standing: Standing) -> Standing {
        let Standing::Held { token, ttl } = standing else { return self.lengthen(standing) };
        let token = match self.told.get(&id) {
            Some(told) if self.is(Mutation::NoMintOnHandOver) => *told,
            _ => self.number(token),
        };
        self.told.insert(id, token);
        self.last.insert(name.clone(), token);
        self.lengthen(Standing::Held { token, ttl })
    }

    /// Who forgets early does not say so.
    fn lengthen(&self, standing: Standing) -> Standing {
        if !self.is(Mutation::ForgetsEarly) {
            return standing;
        }
        let full = |ttl: Duration| ttl * 1000 / EARLY_PER_MILLE;
        match standing {
            Standing::Held { token, ttl } => Standing::Held { token, ttl: full(ttl) },
            Standing::Queued { ahead, ttl, look_again } => {
                Standing::Queued { ahead, ttl: full(ttl), look_again }
            }
            other => other,
        }
    }
}
