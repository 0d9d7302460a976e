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

fn millis(rng: &mut StdRng, choices: &[u64]) -> Duration {
    // Odd milliseconds, so that two deadlines rarely meet, and never by rounding.
    Duration::from_millis(choices.choose(rng).copied().unwrap_or(1) + rng.random_range(0..10))
}

impl List {
    /// The list of this seed.
    pub(crate) fn random(seed: u64, batch_max: usize, shared: bool, at_least: bool) -> Self {
        let rng = &mut StdRng::seed_from_u64(seed);
        let capacities: Vec<u32> = (0..3)
            .map(|_| if shared { [1, 1, 3, CAPACITY_MAX].choose(rng).copied().unwrap_or(1) } else { 1 })
            .collect();
        let claims = (0..CLAIMS)
            .map(|_| {
                let resource = rng.random_range(0..capacities.len());
                // Now and then somebody is mistaken about the capacity.
                let capacity = if shared && rng.random_bool(0.05) { 2 } else { capacities[resource] };
                let weight = match capacity {
                    CAPACITY_MAX => [1, 1, CAPACITY_MAX].choose(rng).copied().unwrap_or(1),
                    n => rng.random_range(1..=n),
                };
                let keeps = at_least && rng.random_bool(0.2);
                Terms {
                    resource,
                    capacity,
                    weight,
                    ttl: millis(rng, &[200, 1000, 4000, 8000, 30_000]),
                    at_least: if keeps { millis(rng, &[500, 3000, 20_000]) } else { Duration::ZERO },
                }
            })
            .collect();
        let steps = (0..OPERATIONS).map(|_| Self::step(rng, batch_max)).collect();
        Self { claims, steps }
    }

    fn step(rng: &mut StdRng, batch_max: usize) -> Step {
        let some = |rng: &mut StdRng| {
            let most = if rng.random_bool(0.7) { 1 } else { batch_max.clamp(1, 4) };
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
            80..94 => Step::Pass(millis(rng, &[1, 50, 300, 1500, 5000, 31_000])),
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
