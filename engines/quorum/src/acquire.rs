//! How a claim comes to be held by a majority.
//!
//! A claim that is alone takes one round trip: every node is asked to let it in and to accept a token at once. A
//! claim that is not alone waits in the queue of the first node that answers, and nowhere else; when it is the head
//! there, it asks the others again.

use std::future::poll_fn;
use std::ops::RangeInclusive;
use std::slice;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use leasehold_core::claim::{CAPACITY_MAX, WAITING_TTL_MAX};
use leasehold_core::engine::Standing;
use leasehold_core::{Claim, ClaimRef, Error, ErrorKind, Moment, Refresh, Result, Token};

use crate::roll::{Entry, id_of};
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
        let waiting = self.0.roll.with(self.1.id, |entry| {
            entry.busy = false;
            std::mem::take(&mut entry.waiting)
        });
        waiting.into_iter().flatten().for_each(Waker::wake);
    }
}

/// One round of asking. If nobody waits for it any more, the tail completes what has not been answered.
struct Asked<'a> {
    shared: &'a Shared,
    key: &'a ClaimRef,
    round: Round<Standing>,
    /// Under which tries.
    tries: PerNode<u16>,
    /// In whose queue it has waited.
    queue: Option<usize>,
    /// When what has been joined is dead.
    until: Moment,
    proposed: Token,
}

