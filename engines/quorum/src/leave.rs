//! How claims are left: by their owner at all nodes, and in vain tries at those that do not matter.

use std::sync::Arc;

use futures_util::future::join_all;
use leasehold_core::claim::Manner;
use leasehold_core::engine::{Query, Standing};
use leasehold_core::{Batch, ClaimRef, Leave, Moment, Result};

use crate::roll::is_same;
use crate::round::{Call, PerNode, Round};
use crate::shared::Shared;
use crate::tail::{Leftover, Work, at_node};

/// What is known of a claim that leaves.
struct Departure {
    /// Under which try it stands, by node.
    tries: PerNode<Option<u16>>,
    /// When that is dead at the latest.
    until: Moment,
}

impl Shared {
    /// Ends claims.
    pub(crate) async fn leave(self: &Arc<Self>, asked: &[Leave]) -> Batch<Result<()>> {
        let departures: Batch<Option<Departure>> = asked.iter().map(|leave| self.departs(leave)).collect();
        let mut round: Round<()> = Round::new();
        // The first node, where others wait, goes last: the next in its queue then finds the others free.
        for node in (0..self.nodes.len()).rev() {
            let leaves = leaves_at(node, asked, &departures);
            if !leaves.is_empty() {
                round.ask(node, self.nodes[node].engine.leave(&leaves));
            }
        }
        let left = self.await_leaves(asked, &departures, round);
        if departures.iter().all(Option::is_some) {
            return left.await;
        }
        let strangers = departures.iter().enumerate().filter(|(_, departure)| departure.is_none());
        let strangers: Batch<usize> = strangers.map(|(at, _)| at).collect();
        let unlocks = join_all(strangers.iter().map(|&at| self.unlock(&asked[at])));
        let (mut answers, unlocked) = futures_util::future::join(left, unlocks).await;
        for (at, answer) in strangers.into_iter().zip(unlocked) {
            answers[at] = answer;
        }
        answers
    }

    /// What is known of a claim that leaves; `None` if another process joined it.
    fn departs(&self, leave: &Leave) -> Option<Departure> {
        self.roll.with(leave.claim.id, |entry| {
            if leave.manner != Manner::Revoke {
                entry.leaving = true;
            }
            let at = |(node, nth): (usize, &u16)| {
                // A waiter stands in one queue only, unless it is just asking the others.
                let stands =
                    entry.accepted.is_some() || entry.scattered || entry.queue.is_none_or(|q| q == node);
                stands.then_some(*nth)
            };
            Departure { tries: entry.tries.iter().enumerate().map(at).collect(), until: entry.until }
        })
    }

    /// Waits until a majority has confirmed, and the first node among them: who asks from now on is not kept out by
    /// what has left. What others have not confirmed is repeated in the background.
    async fn await_leaves(
        self: &Arc<Self>,
        asked: &[Leave],
        departures: &[Option<Departure>],
        mut round: Round<()>,
    ) -> Batch<Result<()>> {
        let until = departures.iter().flatten().map(|known| known.until).max().unwrap_or(Moment::BOOT);
        if !round.calls.is_empty() {
            let patience = self.config.patience(self.info.ttl_max);
            let enough = round.calls.len().min(self.majority());
            let confirmed = |round: &Round<()>| {
                let mut calls = round.calls.iter().filter(|call| !self.nodes[call.node].is_suspect());
                calls.next_back().is_some_and(Call::is_certain)
                    && round.calls.iter().filter(|call| call.is_certain()).count() >= enough
            };
            let settled =
                |round: &Round<()>| (confirmed(round) || round.is_settled(&self.nodes, enough)).then_some(());
            round.until(self, patience, enough, settled).await;
        }
        let mut confirmed: Batch<(usize, usize)> = asked.iter().map(|_| (0, 0)).collect();
        for call in &round.calls {
            let there = |departure: &Option<Departure>| {
                departure.as_ref().is_some_and(|known| known.tries[call.node].is_some())
            };
            let items = confirmed.iter_mut().zip(departures).filter(|(_, departure)| there(departure));
            for (nth, ((ok, of), _)) in items.enumerate() {
                *ok += usize::from(call.answers.get(nth).is_some_and(Result::is_ok));
                *of += 1;
            }
        }
        let mut first_error = None;
        let mut answers = Batch::with_capacity(asked.len());
        for (leave, (ok, of)) in asked.iter().zip(confirmed) {
            if ok >= of.min(self.majority()) {
                if leave.manner != Manner::Revoke {
                    self.roll.forget(leave.claim.id);
                }
                answers.push(Ok(()));
            } else {
                let error = first_error.get_or_insert_with(|| self.failure("release", &round, 0));
                answers.push(Err(error.clone()));
            }
        }
        let rest = round.calls.into_iter().filter(|call| !call.is_certain()).map(|call| {
            let leaves = leaves_at(call.node, asked, departures);
            Leftover { node: call.node, until, work: Work::Leave { leaves, reply: call.reply } }
        });
        self.leftovers.extend(rest);
        answers
    }

