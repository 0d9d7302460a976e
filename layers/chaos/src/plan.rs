//! What happens how often, and the dice that decide it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// How often what happens, of a thousand, and how long it takes at the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Where the dice start.
    pub seed: u64,
    /// Requests that take a while to arrive, and replies that do.
    pub delayed: u16,
    /// The longest delay of either.
    pub delay_max: Duration,
    /// Requests that never arrive.
    pub request_lost: u16,
    /// Replies that never arrive, to requests that had their effect.
    pub reply_lost: u16,
    /// Requests that arrive twice before the reply.
    pub doubled: u16,
    /// Requests that arrive once more later, when the reply may long have been read.
    pub doubled_late: u16,
    /// How much later, at the most.
    pub double_max: Duration,
    /// Hints that never arrive.
    pub hint_lost: u16,
    /// Hints that arrive twice.
    pub hint_doubled: u16,
}

impl Plan {
    /// Bad weather in which work goes on: each trouble often enough to be met in a hundred requests.
    pub const fn seeded(seed: u64) -> Self {
        Self {
            seed,
            delayed: 200,
            delay_max: Duration::from_millis(4),
            request_lost: 20,
            reply_lost: 20,
            doubled: 20,
            doubled_late: 20,
            double_max: Duration::from_millis(20),
            hint_lost: 50,
            hint_doubled: 50,
        }
    }

    /// No trouble at all: the layer is not felt. Tests start here and set the one trouble that they mean.
    pub const fn calm(seed: u64) -> Self {
        Self {
            delayed: 0,
            request_lost: 0,
            reply_lost: 0,
            doubled: 0,
            doubled_late: 0,
            hint_lost: 0,
            hint_doubled: 0,
            ..Self::seeded(seed)
        }
    }
}

/// What a request meets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fate {
    pub(crate) before: Duration,
    pub(crate) request_lost: bool,
    pub(crate) doubled: bool,
    pub(crate) again: Option<Duration>,
    pub(crate) after: Duration,
    pub(crate) reply_lost: bool,
}

/// What a hint meets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HintFate {
    pub(crate) delay: Duration,
    pub(crate) copies: usize,
}

/// The dice of one layer.
#[derive(Debug)]
pub(crate) struct Dice {
    plan: Plan,
    rng: Mutex<StdRng>,
}

impl Dice {
    pub(crate) fn new(plan: Plan) -> Self {
        Self { plan, rng: Mutex::new(StdRng::seed_from_u64(plan.seed)) }
    }

    fn rng(&self) -> MutexGuard<'_, StdRng> {
        // A generator has no state that a panic could leave half changed.
        self.rng.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every fate takes the same draws, so one setting changed leaves the rest of the sequence alone.
    pub(crate) fn fate(&self) -> Fate {
        let plan = &self.plan;
        let mut rng = self.rng();
        let mut hit = |of_a_thousand: u16| rng.random_range(0..1000) < of_a_thousand;
        let (early, late) = (hit(plan.delayed), hit(plan.delayed));
        let (request_lost, reply_lost) = (hit(plan.request_lost), hit(plan.reply_lost));
        let (doubled, doubled_late) = (hit(plan.doubled), hit(plan.doubled_late));
        let mut part = |most: Duration| most.mul_f64(rng.random_range(0.0..=1.0));
        let (before, again, after) = (part(plan.delay_max), part(plan.double_max), part(plan.delay_max));
        Fate {
            before: if early { before } else { Duration::ZERO },
            request_lost,
            doubled,
            again: doubled_late.then_some(again),
            after: if late { after } else { Duration::ZERO },
            reply_lost,
        }
    }

    pub(crate) fn hint(&self) -> HintFate {
        let plan = &self.plan;
        let mut rng = self.rng();
        let mut hit = |of_a_thousand: u16| rng.random_range(0..1000) < of_a_thousand;
        let (delayed, lost, doubled) = (hit(plan.delayed), hit(plan.hint_lost), hit(plan.hint_doubled));
        let delay = plan.delay_max.mul_f64(rng.random_range(0.0..=1.0));
        HintFate {
            delay: if delayed { delay } else { Duration::ZERO },
            copies: if lost { 0 } else { 1 + usize::from(doubled) },
        }
    }
}