impl Asked<'_> {
    fn take(&mut self) -> Round<Standing> {
        std::mem::replace(&mut self.round, Round::new())
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        if !self.round.is_answered() {
            let round = self.take();
            self.shared.finish_all(self.key, &self.tries, round, self.until);
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
        let standing = match known {
            Known::Fresh => return self.begin(&key, claim.ttl).await,
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
        self.begin(&key, claim.ttl).await
    }

    /// Asks for the first time. Where others were found waiting, the first node is asked alone whether they still are:
    /// who asks all nodes for nothing is in the way of whoever's turn it is.
    async fn begin(self: &Arc<Self>, key: &ClaimRef, ttl: Duration) -> Result<Standing> {
        if !self.crowd.is_at(&key.name) {
            return self.rise(key, ttl, false).await;
        }
        let first = self.nodes.iter().position(|node| !node.is_suspect()).unwrap_or(0);
        let Some(busy) = self.turn(key).await else { return Ok(Standing::Gone) };
        let proposed = self.propose(0)?;
        let Some(mut asked) = self.send(key, ttl, false, proposed, first..=first) else {
            return Ok(Standing::Gone);
        };
        let patience = self.config.patience(ttl.min(WAITING_TTL_MAX));
        asked
            .round
            .until(&self.nodes, &self.env, patience, 1, |round| {
                round.is_settled(&self.nodes, 1).then_some(())
            })
            .await;
        let answer = asked.round.calls[0].answers.pop();
        let waits = matches!(answer, Some(Ok(Standing::Held { .. } | Standing::Queued { .. })));
        self.roll.with(key.id, |entry| {
            if waits {
                entry.waits_at(first);
            }
            entry.scattered = !waits;
        });
        if let Some(Ok(standing @ Standing::Queued { .. })) = answer {
            return Ok(standing);
        }
        self.crowd.set(&key.name, false);
        drop((asked, busy));
        self.rise(key, ttl, waits).await
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
            let patience = self.config.patience(ttl.min(WAITING_TTL_MAX));
            round
                .until(&self.nodes, &self.env, patience, 1, |round| {
                    round.is_settled(&self.nodes, 1).then_some(())
                })
                .await;
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
        let Some(busy) = self.turn(key).await else { return Ok(Standing::Gone) };
        match self.roll.with(key.id, |entry| Known::of(entry)) {
            // Another request was first.
            Some(Known::Held(_)) => {
                drop(busy);
                return self.renew_one(key, ttl).await;
            }
            Some(Known::Leaving) | None => return Ok(Standing::Gone),
            Some(Known::Waits(..) | Known::Fresh) => {}
        }
        let patience = self.config.patience(ttl.min(WAITING_TTL_MAX));
        let (began, mut lags, mut raises, mut before) = (self.env.now(), 0, 0, 0);
        loop {
            let sent = self.env.now();
            let Some((mut asked, turn)) = self.ask(key, ttl, renews, raises, &mut before).await? else {
                return Ok(Standing::Gone);
            };
            let now = self.env.now();
            let (took, until) = (now.since(sent), asked.until);
            if self.roll.with(key.id, |entry| entry.leaving) != Some(false) {
                // Its owner has let go of it meanwhile.
                return Ok(Standing::Gone);
            }
            match turn {
                Turn::Held(ttl) => {
                    let token = asked.proposed;
                    self.roll.with(key.id, |entry| {
                        entry.accepted = Some(token);
                        entry.hinted = false;
                        entry.lives = tally::tokens(&tally::votes(&asked.round, 0, self.nodes.len()));
                    });
                    let ttl = (self.config.rules.ttl)(ttl, now.since(began));
                    return Ok(Standing::Held { token, ttl });
                }
                Turn::Raise if raises < RAISES_MAX => {
                    raises += 1;
                    drop(asked);
                    if raises > 2 {
                        self.pause(took, raises).await;
                    }
                }
                Turn::Waits { node, ahead, ttl, look_again } => {
                    self.roll.with(key.id, |entry| {
                        entry.waits_at(node);
                        (entry.hinted, entry.vain, entry.misses) = (false, 0, 0);
                    });
                    self.crowd.set(&key.name, true);
                    self.withdraw(key, Some(node), asked.take(), until);
                    return Ok(Standing::Queued { ahead, ttl, look_again });
                }
                Turn::Lags { node } if lags < LAGS_MAX && now.since(began) < patience => {
                    lags += 1;
                    self.roll.with(key.id, |entry| entry.waits_at(node));
                    drop(asked);
                    self.pause(took, lags).await;
                }
                Turn::Raise | Turn::Lags { .. } => return Ok(self.yields(key, ttl, asked.take())),
                Turn::Refused(why) => {
                    self.give_up(key, asked.take(), until);
                    return Ok(Standing::Refused(why));
                }
                Turn::Gone => {
                    self.give_up(key, asked.take(), until);
                    return Ok(Standing::Gone);
                }
                Turn::Unreachable => {
                    let error = self.failure("lock", &asked.round, 0);
                    // A place in a queue is kept: the other nodes may be back before it ends.
                    let queue = self.roll.with(key.id, |entry| entry.queue).flatten();
                    self.withdraw(key, queue, asked.take(), until);
                    return Err(error);
                }
            }
        }
    }

    /// One round: each node is asked for the claim and to accept a token. `None` if its owner has let go of it.
    async fn ask<'a>(
        &'a self,
        key: &'a ClaimRef,
        ttl: Duration,
        renews: bool,
        raises: u32,
        before: &mut usize,
    ) -> Result<Option<(Asked<'a>, Turn)>> {
        // The further the others are, the more come in between.
        let gap = if raises == 0 { 0 } else { self.env.rng.next() as u64 % (1 << (2 * raises)) };
        let proposed = self.propose(gap)?;
        let Some(mut asked) = self.send(key, ttl, renews, proposed, 0..=self.nodes.len() - 1) else {
            return Ok(None);
        };
        let (rules, enough, queue) = (&self.config.rules, self.majority(), asked.queue.filter(|_| renews));
        let turn = asked
            .round
            .until(&self.nodes, &self.env, self.config.patience(ttl), enough, |round| {
                let votes = tally::votes(round, 0, self.nodes.len());
                let count = tally::count(&votes, proposed, !(rules.one_token)());
                let accepted = (rules.votes)(*before, count.accepted);
                let settled = round.is_settled(&self.nodes, enough);
                if settled {
                    *before = accepted;
                }
                tally::turn(&votes, &self.nodes, &count, accepted, queue, settled)
            })
            .await
            .unwrap_or(Turn::Unreachable);
        for (_, answer) in asked.round.answers(0) {
            if let Ok(Standing::Held { token, .. }) = answer {
                self.note(*token);
            }
        }
        if !(rules.one_token)() {
            asked.proposed = highest(&asked.round).unwrap_or(proposed);
        }
        Ok(Some((asked, turn)))
    }

    /// Asks some nodes for a claim and to accept a token. `None` if its owner has let go of it.
    fn send<'a>(
        &'a self,
        key: &'a ClaimRef,
        ttl: Duration,
        renews: bool,
        proposed: Token,
        nodes: RangeInclusive<usize>,
    ) -> Option<Asked<'a>> {
        let until = self.env.now() + ttl;
        let known = self.roll.with(key.id, |entry| {
            entry.until = entry.until.max(until);
            entry.scattered = true;
            (!entry.leaving).then(|| (entry.claim.clone(), entry.queue, entry.tries.clone()))
        });
        let (claim, queue, tries) = known.flatten()?;
        let mut claim = Claim { ttl, raise: Some(proposed), ..claim };
        let mut asked = Asked { shared: self, key, round: Round::new(), tries, queue, until, proposed };
        for node in nodes {
            let engine = &self.nodes[node].engine;
            claim.id = id_of(key.id, asked.tries[node]);
            // What has died in its queue must not be queued anew.
            let reply = if renews && queue == Some(node) {
                engine.refresh(&[Refresh { claim: claim.key(), ttl, raise: Some(proposed) }])
            } else {
                engine.join(slice::from_ref(&claim))
            };
            asked.round.ask(node, reply);
        }
        Some(asked)
    }

    /// Waits until no other request changes what is known of a claim; `None` if nothing is known.
    async fn turn<'a>(&'a self, key: &'a ClaimRef) -> Option<Busy<'a>> {
        let turn = poll_fn(|cx| {
            let turn = self.roll.with(key.id, |entry| {
                if entry.busy {
                    entry.waiting.push(cx.waker().clone());
                    return Poll::Pending;
                }
                entry.busy = true;
                Poll::Ready(())
            });
            turn.map_or(Poll::Ready(None), |turn| turn.map(Some))
        });
        turn.await.map(|()| Busy(self, key))
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
