//! Many seeds: each is run twice, and both runs must have the same events.

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::check::{Rule, Violation};
use crate::mutation::Mutation;
use crate::world::plan::Realm;
use crate::world::{self, Report};

/// Which seeds to run, and how.
#[derive(Clone, Copy, Debug)]
pub struct Campaign {
    /// In which kind of world.
    pub realm: Realm,
    /// The first seed.
    pub from: u64,
    /// How many.
    pub seeds: u64,
    /// On how many threads.
    pub jobs: usize,
    /// With which defect.
    pub mutation: Option<Mutation>,
    /// Whether to stop at the first failure.
    pub stop: bool,
}

/// Why a seed failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Failure {
    /// A rule was broken.
    Violation(Violation),
    /// Its two runs differ: the simulation itself cannot be trusted.
    Differs,
}

/// What came of a campaign.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// How many seeds were run.
    pub seeds: u64,
    /// How many events they had.
    pub events: u64,
    /// How many guards were handed out.
    pub grants: u64,
    /// How much time was simulated.
    pub simulated: Duration,
    /// The failures, by seed.
    pub failures: BTreeMap<u64, Failure>,
}

/// Runs a seed once; a panic is a broken rule.
pub fn once(realm: Realm, seed: u64, mutation: Option<Mutation>, keep_trace: bool) -> Report {
    catch_unwind(AssertUnwindSafe(|| world::run(realm, seed, mutation, keep_trace))).unwrap_or_else(|panic| {
        Report {
            violation: Some(Violation::new(Rule::NoSurprise, format!("panic: {}", message(&*panic)))),
            digest: (0, 0),
            grants: 0,
            simulated: Duration::ZERO,
            lines: Vec::new(),
        }
    })
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a message")
}

/// Runs a seed twice.
pub fn twice(realm: Realm, seed: u64, mutation: Option<Mutation>) -> (Report, Option<Failure>) {
    let (first, second) = (once(realm, seed, mutation, false), once(realm, seed, mutation, false));
    let failure = if first != second {
        Some(Failure::Differs)
    } else {
        first.violation.clone().map(Failure::Violation)
    };
    (first, failure)
}

impl Campaign {
    /// Runs them all.
    pub fn run(&self) -> Summary {
        let (next, stopped) = (AtomicU64::new(self.from), AtomicBool::new(false));
        let summary = Mutex::new(Summary::default());
        std::thread::scope(|scope| {
            for _ in 0..self.jobs.max(1) {
                scope.spawn(|| {
                    while !stopped.load(Ordering::Relaxed) {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= self.from + self.seeds {
                            return;
                        }
                        let (report, failure) = twice(self.realm, seed, self.mutation);
                        let mut summary = summary.lock().unwrap_or_else(PoisonError::into_inner);
                        summary.add(&report);
                        if let Some(failure) = failure {
                            summary.failures.insert(seed, failure);
                            stopped.store(self.stop, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        summary.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Summary {
    fn add(&mut self, report: &Report) {
        self.seeds += 1;
        self.events += report.digest.0;
        self.grants += report.grants as u64;
        self.simulated += report.simulated;
    }
}
