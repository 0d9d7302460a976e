//! What the verbs share.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use leasehold_core::{EngineInfo, Env, Error, ErrorKind, Outcome, Result, Token};

use crate::config::Config;
use crate::crowd::Crowd;
use crate::node::Node;
use crate::roll::Roll;
use crate::round::Round;
use crate::tail::Leftovers;
use crate::tally;

/// A quorum, as its verbs see it.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) nodes: Vec<Node>,
    pub(crate) info: EngineInfo,
    pub(crate) env: Env,
    pub(crate) config: Config,
    pub(crate) roll: Roll,
    pub(crate) crowd: Crowd,
    pub(crate) leftovers: Leftovers,
    /// The highest token that this process has seen or proposed.
    highest: AtomicU64,
}

impl Shared {
    pub(crate) fn new(nodes: Vec<Node>, info: EngineInfo, env: Env, config: Config) -> Self {
        Self {
            nodes,
            info,
            env,
            config,
            roll: Roll::default(),
            crowd: Crowd::default(),
            leftovers: Leftovers::default(),
            highest: AtomicU64::new(0),
        }
    }

    pub(crate) fn majority(&self) -> usize {
        self.nodes.len() / 2 + 1
    }

    /// A token that is likely to be above all registers: above all that have been seen, by more than `gap`, and
    /// not behind the clock, which covers what was seen before this process began.
    pub(crate) fn propose(&self, gap: u64) -> Result<Token> {
        let clock = self.env.clock.wall_micros();
        let next = |highest: u64| highest.saturating_add(1 + gap).max(clock);
        let before = self.highest.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |h| Some(next(h)));
        let (Ok(before) | Err(before)) = before;
        Token::new(next(before)).ok_or_else(|| {
            Error::new(
                ErrorKind::Unexpected,
                "lock",
                "fencing tokens are exhausted at 2^53: a node or a clock is set far into the future",
            )
        })
    }

    /// Takes note of a token that a node has given out or accepted.
    pub(crate) fn note(&self, token: Token) {
        self.highest.fetch_max(token.get(), Ordering::Relaxed);
    }

    /// A span between the half and one and a half of this, so that two who get into each other's way do not do so
    /// again and again.
    pub(crate) fn about(&self, span: Duration) -> Duration {
        span / 2 + span.mul_f64(f64::from(self.env.rng.next() as u32) / f64::from(u32::MAX))
    }

    /// The error of a request that too few nodes have answered well: what asking again will not cure goes first.
    pub(crate) fn failure<T>(&self, operation: &'static str, round: &Round<T>, at: usize) -> Error {
        if let Some((node, error)) = tally::lasting(round.answers(at)) {
            return error.with_outcome(Outcome::Unknown).with("node", &self.nodes[node].label);
        }
        let mut error = Error::new(
            ErrorKind::Unavailable,
            operation,
            format!("fewer than {} of {} nodes answer", self.majority(), self.nodes.len()),
        )
        .with_outcome(Outcome::Unknown);
        for call in &round.calls {
            let label = &self.nodes[call.node].label;
            match call.answers.get(at) {
                Some(Err(why)) => error = error.with("node", format_args!("{label}: {why}")),
                None => error = error.with("node", format_args!("{label}: no answer in time")),
                Some(Ok(_)) => {}
            }
        }
        error
    }
}
