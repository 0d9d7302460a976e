//! One request to each of some nodes, at the same time or one after the other, polled in the caller's own task.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use leasehold_core::clock::Sleep;
use leasehold_core::{Batch, Error, Reply, Result};
use smallvec::SmallVec;

use crate::bell::Bell;
use crate::config::Order;
use crate::node::Node;
use crate::shared::Shared;

/// What there is one of for each node.
pub(crate) type PerNode<T> = SmallVec<[T; 5]>;

/// A request to one node.
#[derive(Debug)]
pub(crate) struct Call<T> {
    pub(crate) node: usize,
    /// Empty when it has been answered.
    pub(crate) reply: Option<Reply<T>>,
    pub(crate) answers: Batch<Result<T>>,
}

impl<T> Call<T> {
    /// Whether all is well.
    pub(crate) fn is_certain(&self) -> bool {
        self.reply.is_none() && self.answers.iter().all(Result::is_ok)
    }

    /// Takes in what the node answers.
    fn answered(&mut self, node: &Node, answers: Batch<Result<T>>) {
        node.answers(!answers.iter().any(|a| a.as_ref().is_err_and(Error::is_transient)));
        self.answers = answers;
        self.reply = None;
    }
}

/// The requests of one round.
#[derive(Debug)]
pub(crate) struct Round<T> {
    pub(crate) calls: PerNode<Call<T>>,
    /// Nobody is waited for any more.
    pub(crate) timed_out: bool,
}

impl<T> Round<T> {
    pub(crate) fn new() -> Self {
        Self { calls: SmallVec::new(), timed_out: false }
    }

    pub(crate) fn ask(&mut self, node: usize, reply: Reply<T>) {
        self.calls.push(Call { node, reply: Some(reply), answers: Batch::new() });
    }

    /// How many have answered.
    pub(crate) fn answered(&self) -> usize {
        self.calls.iter().filter(|call| call.reply.is_none()).count()
    }

    /// Whether everybody has.
    pub(crate) fn is_answered(&self) -> bool {
        self.answered() == self.calls.len()
    }

    /// Whether it is no use to wait any longer, given how many answers are enough: all have come, or all but those
    /// of nodes that did not answer last time either.
    pub(crate) fn is_settled(&self, nodes: &[Node], enough: usize) -> bool {
        let answered = self.answered();
        let pending = || self.calls.iter().filter(|call| call.reply.is_some());
        self.timed_out
            || answered == self.calls.len()
            || (answered >= enough && pending().all(|call| nodes[call.node].is_suspect()))
    }

    /// The answers to the item at `at` of each request.
    pub(crate) fn answers(&self, at: usize) -> impl Iterator<Item = (usize, &Result<T>)> {
        self.calls.iter().filter_map(move |call| Some((call.node, call.answers.get(at)?)))
    }

    /// Takes in answers until `decide` comes to a decision, which it must when the time is up. It need not be asked
    /// before `enough` answers have come.
    pub(crate) async fn until<D>(
        &mut self,
        shared: &Shared,
        patience: Duration,
        enough: usize,
        mut decide: impl FnMut(&Self) -> Option<D>,
    ) -> Option<D> {
        let Shared { nodes, env, config, .. } = shared;
        if config.order == Order::OneByOne {
            // Boxed, for nearly nobody asks so.
            Box::pin(self.in_turn(shared, patience)).await;
            return decide(self);
        }
        let bell = Arc::new(Bell::default());
        let ropes: PerNode<Waker> = (0..self.calls.len()).map(|nth| bell.rope(nth)).collect();
        let mut sleep: Option<Sleep> = None;
        let mut news = u64::MAX;
        poll_fn(|cx| {
            bell.wakes(cx.waker());
            loop {
                if self.hear(nodes, news | bell.take(), &ropes)
                    && let Some(decision) = decide(self)
                {
                    return Poll::Ready(Some(decision));
                }
                news = 0;
                if !bell.ring_at(enough.saturating_sub(self.answered()).max(1)) {
                    break;
                }
            }
            let asleep = sleep.get_or_insert_with(|| env.clock.sleep_until(env.now() + patience));
            if asleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.timed_out = true;
            for call in self.calls.iter().filter(|call| call.reply.is_some()) {
                nodes[call.node].answers(false);
            }
            Poll::Ready(decide(self))
        })
        .await
    }

    /// Asks one node after the other. Who does not answer in time is passed over.
    async fn in_turn(&mut self, shared: &Shared, patience: Duration) {
        for call in &mut self.calls {
            let Some(reply) = &mut call.reply else { continue };
            let node = &shared.nodes[call.node];
            let answers = tokio::select! {
                biased;
                answers = reply => Some(answers),
                () = shared.env.clock.sleep_until(shared.env.now() + patience) => None,
            };
            match answers {
                Some(answers) => call.answered(node, answers),
                None => node.answers(false),
            }
        }
        self.timed_out = true;
    }

    /// Takes in the answers of those calls that have news; whether there are any.
    fn hear(&mut self, nodes: &[Node], news: u64, ropes: &[Waker]) -> bool {
        let mut heard = false;
        for (nth, (call, rope)) in self.calls.iter_mut().zip(ropes).enumerate() {
            let Some(reply) = call.reply.as_mut().filter(|_| news & 1 << nth != 0) else { continue };
            if let Poll::Ready(answers) = Pin::new(reply).poll(&mut Context::from_waker(rope)) {
                call.answered(&nodes[call.node], answers);
                heard = true;
            }
        }
        heard
    }
}
