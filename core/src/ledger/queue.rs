//! The one rule, for one resource: *a claim is held if and only if the weights of all live claims up to and
//! including it fit the capacity.*
//!
//! Pure: no I/O and no clock; every method is told the time. Engines that store queues as rows load one of
//! these, apply what was asked, and write the difference back, so the rule is written once.

use std::collections::VecDeque;
use std::time::Duration;

use crate::claim::{Claim, ClaimId, Manner, WAITING_TTL_MAX};
use crate::clock::Moment;
use crate::engine::{ClaimView, QueueView, Refusal, Standing};
use crate::name::Name;
use crate::token::{Mint, Token};

/// The most claims that may stand in one queue.
pub const QUEUE_CLAIMS_MAX: usize = 10_000;

/// A claim as it stands in a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What the client sent.
    pub claim: Claim,
    /// When it joined.
    pub joined: Moment,
    /// When it dies unless it is refreshed; never before the end of its at-least hold.
    pub deadline: Moment,
    /// The end of its at-least hold; [`Moment::BOOT`] before it is held.
    pub keep_until: Moment,
    /// Its token, once held.
    pub token: Option<Token>,
    /// Whether it may still be renewed.
    pub revoked: bool,
}

/// A waiting claim that became a held one within somebody else's request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandOver {
    /// Which claim.
    pub id: ClaimId,
    /// Its new token.
    pub token: Token,
}

/// The queue of one resource.
#[derive(Clone, Debug, Default)]
pub struct Queue {
    line: VecDeque<Entry>,
    /// Nobody dies before this. Deadlines only move forward, so it stays true until somebody joins or dies.
    soonest: Moment,
}

impl Queue {
    /// A queue from stored entries, in order.
    pub fn from_entries(entries: impl IntoIterator<Item = Entry>) -> Self {
        // The first request to settle finds out who dies first.
        Self { line: entries.into_iter().collect(), soonest: Moment::BOOT }
    }

