//! How a claim comes to be held by a majority.
//!
//! A claim that is alone takes one round trip: every node is asked to let it in and to accept a token at once. A
//! claim that is not alone waits in the queue of the first node that answers, and nowhere else; when it is the head
//! there, it asks the others again.

use std::slice;
use std::sync::Arc;
use std::time::Duration;

use leasehold_core::claim::{CAPACITY_MAX, WAITING_TTL_MAX};
use leasehold_core::engine::Standing;
use leasehold_core::{Claim, ClaimRef, Error, ErrorKind, Moment, Refresh, Result, Token};

use crate::roll::Entry;
use crate::round::{PerNode, Round};
use crate::shared::Shared;
use crate::tally::{self, Turn};

/// So often a token is proposed before others are given time to be done with theirs.
const RAISES_MAX: u32 = 6;
/// So often the head of the queue asks the others again before it withdraws from them.
const LAGS_MAX: u32 = 5;
/// The shortest pause before it does.
const LAG_PAUSE: Duration = Duration::from_micros(200);
/// The first and the longest time after which a head that has withdrawn tries again.
const VAIN_PAUSE: (Duration, Duration) = (Duration::from_millis(4), Duration::from_millis(250));
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

/// Frees a claim for the next request that changes it.
struct Busy<'a>(&'a Shared, &'a ClaimRef);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.roll.with(self.1.id, |entry| entry.busy = false);
    }
}

/// A round that is under way. If nobody waits for it any more, the tail completes what has not been answered.
struct Asking<'a> {
    shared: &'a Arc<Shared>,
    key: &'a ClaimRef,
    tries: PerNode<u16>,
    until: Moment,
    round: Round<Standing>,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        let round = std::mem::replace(&mut self.round, Round::new());
        self.shared.finish_all(self.key, &self.tries, round, self.until);
    }
}

