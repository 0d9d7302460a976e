//! What a seed means: the world in which a run takes place.
//!
//! Every kind of fault is on in about half of the worlds and off in the others, and its strength is drawn: many
//! different worlds find more than one world with a little of everything. One in eight is a storm, with every fault
//! on. One in eight is calm and has none at all, only wrong clocks and an ordinary network; there, more is demanded.

use std::time::Duration;

use leasehold_core::EngineInfo;
use leasehold_core::client::rules::DRIFT_PER_MILLE;
use leasehold_core::engine::Wakeups;

use crate::clock::Course;
use crate::dice::Dice;
use crate::executor::{True, nanos};
use crate::network::faults::{Faults, Hinting};
use crate::world::want::Kind;

/// How many nanoseconds a second two clocks may run apart, just within the stated bound: a clock that is slow by
/// it against one that is right is off by a little more than one that is fast.
const APART: u64 = DRIFT_PER_MILLE * 1_000_000 * 995 / 1000;

/// What may happen to nodes, per mille of all that happens to them.
#[derive(Clone, Debug)]
pub struct Harm {
    /// A node is paused.
    pub pause: u64,
    /// A node crashes and starts again.
    pub crash: u64,
    /// An engine restarts.
    pub restart: u64,
    /// Some nodes of a quorum cannot be reached from a node.
    pub cut: u64,
    /// How long between two of them.
    pub every: Duration,
}

/// What kind of world a seed means.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Realm {
    /// One engine.
    #[default]
    Single,
    /// A quorum of engines.
    Quorum,
}

impl Realm {
    /// The world of a seed.
    pub fn plan(self, seed: u64) -> Plan {
        match self {
            Self::Single => Plan::draw(seed),
            Self::Quorum => Plan::draw_quorum(seed),
        }
    }
}

/// What may end leases of a quorum early.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trouble {
    /// Nothing: clocks stay within the bound, and nodes keep their data.
    None,
    /// Nodes measure leases by their wall clocks, which jump.
    Jumps,
    /// Nodes start again without their data.
    Losses,
}

/// How much goes wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Weather {
    /// Nothing.
    Calm,
    /// Some things.
    Mixed,
    /// Everything, much.
    Storm,
}

impl Weather {
    /// How strong a fault is that is at most so strong.
    fn strength(self, most: u64, dice: &mut Dice) -> u64 {
        match self {
            Self::Calm => 0,
            Self::Mixed if dice.per_mille(500) => 0,
            Self::Mixed => dice.between(1, most),
            Self::Storm => dice.between(most / 2, most),
        }
    }
}

/// A world.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The longest TTL; everything else is in proportion to it.
    pub unit: Duration,
    /// When the faults end.
    pub heal_at: True,
    /// How much goes wrong until then.
    pub weather: Weather,
    /// The resources.
    pub resources: Vec<Kind>,
    /// How many tasks each node has.
    pub tasks: Vec<usize>,
    /// How many things each task does before it gets in once more.
    pub deeds: u64,
    /// The clocks of the nodes.
    pub clocks: Vec<Course>,
    /// The clocks of the engines: of the one, or of the nodes of a quorum.
    pub engine_clocks: Vec<Course>,
    /// What may happen to a quorum; `None` where there is one engine.
    pub quorum: Option<Trouble>,
    /// The network.
    pub faults: Faults,
    /// What happens to nodes.
    pub harm: Harm,
    /// What the engine says of itself.
    pub info: EngineInfo,
}

impl Plan {
    /// Draws the world of a seed.
    pub fn draw(seed: u64) -> Self {
        let dice = &mut Dice::new(seed, 1);
        let weather = *dice.pick(&[
            Weather::Calm,
            Weather::Mixed,
            Weather::Mixed,
            Weather::Mixed,
            Weather::Mixed,
            Weather::Mixed,
            Weather::Mixed,
            Weather::Storm,
        ]);
        let calm = weather == Weather::Calm;
        let unit = dice.span(Duration::from_millis(100), Duration::from_secs(20));
        let heal_at = nanos(unit * dice.between(3, 8) as u32);
        let kinds = [Kind::Mutex, Kind::Mutex, Kind::RwLock, Kind::Semaphore(dice.between(2, 5) as u32)];
        let resources = (0..dice.between(1, 3)).map(|_| *dice.pick(&kinds)).collect();
        let nodes = dice.between(2, 5);
        let tasks = (0..nodes).map(|_| dice.between(1, 3) as usize).collect();
        // How far the engine may be off is drawn first; the nodes have what is left.
        let engine_off = dice.below(APART + 1);
        let engine_clock = course(engine_off, heal_at, !calm, unit, dice);
        let clocks = (0..nodes).map(|_| course(APART - engine_off, heal_at, !calm, unit, dice)).collect();
        let faults = faults(weather, heal_at, unit, dice);
        let mut info = EngineInfo::least("sim");
        info.wakeups = if faults.hinting == Hinting::Silent { Wakeups::Poll } else { Wakeups::Push };
        info.ttl_min = Duration::from_millis(5);
        info.batch_max = dice.between(1, 8) as usize;
        info.shared = true;
        info.at_least = true;
        let pause = weather.strength(10, dice);
        let crash = weather.strength(3, dice);
        let restart = weather.strength(4, dice);
        let every = dice.span(unit / 10, unit);
        let deeds = dice.between(3, 8);
        let harm = Harm { pause, crash, restart, cut: 0, every };
        Self {
            unit,
            heal_at,
            weather,
            resources,
            tasks,
            deeds,
            clocks,
            engine_clocks: vec![engine_clock],
            quorum: None,
            faults,
            harm,
            info,
        }
    }

