//! How a claim comes into a queue, and how it looks whether its turn has come.

use std::slice;
use std::sync::Arc;
use std::time::Duration;

use leasehold_core::claim::CAPACITY_MAX;
use leasehold_core::engine::Standing;
use leasehold_core::{Claim, ClaimRef, Error, ErrorKind, Refresh, Result, Token};

use crate::roll::Entry;
use crate::round::Round;
use crate::shared::Shared;

/// A waiter whose queue's node has not answered so often in a row goes to another node.
const MISSES_MAX: u32 = 2;

/// What a `join` or a `refresh` finds of its claim.
pub(crate) enum Known {
    /// Nothing yet: all nodes must be asked.
    Fresh,
    /// A majority has accepted this token for it.
    Held(Token),
    /// It waits at this node; whether it has been told that it is the head.
    Waits(usize, bool),
    /// It is on its way out.
    Leaving,
}

impl Known {
    pub(crate) fn of(entry: &Entry) -> Self {
        match (entry.accepted, entry.queue) {
            _ if entry.leaving => Self::Leaving,
            (Some(token), _) => Self::Held(token),
            (None, Some(node)) => Self::Waits(node, entry.hinted),
            (None, None) => Self::Fresh,
        }
    }
}

/// Refuses what a majority cannot keep.
pub(crate) fn check(claim: &Claim) -> Result<()> {
    let refuse = |message: &str| Err(Error::new(ErrorKind::Unsupported, "lock", message));
    if claim.capacity != 1 && claim.capacity != CAPACITY_MAX {
        return refuse(
            "a majority of nodes cannot keep a semaphore: three can hold two permits, one on nodes 1, 2 and 3, one on \
             3, 4 and 5, one on 1, 2 and 4; use a mutex or a reader/writer lock, or another engine",
        );
    }
    if claim.weight != 1 && claim.weight != claim.capacity {
        return refuse(
            "a majority of nodes keeps readers and writers: ask for 1 or for all of the capacity, nothing between",
        );
    }
    if !claim.at_least.is_zero() {
        return refuse(
            "the engine `redlock` has no at-least hold: its nodes would not count it from the same time",
        );
    }
    Ok(())
}

impl Shared {
    /// Queues a claim, or renews it.
    pub(crate) async fn join(self: &Arc<Self>, claim: &Claim) -> Result<Standing> {
        check(claim)?;
        let (key, now) = (claim.key(), self.env.now());
        let known = self.roll.enter(claim, self.nodes.len(), now, |entry| Known::of(entry));
        match known {
            Known::Fresh => self.begin(&key, claim.ttl).await,
            // Boxed, for all that may be is allotted with each request.
            Known::Held(_) => Box::pin(self.renew_one(&key, claim.ttl)).await,
            Known::Waits(..) => Box::pin(self.look(&key, claim.ttl)).await,
            Known::Leaving => Ok(Standing::Gone),
        }
    }

    /// Asks for the first time.
    async fn begin(self: &Arc<Self>, key: &ClaimRef, ttl: Duration) -> Result<Standing> {
        let crowded = self.crowd.is_at(&key.name);
        if crowded && let Some(standing) = Box::pin(self.line_up(key, ttl)).await? {
            return Ok(standing);
        }
        self.rise(key, ttl, crowded).await
    }

    /// Where others were found waiting, the first node is asked alone whether they still are: who asks all nodes for
    /// nothing is in the way of whoever's turn it is. `None` if it is the head, or nobody says so.
    async fn line_up(self: &Arc<Self>, key: &ClaimRef, ttl: Duration) -> Result<Option<Standing>> {
        let first = self.nodes.iter().position(|node| !node.is_suspect()).unwrap_or(0);
        let Some(_busy) = self.turn(key).await else { return Ok(Some(Standing::Gone)) };
        let proposed = self.propose(0)?;
        let Some(mut asked) = self.send(key, ttl, false, proposed, first..=first) else {
            return Ok(Some(Standing::Gone));
        };
        self.hear_one(&mut asked.round, ttl).await;
        let answer = asked.round.calls[0].answers.pop();
        let waits = matches!(answer, Some(Ok(Standing::Held { .. } | Standing::Queued { .. })));
        self.roll.with(key.id, |entry| {
            if waits {
                entry.waits_at(first);
            }
            entry.scattered = !waits;
        });
        if let Some(Ok(standing @ Standing::Queued { .. })) = answer {
            return Ok(Some(standing));
        }
        self.crowd.set(&key.name, false);
        Ok(None)
    }

    /// Looks how a claim stands that waits.
    pub(crate) async fn look(self: &Arc<Self>, key: &ClaimRef, ttl: Duration) -> Result<Standing> {
        loop {
            let asked = self.roll.with(key.id, |entry| match Known::of(entry) {
                Known::Waits(node, hinted) if !hinted || entry.busy => Some((node, entry.key(node))),
                _ => None,
            });
            // Who has been told that it is the head asks all nodes at once.
            let Some(Some((node, claim))) = asked else { return self.rise(key, ttl, true).await };
            let ask = Refresh { claim, ttl, raise: None };
            let mut round = Round::new();
            round.ask(node, self.nodes[node].engine.refresh(slice::from_ref(&ask)));
            self.hear_one(&mut round, ttl).await;
            // It may have been asked for so long that the claim waits elsewhere by now, or under another id.
            let ours = |entry: &mut Entry| {
                matches!(Known::of(entry), Known::Waits(at, _) if at == node) && entry.key(node) == ask.claim
            };
            match self.roll.with(key.id, ours) {
                Some(true) => return self.place(key, ttl, round).await,
                Some(false) => {}
                None => return Ok(Standing::Gone),
            }
        }
    }

    /// What the queue's node says of a claim that waits there.
    async fn place(
        self: &Arc<Self>,
        key: &ClaimRef,
        ttl: Duration,
        mut round: Round<Standing>,
    ) -> Result<Standing> {
        match round.calls[0].answers.pop() {
            Some(Ok(Standing::Held { token, .. })) => {
                self.note(token);
                self.rise(key, ttl, true).await
            }
            Some(Ok(Standing::Gone)) => {
                self.roll.with(key.id, |entry| entry.leaving = true);
                Ok(Standing::Gone)
            }
            Some(Ok(standing)) => {
                self.roll.with(key.id, |entry| entry.misses = 0);
                Ok(standing)
            }
            unknown => {
                let misses = self.roll.with(key.id, |entry| {
                    entry.misses += 1;
                    entry.misses
                });
                if misses.is_some_and(|misses| misses >= MISSES_MAX) {
                    return self.rise(key, ttl, true).await;
                }
                round.calls[0].answers.extend(unknown);
                Err(self.failure("refresh", &round, 0))
            }
        }
    }
}
