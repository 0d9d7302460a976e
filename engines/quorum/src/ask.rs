//! One round of asking for a claim.

use std::future::poll_fn;
use std::ops::RangeInclusive;
use std::slice;
use std::task::{Poll, Waker};
use std::time::Duration;

use leasehold_core::claim::WAITING_TTL_MAX;
use leasehold_core::engine::Standing;
use leasehold_core::{Claim, ClaimRef, Moment, Refresh, Result, Token};

use crate::roll::id_of;
use crate::round::{PerNode, Round};
use crate::shared::Shared;
use crate::tally::{self, Turn};

/// Frees a claim for the next request that changes it.
pub(crate) struct Busy<'a>(&'a Shared, &'a ClaimRef);

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
pub(crate) struct Asked<'a> {
    shared: &'a Shared,
    key: &'a ClaimRef,
    pub(crate) round: Round<Standing>,
    /// Under which tries.
    tries: PerNode<u16>,
    /// In whose queue it has waited.
    queue: Option<usize>,
    /// When what has been joined is dead.
    pub(crate) until: Moment,
    pub(crate) proposed: Token,
}

impl Asked<'_> {
    pub(crate) fn take(&mut self) -> Round<Standing> {
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

impl Shared {
    /// One round: each node is asked for the claim and to accept a token. `None` if its owner has let go of it.
    pub(crate) async fn ask<'a>(
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
            .until(self, self.config.patience(ttl), enough, |round| {
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
    pub(crate) fn send<'a>(
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
    pub(crate) async fn turn<'a>(&'a self, key: &'a ClaimRef) -> Option<Busy<'a>> {
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

    /// Awaits the answer of the one node that is asked about a claim that waits.
    pub(crate) async fn hear_one(&self, round: &mut Round<Standing>, ttl: Duration) {
        let patience = self.config.patience(ttl.min(WAITING_TTL_MAX));
        let settled = |round: &Round<Standing>| round.is_settled(&self.nodes, 1).then_some(());
        round.until(self, patience, 1, settled).await;
    }
}

fn highest(round: &Round<Standing>) -> Option<Token> {
    let held = round.answers(0).filter_map(|(_, answer)| match answer {
        Ok(Standing::Held { token, .. }) => Some(*token),
        _ => None,
    });
    held.max()
}
