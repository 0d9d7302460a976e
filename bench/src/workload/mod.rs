//! The work itself, the same loop for everybody.

mod handoff;
mod pair;
mod renew;

use std::sync::OnceLock;

use leasehold_core::{Env, Error, ErrorKind, Moment, Result};
use tokio::sync::Barrier;
use tokio::task::{JoinError, JoinSet};

use crate::load::Load;
use crate::measure::{Measured, Waits, per_second};

pub use handoff::handoff;
pub use pair::pair;
pub use renew::renew;

/// All tasks start together and stop at the same moment, however late the runtime comes to them.
#[derive(Debug)]
struct Start {
    barrier: Barrier,
    span: OnceLock<(Moment, Moment)>,
}

impl Start {
    fn new(tasks: usize) -> Self {
        Self { barrier: Barrier::new(tasks), span: OnceLock::new() }
    }

    /// Waits for the others; says when the work began and when it ends.
    async fn together(&self, env: &Env, load: &Load) -> (Moment, Moment) {
        self.barrier.wait().await;
        *self.span.get_or_init(|| {
            let now = env.now();
            (now, now + load.span)
        })
    }
}

/// What one task came to.
#[derive(Debug)]
struct Part {
    /// How often it held the lock.
    held: u64,
    waits: Waits,
    began: Moment,
    ended: Moment,
}

/// Waits for all tasks; their parts, in no order. The first error ends the others.
async fn all<T: 'static>(mut tasks: JoinSet<Result<T>>) -> Result<Vec<T>> {
    let mut parts = Vec::with_capacity(tasks.len());
    while let Some(part) = tasks.join_next().await {
        parts.push(part.map_err(broken)??);
    }
    Ok(parts)
}

/// The parts as one, counting what each held unless `counted` says better.
fn sum(parts: &[Part], counted: Option<u64>) -> Measured {
    let mut waits = Waits::default();
    parts.iter().for_each(|part| waits.add(&part.waits));
    let began = parts.iter().map(|part| part.began).min().unwrap_or_default();
    let ended = parts.iter().map(|part| part.ended).max().unwrap_or_default();
    let count = counted.unwrap_or_else(|| parts.iter().map(|part| part.held).sum());
    Measured {
        rate_per_s: per_second(count, ended.since(began)),
        waits,
        shares: parts.iter().map(|part| part.held).collect(),
        requests_per_s: None,
        cpu: None,
    }
}

/// How many requests a second there were between two readings, while `measured` was made.
fn requests(before: Option<u64>, after: Option<u64>, load: &Load) -> Option<f64> {
    Some(per_second(after?.saturating_sub(before?), load.span))
}

fn broken(error: JoinError) -> Error {
    Error::new(ErrorKind::Unexpected, "bench", "a task of the benchmark broke off").with_source(error)
}