    /// The entries, in order, dead ones among them until the next request settles.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = &Entry> {
        self.line.iter()
    }

    /// Whether nobody stands in it.
    pub fn is_empty(&self) -> bool {
        self.line.is_empty()
    }

    /// The resource's capacity, as the claims in the queue have it.
    pub fn capacity(&self) -> Option<u32> {
        self.line.front().map(|e| e.claim.capacity)
    }

    /// Removes the dead and lets in whoever fits now. Tokens of claims let in are minted here and told in `out`.
    pub fn settle(&mut self, now: Moment, mint: &mut Mint, out: &mut Vec<HandOver>) {
        if self.soonest <= now {
            self.line.retain(|e| e.deadline > now);
            self.soonest = self.line.iter().map(|e| e.deadline).min().unwrap_or(Moment::NEVER);
        }
        let mut taken: u64 = 0;
        for entry in &mut self.line {
            taken += u64::from(entry.claim.weight);
            if taken > u64::from(entry.claim.capacity) {
                break;
            }
            if entry.token.is_none() {
                let token = mint.grant(entry.claim.raise);
                entry.token = Some(token);
                if !entry.claim.at_least.is_zero() {
                    entry.keep_until = now + entry.claim.at_least;
                    entry.deadline = entry.deadline.max(entry.keep_until);
                }
                out.push(HandOver { id: entry.claim.id, token });
            }
        }
    }

    /// Puts a claim at the end of the queue; if it stands there already, renews it.
    pub fn join(&mut self, now: Moment, claim: &Claim, mint: &mut Mint, out: &mut Vec<HandOver>) -> Standing {
        let (found, mut first_death) = self.find(claim.id);
        if found.is_some() {
            return self.refresh(now, claim.id, (claim.ttl, claim.raise), mint, out);
        }
        if first_death <= now {
            // Perhaps only the dead are in the way.
            self.settle(now, mint, out);
            (_, first_death) = self.find(claim.id);
        }
        if let Some(current) = self.capacity().filter(|&c| c != claim.capacity) {
            return Standing::Refused(Refusal::Capacity { current });
        }
        if self.line.len() >= QUEUE_CLAIMS_MAX {
            return Standing::Refused(Refusal::QueueFull { max: QUEUE_CLAIMS_MAX as u32 });
        }
        let at = self.line.len();
        let deadline = now + claim.waiting_ttl();
        self.soonest = first_death.min(deadline);
        self.line.push_back(Entry {
            joined: now,
            deadline,
            keep_until: Moment::BOOT,
            token: None,
            revoked: false,
            claim: claim.clone(),
        });
        self.settle(now, mint, out);
        // A proposal is for this request: by the time of a hand-over it is stale.
        self.line[at].claim.raise = None;
        self.renew(now, at, claim.ttl, first_death, out)
    }

    /// Renews a claim, with the TTL and the token that are asked for, and says how it stands.
    pub fn refresh(
        &mut self,
        now: Moment,
        id: ClaimId,
        (ttl, raise): (Duration, Option<Token>),
        mint: &mut Mint,
        out: &mut Vec<HandOver>,
    ) -> Standing {
        self.settle(now, mint, out);
        let (Some(at), first_death) = self.find(id) else { return Standing::Gone };
        let entry = &mut self.line[at];
        if entry.revoked {
            return Standing::Gone;
        }
        if raise.is_some() && entry.token.is_some() && entry.token != raise {
            entry.token = Some(mint.grant(raise));
        }
        self.renew(now, at, ttl, first_death, out)
    }

    /// Ends a claim; `true` if it stood there.
    pub fn leave(
        &mut self,
        now: Moment,
        id: ClaimId,
        manner: Manner,
        mint: &mut Mint,
        out: &mut Vec<HandOver>,
    ) -> bool {
        let found = self.line.iter().position(|e| e.claim.id == id);
        if let Some(at) = found {
            let entry = &mut self.line[at];
            match manner {
                Manner::Revoke if entry.token.is_some() => entry.revoked = true,
                Manner::Release if entry.keep_until > now => {
                    // The one deadline that moves back: to the end of what the owner itself asked for.
                    entry.deadline = entry.keep_until;
                    self.soonest = self.soonest.min(entry.keep_until);
                    entry.revoked = true;
                }
                // A revoked waiter has nothing that it could still believe in.
                Manner::Release | Manner::Evict | Manner::Revoke => drop(self.line.remove(at)),
            }
        }
        self.settle(now, mint, out);
        found.is_some()
    }

    /// Where a claim stands, and when the first of those ahead of it can die: of all, if it is not there. One look
    /// at the line for both, for it may be long.
    fn find(&self, id: ClaimId) -> (Option<usize>, Moment) {
        let mut first_death = Moment::NEVER;
        let found = self.line.iter().position(|entry| {
            let found = entry.claim.id == id;
            if !found {
                first_death = first_death.min(entry.deadline);
            }
            found
        });
        (found, first_death)
    }

    /// Sets the deadline of the claim at `at`; of those ahead of it nobody dies before `first_death`. What the
    /// answer says is no news for a hint.
    fn renew(
        &mut self,
        now: Moment,
        at: usize,
        ttl: Duration,
        first_death: Moment,
        out: &mut Vec<HandOver>,
    ) -> Standing {
        let entry = &mut self.line[at];
        let ttl = if entry.token.is_some() { ttl } else { ttl.min(WAITING_TTL_MAX) };
        entry.deadline = entry.deadline.max(now + ttl);
        match entry.token {
            Some(token) => {
                let id = entry.claim.id;
                out.retain(|h| h.id != id);
                Standing::Held { token, ttl }
            }
            None => Standing::Queued { ahead: at as u32, ttl, look_again: first_death.since(now) },
        }
    }

    /// The queue as an onlooker sees it; `None` if nobody alive stands in it. Changes nothing.
    pub fn view(&self, now: Moment, name: &Name) -> Option<QueueView> {
        let claims: Vec<ClaimView> = self
            .line
            .iter()
            .filter(|e| e.deadline > now)
            .map(|e| ClaimView {
                id: e.claim.id,
                weight: e.claim.weight,
                token: e.token,
                age: now.since(e.joined),
                ttl_left: e.deadline.since(now),
                revoked: e.revoked,
                meta: e.claim.meta.clone(),
            })
            .collect();
        Some(QueueView { name: name.clone(), capacity: self.capacity()?, claims })
            .filter(|v| !v.claims.is_empty())
    }
}
