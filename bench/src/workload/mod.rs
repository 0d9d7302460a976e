//! The work itself, the same loop for everybody.

mod handoff;
mod pair;
mod renew;

use std::sync::OnceLock;
use std::time::Duration;

use leasehold_core::{Env, Error, ErrorKind, Moment, Result};
use tokio::sync::Barrier;
use tokio::task::{JoinError, JoinSet};

use crate::entrant::Locker;
use crate::load::Load;
use crate::measure::{Measured, Waits, cpu_time, per_second};

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

/// What a run costs besides time, read before it and after it.
#[derive(Debug)]
struct Meter {
    requests: Option<u64>,
    cpu: Duration,
}

impl Meter {
    fn read<L: Locker>(locker: &L) -> Result<Self> {
        Ok(Self { requests: locker.requests(), cpu: cpu_time()? })
    }

    /// Adds to the figures what has been used since `self`.
    fn charge<L: Locker>(self, locker: &L, load: &Load, mut measured: Measured) -> Result<Measured> {
        let now = Self::read(locker)?;
        let requests = now.requests.zip(self.requests).map(|(now, before)| now.saturating_sub(before));
        measured.requests_per_s = requests.map(|requests| per_second(requests, load.span));
        measured.cpu = Some(now.cpu.saturating_sub(self.cpu).div_duration_f64(load.span));
        Ok(measured)
    }
}

fn broken(error: JoinError) -> Error {
    Error::new(ErrorKind::Unexpected, "bench", "a task of the benchmark broke off").with_source(error)
}
