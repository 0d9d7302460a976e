//! The one rule, for one resource: *a claim is held if and only if the weights of all live claims up to and
//! including it fit the capacity.*
//!
//! Pure: no I/O and no clock; every method is told the time. Engines that store queues as rows load one of
//! these, apply what was asked, and write the difference back, so the rule is written once.

use std::collections::VecDeque;
use std::time::Duration;

use crate::claim::{Claim, ClaimId, Manner, Meta, WAITING_TTL_MAX};
use crate::clock::Moment;
use crate::engine::{ClaimView, QueueView, Refusal, Standing};
use crate::name::Name;
use crate::token::{Mint, Token};

/// The most claims that may stand in one queue.
pub const QUEUE_CLAIMS_MAX: usize = 10_000;

/// A claim as it stands in a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Which claim.
    pub id: ClaimId,
    /// The capacity of the resource.
    pub capacity: u32,
    /// How much of it the claim takes.
    pub weight: u32,
    /// How long its hold lasts at the least.
    pub at_least: Duration,
    /// What it says about itself.
    pub meta: Meta,
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

impl Entry {
    /// A claim that comes now, to wait.
    fn waiting(claim: &Claim, now: Moment) -> Self {
        Self {
            id: claim.id,
            capacity: claim.capacity,
            weight: claim.weight,
            at_least: claim.at_least,
            meta: claim.meta.clone(),
            joined: now,
            deadline: now + claim.waiting_ttl(),
            keep_until: Moment::BOOT,
            token: None,
            revoked: false,
        }
    }

    /// Its hold begins.
    fn start(&mut self, now: Moment, token: Token) {
        self.token = Some(token);
        if !self.at_least.is_zero() {
            self.keep_until = now + self.at_least;
            self.deadline = self.deadline.max(self.keep_until);
        }
    }

    /// Sets its deadline to this much from now; of those ahead of it nobody dies before what was seen.
    fn renew(&mut self, now: Moment, ttl: Duration, ahead: Ahead) -> Standing {
        let ttl = if self.token.is_some() { ttl } else { ttl.min(WAITING_TTL_MAX) };
        self.deadline = self.deadline.max(now + ttl);
        match self.token {
            Some(token) => Standing::Held { token, ttl },
            None => {
                Standing::Queued { ahead: ahead.claims as u32, ttl, look_again: ahead.first_death.since(now) }
            }
        }
    }
}

/// What stands ahead of a claim.
#[derive(Clone, Copy, Debug)]
struct Ahead {
    /// How many claims.
    claims: usize,
    /// What they weigh.
    weight: u64,
    /// When the first of them can die.
    first_death: Moment,
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
        self.line.front().map(|e| e.capacity)
    }

    /// Removes the dead and lets in whoever fits now. Tokens of claims let in are minted here and told in `out`.
    pub fn settle(&mut self, now: Moment, mint: &mut Mint, out: &mut Vec<HandOver>) {
        if self.soonest <= now {
            self.line.retain(|e| e.deadline > now);
            self.soonest = self.line.iter().map(|e| e.deadline).min().unwrap_or(Moment::NEVER);
        }
        let mut taken: u64 = 0;
        for entry in &mut self.line {
            taken += u64::from(entry.weight);
            if taken > u64::from(entry.capacity) {
                break;
            }
            if entry.token.is_none() {
                let token = mint.mint();
                entry.start(now, token);
                out.push(HandOver { id: entry.id, token });
            }
        }
    }

    /// Puts a claim at the end of the queue; if it stands there already, renews it.
    pub fn join(&mut self, now: Moment, claim: &Claim, mint: &mut Mint, out: &mut Vec<HandOver>) -> Standing {
        let (found, mut ahead) = self.look(claim.id);
        if found {
            return self.refresh(now, claim.id, (claim.ttl, claim.raise), mint, out);
        }
        if self.soonest <= now {
            // Perhaps only the dead are in the way.
            self.settle(now, mint, out);
            (_, ahead) = self.look(claim.id);
        }
        if let Some(current) = self.capacity().filter(|&c| c != claim.capacity) {
            return Standing::Refused(Refusal::Capacity { current });
        }
        if ahead.claims >= QUEUE_CLAIMS_MAX {
            return Standing::Refused(Refusal::QueueFull { max: QUEUE_CLAIMS_MAX as u32 });
        }
        let mut entry = Entry::waiting(claim, now);
        if ahead.weight + u64::from(claim.weight) <= u64::from(claim.capacity) {
            entry.start(now, mint.grant(claim.raise));
        }
        let standing = entry.renew(now, claim.ttl, ahead);
        self.soonest = ahead.first_death.min(entry.deadline);
        self.line.push_back(entry);
        standing
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
        let (found, ahead) = self.look(id);
        let Some(entry) = self.line.get_mut(ahead.claims).filter(|e| found && !e.revoked) else {
            return Standing::Gone;
        };
        if raise.is_some() && entry.token.is_some() && entry.token != raise {
            entry.token = Some(mint.grant(raise));
        }
        // What the answer says is no news for a hint.
        out.retain(|h| h.id != id);
        entry.renew(now, ttl, ahead)
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
        let found = self.line.iter().position(|e| e.id == id);
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

    /// Whether a claim stands here, and what is ahead of it: all, if it does not. One look at the line for both, for
    /// it may be long.
    fn look(&self, id: ClaimId) -> (bool, Ahead) {
        let mut ahead = Ahead { claims: 0, weight: 0, first_death: Moment::NEVER };
        let found = self.line.iter().position(|entry| {
            let found = entry.id == id;
            if !found {
                ahead.weight += u64::from(entry.weight);
                ahead.first_death = ahead.first_death.min(entry.deadline);
            }
            found
        });
        ahead.claims = found.unwrap_or(self.line.len());
        (found.is_some(), ahead)
    }

    /// The queue as an onlooker sees it; `None` if nobody alive stands in it. Changes nothing.
    pub fn view(&self, now: Moment, name: &Name) -> Option<QueueView> {
        let claims: Vec<ClaimView> = self
            .line
            .iter()
            .filter(|e| e.deadline > now)
            .map(|e| ClaimView {
                id: e.id,
                weight: e.weight,
                token: e.token,
                age: now.since(e.joined),
                ttl_left: e.deadline.since(now),
                revoked: e.revoked,
                meta: e.meta.clone(),
            })
            .collect();
        Some(QueueView { name: name.clone(), capacity: self.capacity()?, claims })
            .filter(|v| !v.claims.is_empty())
    }
}