    /// Draws the world of a seed in which the engine is a quorum.
    pub fn draw_quorum(seed: u64) -> Self {
        let mut plan = Self::draw(seed);
        let dice = &mut Dice::new(seed, 5);
        let calm = plan.is_calm();
        let trouble = match dice.below(5) {
            _ if calm => Trouble::None,
            0 => Trouble::Jumps,
            1 => Trouble::Losses,
            _ => Trouble::None,
        };
        for resource in &mut plan.resources {
            if matches!(resource, Kind::Semaphore(_)) {
                *resource = *dice.pick(&[Kind::Mutex, Kind::RwLock]);
            }
        }
        let nodes = *dice.pick(&[3, 3, 4, 5, 5]);
        let engines_off = dice.below(APART + 1);
        let mut draw = |off| course(off, plan.heal_at, !calm, plan.unit, dice);
        plan.engine_clocks = (0..nodes).map(|_| draw(engines_off)).collect();
        plan.clocks = plan.clocks.iter().map(|_| draw(APART - engines_off)).collect();
        if trouble == Trouble::Losses {
            // A register that is lost starts again at the wall clock: that one must be right.
            plan.engine_clocks
                .iter_mut()
                .chain(&mut plan.clocks)
                .for_each(|c| c.true_wall(1_790_000_000_000_000));
        }
        if calm {
            // With a TTL of a few round trips, a claim may die while it asks, and lose its place.
            plan.faults.delay.1 = plan.faults.delay.1.min(plan.unit / 500).max(plan.faults.delay.0);
        }
        plan.harm.cut = plan.weather.strength(10, dice);
        plan.harm.restart =
            plan.weather.strength(8, dice).max(if trouble == Trouble::Losses { 4 } else { 0 });
        (plan.info.raise, plan.info.at_least) = (true, false);
        plan.info.validity = leasehold_core::engine::Validity::Proven;
        plan.quorum = Some(trouble);
        plan
    }

    /// Whether leases may end early: exclusion is not to be had then, and what it needs is not looked at.
    pub fn is_lossy(&self) -> bool {
        matches!(self.quorum, Some(Trouble::Jumps | Trouble::Losses))
    }

    /// How much longer everything may take because clocks jump.
    pub fn slack(&self) -> Duration {
        if self.quorum == Some(Trouble::Jumps) { self.unit * 8 } else { Duration::ZERO }
    }

    /// Whether nothing goes wrong.
    pub fn is_calm(&self) -> bool {
        self.weather == Weather::Calm
    }

    /// How long after the faults have ended everybody must have got in: what is dead must die first (the longest
    /// TTL or at-least hold, by the slowest clock), what was going wrong must be asked again (5 s), and each of
    /// the others may have its turn, which takes a look where nobody is told.
    pub fn patience(&self) -> Duration {
        let turns = self.tasks.iter().sum::<usize>() * (self.resources.len() + 1);
        let turn = match self.faults.hinting {
            Hinting::Silent => (self.unit / 2).min(Duration::from_secs(2)),
            _ => Duration::ZERO,
        };
        let turn = turn + self.faults.delay.1 * 4 + Duration::from_millis(15);
        if self.quorum.is_some() {
            // Heads may get into each other's way, and who died at one node may have been joined again at another.
            let turn = turn + Duration::from_millis(400);
            return self.unit * 3 + self.slack() + Duration::from_secs(10) + turn * turns as u32;
        }
        self.unit * 101 / 100 + Duration::from_secs(5) + turn * turns as u32
    }
}

/// A clock that is off by at most `off` nanoseconds a second at any time.
fn course(off: u64, heal_at: True, jumps: bool, unit: Duration, dice: &mut Dice) -> Course {
    let gain = |dice: &mut Dice| {
        // The ends of the range are where it hurts.
        let part = if dice.per_mille(500) { off } else { dice.below(off + 1) } as i64;
        if dice.per_mille(500) { part } else { -part }
    };
    let shows = dice.span(Duration::from_secs(1), Duration::from_secs(10_000_000));
    let wall = 1_790_000_000_000_000 + dice.below(1_000_000_000);
    let first = gain(dice);
    let mut course = Course::new(shows, first, wall);
    let mut at = 0;
    for _ in 0..dice.below(4) {
        at += 1 + dice.below(heal_at);
        let next = gain(dice);
        course.change(at, next);
    }
    at = 0;
    for _ in 0..if jumps { dice.below(5) } else { 0 } {
        at += 1 + dice.below(heal_at / 3);
        let micros = dice.span(unit / 10, unit * 3).as_micros() as i64;
        course.jump(at, if dice.per_mille(500) { micros } else { -micros });
    }
    course
}

fn faults(weather: Weather, until: True, unit: Duration, dice: &mut Dice) -> Faults {
    let least = dice.span(Duration::from_micros(10), Duration::from_micros(500));
    let some = |dice: &mut Dice, most| weather.strength(most, dice);
    let delay_most = dice.span(least, (unit / 50).min(Duration::from_millis(5)).max(least));
    Faults {
        until,
        delay: (least, delay_most),
        slow_most: unit * dice.between(1, 3) as u32 / 2,
        slow: some(dice, 200),
        lose_request: some(dice, 200),
        lose_reply: some(dice, 200),
        duplicate: some(dice, 100),
        resend: some(dice, 500),
        turn_away: some(dice, 100),
        hang: some(dice, 500),
        timeout: dice.span(unit / 20, unit),
        hinting: *dice.pick(&[Hinting::Held, Hinting::Held, Hinting::Mixed, Hinting::Look, Hinting::Silent]),
        lose_hint: some(dice, 300),
        double_hint: some(dice, 200),
    }
}
