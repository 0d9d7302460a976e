//! How claims are left: by their owner at all nodes, and in vain tries at those that do not matter.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use futures_util::future::join_all;
use leasehold_core::claim::Manner;
use leasehold_core::engine::{Query, Standing};
use leasehold_core::{Batch, ClaimRef, Leave, Moment, Result};

use crate::roll::is_same;
use crate::round::{PerNode, Round};
use crate::shared::Shared;
use crate::tail::{Straggler, at_node};

/// What is known of a claim that leaves.
struct Departure {
    /// By node, what stands there.
    leaves: PerNode<Option<Leave>>,
    /// When that is dead at the latest.
    until: Moment,
}

impl Shared {
    /// Ends claims.
    pub(crate) async fn leave(self: &Arc<Self>, asked: &[Leave]) -> Batch<Result<()>> {
        let departures: Batch<Option<Departure>> = asked.iter().map(|leave| self.departs(leave)).collect();
        let mut rounds: Round<()> = Round::new();
        let mut sent: PerNode<(Batch<usize>, Batch<Leave>)> = PerNode::new();
        // The first node, where others wait, goes last: the next in its queue then finds the others free.
        for node in (0..self.nodes.len()).rev() {
            let mut items: (Batch<usize>, Batch<Leave>) = Default::default();
            for (at, departure) in departures.iter().enumerate() {
                if let Some(departure) = departure
                    && let Some(leave) = &departure.leaves[node]
                {
                    items.0.push(at);
                    items.1.push(leave.clone());
                }
            }
            if !items.0.is_empty() {
                rounds.ask(node, self.nodes[node].engine.leave(&items.1));
                sent.push(items);
            }
        }
        let strangers =
            departures.iter().zip(asked).enumerate().filter(|(_, (departure, _))| departure.is_none());
        let strangers: Batch<usize> = strangers.map(|(at, _)| at).collect();
        let left = self.await_leaves(asked, &departures, rounds, sent);
        if strangers.is_empty() {
            return left.await;
        }
        let unlocks = join_all(strangers.iter().map(|&at| self.unlock(&asked[at])));
        let (mut answers, unlocked) = futures_util::future::join(left, unlocks).await;
        for (at, answer) in strangers.into_iter().zip(unlocked) {
            answers[at] = answer;
        }
        answers
    }

    /// What is known of a claim that leaves; `None` if another process joined it.
    fn departs(&self, leave: &Leave) -> Option<Departure> {
        let id = leave.claim.id;
        self.roll.with(id, |entry| {
            if leave.manner != Manner::Revoke {
                entry.leaving = true;
            }
            let at = |(node, nth): (usize, &u16)| {
                // A waiter stands in one queue only, unless it is just asking the others.
                let stands =
                    entry.accepted.is_some() || entry.scattered || entry.queue.is_none_or(|q| q == node);
                stands.then(|| at_node(&leave.claim, *nth, leave.manner))
            };
            Departure { leaves: entry.tries.iter().enumerate().map(at).collect(), until: entry.until }
        })
    }

    /// Waits until a majority has confirmed; what others have not is repeated in the background.
    async fn await_leaves(
        self: &Arc<Self>,
        asked: &[Leave],
        departures: &[Option<Departure>],
        mut round: Round<()>,
        sent: PerNode<(Batch<usize>, Batch<Leave>)>,
    ) -> Batch<Result<()>> {
        let until = departures.iter().flatten().map(|known| known.until).max().unwrap_or(Moment::BOOT);
        if !round.calls.is_empty() {
            let patience = self.config.patience(self.info.ttl_max);
            let enough = round.calls.len().min(self.majority());
            let settled = |round: &Round<()>| round.is_settled(&self.nodes, enough).then_some(());
            round.until(&self.nodes, &self.env, patience, settled).await;
        }
        let mut confirmed: Batch<(usize, usize)> = asked.iter().map(|_| (0, 0)).collect();
        let mut first_error = None;
        for (call, (items, leaves)) in round.calls.iter_mut().zip(sent) {
            let mut certain = true;
            for (nth, at) in items.iter().enumerate() {
                let ok = call.answers.get(nth).is_some_and(Result::is_ok);
                confirmed[*at].0 += usize::from(ok);
                confirmed[*at].1 += 1;
                certain &= ok;
            }
            if !certain {
                let (shared, node, under_way) = (Arc::clone(self), call.node, call.reply.take());
                self.errands.add(async move { shared.leave_until(node, leaves, under_way, until).await });
            }
        }
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
        mut round: Round<Standing>,
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
        for call in &mut round.calls {
            let node = call.node;
            // The `leave` goes now, and again when the `join` has been answered: it may have overtaken it.
            if let Some(reply) = call.reply.take() {
                self.finish(Straggler { node, key: key.clone(), nth: tries[node], reply }, until);
            }
            let stands =
                |answer: &Result<Standing>| !matches!(answer, Ok(Standing::Refused(_) | Standing::Gone));
            settled[node] |= !call.answers.first().is_none_or(stands);
        }
        for node in (0..self.nodes.len()).rev().filter(|&node| Some(node) != keep && !settled[node]) {
            self.let_go(node, at_node(key, tries[node], Manner::Evict), until);
        }
    }

    /// Leaves one node; nobody waits for it.
    pub(crate) fn let_go(self: &Arc<Self>, node: usize, leave: Leave, until: Moment) {
        if !(self.config.rules.leaves)() {
            return;
        }
        let leaves = Batch::from_iter([leave]);
        let mut reply = self.nodes[node].engine.leave(&leaves);
        // An engine that is done at once needs no errand.
        let polled = Pin::new(&mut reply).poll(&mut Context::from_waker(Waker::noop()));
        let under_way = match polled {
            Poll::Ready(answers) if answers.iter().all(Result::is_ok) => return,
            Poll::Ready(_) => None,
            Poll::Pending => Some(reply),
        };
        let shared = Arc::clone(self);
        self.errands.add(async move { shared.leave_until(node, leaves, under_way, until).await });
    }

    /// Leaves all nodes: the claim is over.
    pub(crate) fn give_up(self: &Arc<Self>, key: &ClaimRef, round: Round<Standing>, until: Moment) {
        self.withdraw(key, None, round, until);
        self.roll.with(key.id, |entry| entry.leaving = true);
    }

    /// Has the `join`s completed that nobody waits for any more.
    pub(crate) fn finish_all(
        self: &Arc<Self>,
        key: &ClaimRef,
        tries: &[u16],
        round: Round<Standing>,
        until: Moment,
    ) {
        for call in round.calls {
            if let Some(reply) = call.reply {
                let straggler = Straggler { node: call.node, key: key.clone(), nth: tries[call.node], reply };
                self.finish(straggler, until);
            }
        }
    }
}