    /// Ends a claim of another process: looks at every node under which id it stands there.
    async fn unlock(self: &Arc<Self>, leave: &Leave) -> Result<()> {
        let at_node = |node: usize| async move {
            let engine = &self.nodes[node].engine;
            let page = engine.inspect(Query::exactly(&leave.claim.name)).await?;
            let queues = page.queues.iter().filter(|queue| queue.name == leave.claim.name);
            let same = queues.flat_map(|q| &q.claims).filter(|claim| is_same(claim.id, leave.claim.id));
            let mut leaves: Batch<Leave> = same
                .map(|claim| ClaimRef { name: leave.claim.name.clone(), id: claim.id })
                .map(|claim| Leave { claim, manner: leave.manner })
                .collect();
            if leaves.is_empty() {
                // Its `join` may be on its way.
                leaves.push(leave.clone());
            }
            engine.leave(&leaves).await.into_iter().collect::<Result<Batch<()>>>().map(drop)
        };
        let patience = self.env.now() + self.config.patience(self.info.ttl_max);
        let all = (0..self.nodes.len()).map(|node| async move {
            tokio::select! {
                biased;
                left = at_node(node) => Some(left),
                () = self.env.clock.sleep_until(patience) => None,
            }
        });
        let all = join_all(all).await;
        if all.iter().filter(|left| matches!(left, Some(Ok(())))).count() >= self.majority() {
            return Ok(());
        }
        let error = all.into_iter().find_map(|left| left.and_then(Result::err));
        Err(error.unwrap_or_else(|| self.failure::<()>("release", &Round::new(), 0)))
    }

    /// Leaves all nodes but one, and never uses the ids again under which the claim stood there. Nobody waits for
    /// it.
    pub(crate) fn withdraw(
        self: &Arc<Self>,
        key: &ClaimRef,
        keep: Option<usize>,
        round: Round<Standing>,
        until: Moment,
    ) {
        let fresh_ids = (self.config.rules.fresh_ids)();
        let tries = self.roll.with(key.id, |entry| {
            let before = entry.tries.clone();
            entry.scattered = false;
            if fresh_ids {
                let others = entry.tries.iter_mut().enumerate().filter(|(node, _)| Some(*node) != keep);
                others.for_each(|(_, nth)| *nth = nth.wrapping_add(1));
            }
            if entry.queue != keep {
                entry.queue = keep;
            }
            before
        });
        let Some(tries) = tries else { return };
        let mut settled: PerNode<bool> = self.nodes.iter().map(|_| false).collect();
        for call in &round.calls {
            let stands =
                |answer: &Result<Standing>| !matches!(answer, Ok(Standing::Refused(_) | Standing::Gone));
            settled[call.node] |= !call.answers.first().is_none_or(stands);
        }
        for node in (0..self.nodes.len()).rev().filter(|&node| Some(node) != keep && !settled[node]) {
            self.let_go(node, at_node(key, tries[node], Manner::Evict), until);
        }
        // The `leave` has gone, and goes again when the `join` has been answered: it may have overtaken it.
        self.finish_all(key, &tries, round, until);
    }

    /// Leaves all nodes: the claim is over.
    pub(crate) fn give_up(self: &Arc<Self>, key: &ClaimRef, round: Round<Standing>, until: Moment) {
        self.withdraw(key, None, round, until);
        self.roll.with(key.id, |entry| entry.leaving = true);
    }

    /// Has the `join`s completed that nobody waits for any more.
    pub(crate) fn finish_all(&self, key: &ClaimRef, tries: &[u16], round: Round<Standing>, until: Moment) {
        let rest = round.calls.into_iter().filter_map(|call| {
            let work = Work::Join { key: key.clone(), nth: tries[call.node], reply: call.reply? };
            Some(Leftover { node: call.node, until, work })
        });
        self.leftovers.extend(rest);
    }
}

/// What leaves a node.
fn leaves_at(node: usize, asked: &[Leave], departures: &[Option<Departure>]) -> Batch<Leave> {
    let leave = |(leave, departure): (&Leave, &Option<Departure>)| {
        let nth = departure.as_ref()?.tries[node]?;
        Some(at_node(&leave.claim, nth, leave.manner))
    };
    asked.iter().zip(departures).filter_map(leave).collect()
}
