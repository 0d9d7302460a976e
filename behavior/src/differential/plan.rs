//! Random lists of operations, by a seed.

use std::fmt;
use std::time::Duration;

use leasehold::claim::{CAPACITY_MAX, Manner};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

/// How many claims a list knows.
pub(crate) const CLAIMS: usize = 10;
/// How many operations it has.
const OPERATIONS: usize = 60;

/// One step. Claims are numbers: what they ask for is drawn with the list, and a number is one claim for all
/// of it, so it is joined again only while it is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Join(Vec<usize>),
    Refresh(Vec<usize>),
    Leave(usize, Manner),
    /// Time passes.
    Pass(Duration),
    Inspect,
}

/// What a claim of a list asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Terms {
    pub(crate) resource: usize,
    pub(crate) capacity: u32,
    pub(crate) weight: u32,
    pub(crate) ttl: Duration,
    pub(crate) at_least: Duration,
}

/// A list of operations.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct List {
    pub(crate) claims: Vec<Terms>,
    pub(crate) steps: Vec<Step>,
}

impl fmt::Debug for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, terms) in self.claims.iter().enumerate() {
            writeln!(f, "claim {at}: {terms:?}")?;
        }
        self.steps.iter().enumerate().try_for_each(|(at, step)| writeln!(f, "{at:3}: {step:?}"))
    }
}

/// What an engine must offer for a list, and how finely it tells times apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scope {
    pub(crate) batch_max: usize,
    pub(crate) shared: bool,
    pub(crate) permits: bool,
    pub(crate) at_least: bool,
    /// It counts whole milliseconds, and may keep a claim for one more than asked.
    pub(crate) coarse: bool,
}

/// Where milliseconds are rounded, time passes in steps of this many, and what is alive ends half a step after one. That
/// is so of the time that waiters live, too.
const STEP: u64 = 16;

impl Scope {
    /// How long something lives.
    fn life(self, rng: &mut StdRng, choices: &[u64]) -> Duration {
        self.millis(rng, choices, STEP / 2)
    }

    /// How long nothing happens.
    fn pass(self, rng: &mut StdRng, choices: &[u64]) -> Duration {
        self.millis(rng, choices, 0)
    }

    fn millis(self, rng: &mut StdRng, choices: &[u64], off: u64) -> Duration {
        // Odd milliseconds, so that two deadlines rarely meet, and never by rounding.
        let millis = choices.choose(rng).copied().unwrap_or(1) + rng.random_range(0..10);
        Duration::from_millis(if self.coarse { millis.div_ceil(STEP) * STEP + off } else { millis })
    }
}

impl List {
    /// The list of this seed.
    pub(crate) fn random(seed: u64, scope: Scope) -> Self {
        let rng = &mut StdRng::seed_from_u64(seed);
        let Scope { shared, permits, at_least, .. } = scope;
        let small = if permits { 3 } else { 1 };
        let capacities: Vec<u32> = (0..3)
            .map(|_| if shared { [1, 1, small, CAPACITY_MAX].choose(rng).copied().unwrap_or(1) } else { 1 })
            .collect();
        let claims = (0..CLAIMS)
            .map(|_| {
                let resource = rng.random_range(0..capacities.len());
                // Now and then somebody is mistaken about the capacity.
                let capacity = if permits && rng.random_bool(0.05) { 2 } else { capacities[resource] };
                let weight = match capacity {
                    CAPACITY_MAX => [1, 1, CAPACITY_MAX].choose(rng).copied().unwrap_or(1),
                    n => rng.random_range(1..=n),
                };
                let keeps = at_least && rng.random_bool(0.2);
                Terms {
                    resource,
                    capacity,
                    weight,
                    ttl: scope.life(rng, &[200, 1000, 4000, 8000, 30_000]),
                    at_least: if keeps { scope.life(rng, &[500, 3000, 20_000]) } else { Duration::ZERO },
                }
            })
            .collect();
        let steps = (0..OPERATIONS).map(|_| Self::step(rng, scope)).collect();
        Self { claims, steps }
    }

    fn step(rng: &mut StdRng, scope: Scope) -> Step {
        let some = |rng: &mut StdRng| {
            let most = if rng.random_bool(0.7) { 1 } else { scope.batch_max.clamp(1, 4) };
            (0..rng.random_range(1..=most)).map(|_| rng.random_range(0..CLAIMS)).collect()
        };
        match rng.random_range(0..100) {
            0..35 => Step::Join(some(rng)),
            35..65 => Step::Refresh(some(rng)),
            65..80 => {
                let manner =
                    [Manner::Release, Manner::Release, Manner::Release, Manner::Revoke, Manner::Evict];
                Step::Leave(
                    rng.random_range(0..CLAIMS),
                    manner.choose(rng).copied().unwrap_or(Manner::Release),
                )
            }
            80..94 => Step::Pass(scope.pass(rng, &[1, 50, 300, 1500, 5000, 31_000])),
            _ => Step::Inspect,
        }
    }

    /// The list without these steps.
    pub(crate) fn without(&self, at: usize, steps: usize) -> Self {
        let mut shorter = self.clone();
        shorter.steps.drain(at..(at + steps).min(self.steps.len()));
        shorter
    }
}
