//! Who runs when: everybody in turn, several times, and what it came to.

use std::time::Duration;

use leasehold_core::Result;

use crate::entrant::{Entrant, Role};
use crate::load::{Case, Load};
use crate::measure::{Measured, Waits, jain, median};
use crate::row::{Beside, Row};

/// The rounds of a row with more than one entrant, unless told otherwise.
pub const ROUNDS_DEFAULT: u32 = 5;
/// Everybody runs this long first, which is not counted: memory is taken, files grow, code is read in.
const WARM_UP: Duration = Duration::from_millis(50);

/// What is being run, for whoever shows progress.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// The row.
    pub load: &'a Load,
    /// Who.
    pub entrant: &'static str,
    /// How many runs of this row are done.
    pub done: u32,
    /// How many there are.
    pub of: u32,
}

/// Runs a load: each entrant in turn, in `rounds` rounds that share the load's time.
///
/// Rates and ratios are medians over the rounds, and a ratio is taken within its round; waits are those of all
/// rounds together.
///
/// # Errors
/// The first that an entrant meets.
pub async fn run(
    engine: &str,
    load: &Load,
    rounds: u32,
    entrants: &[Entrant],
    progress: &mut dyn FnMut(&Step<'_>),
) -> Result<Row> {
    // Renewals come in periods that cannot be cut in pieces, and have nobody to be compared with.
    let whole = load.case == Case::Renew;
    let rounds = if whole { 1 } else { rounds.max(1) };
    let piece = Load { span: load.span / rounds, ..*load };
    let of = rounds * u32::try_from(entrants.len()).unwrap_or(u32::MAX);
    let mut done = 0;
    let mut results: Vec<Vec<Measured>> = entrants.iter().map(|_| Vec::new()).collect();
    if !whole {
        for entrant in entrants {
            entrant.run(Load { span: WARM_UP.min(piece.span), ..*load }).await?;
        }
    }
    for _ in 0..rounds {
        for (entrant, results) in entrants.iter().zip(&mut results) {
            progress(&Step { load, entrant: entrant.name(), done, of });
            results.push(entrant.run(piece).await?);
            done += 1;
        }
    }
    Ok(row(engine, load, entrants, &results))
}

/// All runs of one entrant together.
struct Sum {
    rate_per_s: Option<f64>,
    jain: Option<f64>,
    waits: Waits,
}

impl Sum {
    fn of(runs: &[Measured]) -> Self {
        let mut waits = Waits::default();
        runs.iter().for_each(|run| waits.add(&run.waits));
        let shared = runs.iter().filter(|run| !run.shares.is_empty());
        Self {
            rate_per_s: median(runs.iter().map(|run| run.rate_per_s)),
            jain: median(shared.map(|run| jain(&run.shares))),
            waits,
        }
    }
}

fn row(engine: &str, load: &Load, entrants: &[Entrant], results: &[Vec<Measured>]) -> Row {
    let all = || entrants.iter().zip(results).map(|(entrant, runs)| (entrant, runs.as_slice()));
    let one = |role: Role| all().find(|(e, _)| e.role() == role).map_or(&[][..], |(_, runs)| runs);
    let (ours, floor) = (one(Role::Ours), one(Role::Floor));
    let sum = Sum::of(ours);
    let ratio = |rate: fn(&Measured) -> Option<f64>| {
        let both = ours.iter().zip(floor).filter_map(|(ours, floor)| rate(ours).zip(rate(floor)));
        median(both.filter(|(_, floor)| *floor > 0.0).map(|(ours, floor)| ours / floor))
    };
    let beside = all().filter(|(e, _)| e.role() != Role::Ours).map(|(entrant, runs)| {
        let sum = Sum::of(runs);
        let waits = &sum.waits;
        let beside = Beside {
            p50_us: waits.quantile_us(0.5),
            p99_us: waits.quantile_us(0.99),
            wait_max_us: waits.max_us(),
            jain: sum.jain,
        };
        (entrant.name().to_owned(), beside)
    });
    let peers = all().filter(|(e, _)| e.role() == Role::Peer);
    let peers = peers.filter_map(|(e, runs)| Some((e.name().to_owned(), Sum::of(runs).rate_per_s?)));
    Row {
        engine: engine.to_owned(),
        case: load.case.to_string(),
        tasks: load.tasks,
        hold_us: u64::try_from(load.hold.as_micros()).unwrap_or(u64::MAX),
        rate_per_s: sum.rate_per_s,
        floor_per_s: Sum::of(floor).rate_per_s,
        ratio: ratio(|run| Some(run.rate_per_s)),
        ratio_per_cpu: ratio(|run| run.cpu.filter(|cpu| *cpu > 0.0).map(|cpu| run.rate_per_s / cpu)),
        peers: peers.collect(),
        p50_us: sum.waits.quantile_us(0.5),
        p99_us: sum.waits.quantile_us(0.99),
        wait_max_us: sum.waits.max_us(),
        jain: sum.jain,
        requests_per_s: median(ours.iter().filter_map(|run| run.requests_per_s)),
        cpu: median(ours.iter().filter_map(|run| run.cpu)),
        beside: beside.collect(),
    }
}
