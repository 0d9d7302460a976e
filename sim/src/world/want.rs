//! What a task asks for, drawn from the seed.

use std::fmt;
use std::time::Duration;

use leasehold_core::EngineInfo;
use leasehold_core::claim::CAPACITY_MAX;

use crate::dice::Dice;

/// What a resource is used as.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kind {
    /// Capacity 1.
    Mutex,
    /// Readers and writers.
    RwLock,
    /// So many permits.
    Semaphore(u32),
}

impl Kind {
    /// Its capacity.
    pub fn capacity(self) -> u32 {
        match self {
            Self::Mutex => 1,
            Self::RwLock => CAPACITY_MAX,
            Self::Semaphore(permits) => permits,
        }
    }

    fn weight(self, dice: &mut Dice) -> u32 {
        match self {
            Self::Mutex => 1,
            Self::RwLock if dice.per_mille(600) => 1,
            Self::RwLock => CAPACITY_MAX,
            Self::Semaphore(permits) => dice.between(1, u64::from(permits)) as u32,
        }
    }
}

/// How a task asks.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Verb {
    /// `lock`.
    Lock,
    /// `try_lock`.
    Try,
    /// `lock_timeout`.
    Timeout(Duration),
    /// `lock`, dropped after so many polls.
    DropAfterPolls(u32),
    /// `lock`, dropped after this long.
    DropAfter(Duration),
    /// `run`.
    Run,
}

/// How long a task holds.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Holding {
    /// Not at all.
    Not,
    /// This long, lost or not.
    For(Duration),
    /// Until it is lost, but not longer than this.
    UntilLost(Duration),
}

/// How a task lets go.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Finish {
    /// It drops the guard.
    Drop,
    /// It calls `release` and waits for it.
    Release,
    /// It calls `release` and drops that after so many polls.
    ReleaseDropped(u32),
}

/// What a task asks for.
#[derive(Clone, Hash, Debug)]
pub struct Want {
    /// Which resource.
    pub resource: usize,
    /// As what it is used.
    pub kind: Kind,
    /// How much of it.
    pub weight: u32,
    /// How.
    pub verb: Verb,
    /// With which TTL.
    pub ttl: Duration,
    /// With which at-least hold; zero for none.
    pub at_least: Duration,
    /// With which at-most hold.
    pub at_most: Option<Duration>,
    /// For how long.
    pub holding: Holding,
    /// And how it lets go.
    pub finish: Finish,
}

impl Want {
    /// Draws one. `unit` is the longest TTL of the run.
    pub fn draw(resources: &[Kind], unit: Duration, offered: &EngineInfo, dice: &mut Dice) -> Self {
        let resource = dice.below(resources.len() as u64) as usize;
        let kind = resources[resource];
        let span = |dice: &mut Dice| dice.span(unit / 1000, unit);
        let verb = match dice.below(100) {
            0..45 => Verb::Lock,
            45..57 => Verb::Try,
            57..70 => Verb::Timeout(span(dice)),
            70..80 => Verb::DropAfterPolls(dice.between(1, 6) as u32),
            80..90 => Verb::DropAfter(span(dice)),
            _ => Verb::Run,
        };
        let holding = match dice.below(100) {
            0..20 => Holding::Not,
            20..55 => Holding::For(span(dice)),
            55..80 => Holding::For(dice.span(unit / 4, unit * 5 / 2)),
            _ => Holding::UntilLost(dice.span(unit / 4, unit * 2)),
        };
        let finish = match dice.below(100) {
            0..45 => Finish::Drop,
            45..85 => Finish::Release,
            _ => Finish::ReleaseDropped(dice.between(1, 3) as u32),
        };
        let at_least = if dice.per_mille(100) { dice.span(unit / 20, unit) } else { Duration::ZERO };
        let at_least = if offered.at_least { at_least } else { Duration::ZERO };
        let at_most = dice.per_mille(100).then(|| at_least.max(unit / 10) + span(dice));
        Self {
            resource,
            kind,
            weight: kind.weight(dice),
            verb,
            ttl: if dice.per_mille(600) { unit } else { dice.span(unit / 5, unit) },
            at_least,
            at_most,
            holding,
            finish,
        }
    }

    /// What everybody asks for after the faults: to get in once more.
    pub fn last(resources: &[Kind], resource: usize, unit: Duration, dice: &mut Dice) -> Self {
        let kind = resources[resource];
        Self {
            resource,
            kind,
            weight: kind.weight(dice),
            verb: Verb::Lock,
            ttl: unit,
            at_least: Duration::ZERO,
            at_most: None,
            holding: Holding::For(dice.span(Duration::from_micros(100), Duration::from_millis(10))),
            finish: if dice.per_mille(500) { Finish::Drop } else { Finish::Release },
        }
    }
}

impl fmt::Display for Want {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} {} of r{} ({:?}), ttl {:?}",
            self.verb, self.weight, self.resource, self.kind, self.ttl
        )?;
        if !self.at_least.is_zero() {
            write!(f, ", at least {:?}", self.at_least)?;
        }
        if let Some(most) = self.at_most {
            write!(f, ", at most {most:?}")?;
        }
        write!(f, ", hold {:?}, {:?}", self.holding, self.finish)
    }
}