/// One round of asking.
struct Asked {
    round: Round<Standing>,
    /// Under which tries.
    tries: PerNode<u16>,
    proposed: Token,
    turn: Turn,
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
        let standing = match known {
            Known::Fresh => return self.rise(&key, claim.ttl, false).await,
            Known::Held(_) => self.renew_one(&key, claim.ttl).await,
            Known::Waits(..) => self.look(&key, claim.ttl).await,
            Known::Leaving => Ok(Standing::Gone),
        };
        if !matches!(standing, Ok(Standing::Gone)) {
            return standing;
        }
        // It died: this is a new life, under ids that its old one had not.
        self.roll.forget(claim.id);
        let start = self.env.rng.next() as u16;
        let again = |entry: &mut Entry| entry.tries.iter_mut().for_each(|nth| *nth = start);
        self.roll.enter(claim, self.nodes.len(), self.env.now(), again);
        self.rise(&key, claim.ttl, false).await
    }

    /// Looks how a claim stands that waits.
    pub(crate) async fn look(self: &Arc<Self>, key: &ClaimRef, ttl: Duration) -> Result<Standing> {
        let asked = self.roll.with(key.id, |entry| match Known::of(entry) {
            Known::Waits(node, hinted) if !hinted || entry.busy => Some((node, entry.key(node))),
            _ => None,
        });
        // Who has been told that it is the head asks all nodes at once.
        let Some(Some((node, claim))) = asked else { return self.rise(key, ttl, true).await };
        let ask = Refresh { claim, ttl, raise: None };
        let mut round = Round::new();
        round.ask(node, self.nodes[node].engine.refresh(slice::from_ref(&ask)));
        let patience = self.config.patience(ttl.min(WAITING_TTL_MAX));
        round
            .until(&self.nodes, &self.env, patience, |round| round.is_settled(&self.nodes, 1).then_some(()))
            .await;
        // It may have been asked for so long that the claim waits elsewhere by now, or under another id.
        let ours = |entry: &mut Entry| {
            matches!(Known::of(entry), Known::Waits(at, _) if at == node) && entry.key(node) == ask.claim
        };
        if self.roll.with(key.id, ours) != Some(true) {
            return Err(self.busy("refresh", key));
        }
        match round.calls[0].answers.pop() {
            Some(Ok(Standing::Held { token, .. })) => {
                self.note(token);
                if self.roll.with(key.id, |entry| entry.busy) == Some(true) {
                    // Another request asks the others; this one has renewed its place.
                    return Ok(self.head(ttl, LAG_PAUSE));
                }
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

    /// Asks all nodes, until it is decided whether the claim is held, waits, or cannot be had.
    pub(crate) async fn rise(
        self: &Arc<Self>,
        key: &ClaimRef,
        ttl: Duration,
        renews: bool,
    ) -> Result<Standing> {
        let known = self.roll.with(key.id, |entry| {
            let free = !std::mem::replace(&mut entry.busy, true);
            (free, Known::of(entry))
        });
        match known {
            None => return Ok(Standing::Gone),
            Some((false, _)) => return Err(self.busy("lock", key)),
            // Another request was first.
            Some((true, Known::Held(_))) => {
                drop(Busy(self, key));
                return self.renew_one(key, ttl).await;
            }
            Some((true, Known::Leaving)) => {
                drop(Busy(self, key));
                return Ok(Standing::Gone);
            }
            Some((true, _)) => {}
        }
        let _busy = Busy(self, key);
        let patience = self.config.patience(ttl.min(WAITING_TTL_MAX));
        let (began, mut lags, mut raises, mut before) = (self.env.now(), 0, 0, 0);
        loop {
            let sent = self.env.now();
            let Asked { round, tries, proposed, turn } =
                self.ask(key, ttl, renews, raises, &mut before).await?;
            let took = self.env.now().since(sent);
            if self.roll.with(key.id, |entry| entry.leaving) != Some(false) {
                // Its owner has let go of it meanwhile.
                self.finish_all(key, &tries, round, sent + ttl);
                return Ok(Standing::Gone);
            }
            match turn {
                Turn::Held(ttl) => {
                    self.roll.with(key.id, |entry| {
                        entry.accepted = Some(proposed);
                        entry.hinted = false;
                        entry.lives = tally::tokens(&tally::votes(&round, 0, self.nodes.len()));
                    });
                    self.finish_all(key, &tries, round, sent + ttl);
                    let ttl = (self.config.rules.ttl)(ttl, self.env.now().since(began));
                    return Ok(Standing::Held { token: proposed, ttl });
                }
                Turn::Raise if raises < RAISES_MAX => {
                    raises += 1;
                    self.finish_all(key, &tries, round, sent + ttl);
                    if raises > 2 {
                        self.pause(took, raises).await;
                    }
                }
                Turn::Waits { node, ahead, ttl, look_again } => {
                    self.roll.with(key.id, |entry| {
                        entry.waits_at(node);
                        (entry.hinted, entry.vain, entry.misses) = (false, 0, 0);
                    });
                    self.withdraw(key, Some(node), round, sent + ttl);
                    return Ok(Standing::Queued { ahead, ttl, look_again });
                }
                Turn::Lags { node } if lags < LAGS_MAX && self.env.now().since(began) < patience => {
                    lags += 1;
                    self.roll.with(key.id, |entry| entry.waits_at(node));
                    self.finish_all(key, &tries, round, sent + ttl);
                    self.pause(took, lags).await;
                }
                Turn::Raise | Turn::Lags { .. } => return Ok(self.yields(key, ttl, round)),
                Turn::Refused(why) => {
                    self.give_up(key, round, sent + ttl);
                    return Ok(Standing::Refused(why));
                }
                Turn::Gone => {
                    self.give_up(key, round, sent + ttl);
                    return Ok(Standing::Gone);
                }
                Turn::Unreachable => {
                    let error = self.failure("lock", &round, 0);
                    // A place in a queue is kept: the other nodes may be back before it ends.
                    let queue = self.roll.with(key.id, |entry| entry.queue).flatten();
                    self.withdraw(key, queue, round, sent + ttl);
                    return Err(error);
                }
            }
        }
    }

    /// One round: each node is asked for the claim and to accept a token.
    async fn ask(
        self: &Arc<Self>,
        key: &ClaimRef,
        ttl: Duration,
        renews: bool,
        raises: u32,
        before: &mut usize,
    ) -> Result<Asked> {
        // The further the others are, the more come in between.
        let gap = if raises == 0 { 0 } else { self.env.rng.next() as u64 % (1 << (2 * raises)) };
        let proposed = self.propose(gap)?;
        let known = self.roll.with(key.id, |entry| {
            entry.until = entry.until.max(self.env.now() + ttl);
            let keys: PerNode<_> = (0..self.nodes.len()).map(|n| entry.key(n)).collect();
            entry.scattered = true;
            (!entry.leaving).then(|| (entry.claim.clone(), entry.queue, keys, entry.tries.clone()))
        });
        // Its owner has let go of it meanwhile.
        let Some(Some((claim, queue, keys, tries))) = known else { return Err(self.busy("lock", key)) };
        let mut claim = Claim { ttl, raise: Some(proposed), ..claim };
        let (shared, until) = (self, self.env.now() + ttl);
        let mut asking = Asking { shared, key, tries, until, round: Round::new() };
        let round = &mut asking.round;
        for (node, at) in keys.into_iter().enumerate() {
            let engine = &self.nodes[node].engine;
            // What has died in its queue must not be queued anew.
            let reply = if renews && queue == Some(node) {
                engine.refresh(&[Refresh { claim: at, ttl, raise: Some(proposed) }])
            } else {
                claim.id = at.id;
                engine.join(slice::from_ref(&claim))
            };
            round.ask(node, reply);
        }
        let rules = &self.config.rules;
        let turn = round
            .until(&self.nodes, &self.env, self.config.patience(ttl), |round| {
                let votes = tally::votes(round, 0, self.nodes.len());
                let count = tally::count(&votes, proposed, !(rules.one_token)());
                let accepted = (rules.votes)(*before, count.accepted);
                let settled = round.is_settled(&self.nodes, self.majority());
                if settled {
                    *before = accepted;
                }
                tally::turn(&votes, &self.nodes, &count, accepted, queue.filter(|_| renews), settled)
            })
            .await
            .unwrap_or(Turn::Unreachable);
        let round = std::mem::replace(&mut asking.round, Round::new());
        let tries = std::mem::take(&mut asking.tries);
        for (_, answer) in round.answers(0) {
            if let Ok(Standing::Held { token, .. }) = answer {
                self.note(*token);
            }
        }
        let mut proposed = proposed;
        if !(rules.one_token)() {
            proposed = highest(&round).unwrap_or(proposed);
        }
        Ok(Asked { round, tries, proposed, turn })
    }

    /// The head of a queue that others keep from a majority lets go of all but its place there: perhaps they wait
    /// for a node that it holds.
    fn yields(self: &Arc<Self>, key: &ClaimRef, ttl: Duration, round: Round<Standing>) -> Standing {
        let queued = self.roll.with(key.id, |entry| {
            entry.vain += 1;
            (entry.queue, entry.vain)
        });
        let (queue, vain) = queued.unwrap_or_default();
        let until = self.env.now() + ttl;
        self.withdraw(key, queue, round, until);
        let pause = (VAIN_PAUSE.0 * 2u32.saturating_pow(vain.min(16))).min(VAIN_PAUSE.1);
        self.head(ttl, pause)
    }

    /// How the head of a queue stands that others keep from a majority.
    fn head(&self, ttl: Duration, pause: Duration) -> Standing {
        Standing::Queued { ahead: 1, ttl: ttl.min(WAITING_TTL_MAX), look_again: self.about(pause) }
    }

    /// Time for others to be done, in proportion to how far the nodes are.
    async fn pause(&self, took: Duration, nth: u32) {
        let pause = self.about(took.max(LAG_PAUSE)) * 2u32.pow(nth.min(LAGS_MAX) - 1);
        self.env.clock.sleep_until(self.env.now() + pause.min(VAIN_PAUSE.1)).await;
    }
}

fn highest(round: &Round<Standing>) -> Option<Token> {
    let held = round.answers(0).filter_map(|(_, answer)| match answer {
        Ok(Standing::Held { token, .. }) => Some(*token),
        _ => None,
    });
    held.max()
}
