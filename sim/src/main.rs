//! `leasehold-sim`: runs seeds, and replays one with its trace.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it is a command")]

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::Parser;
use leasehold_sim::campaign::{self, Campaign, Failure};
use leasehold_sim::check::Violation;
use leasehold_sim::mutation::Mutation;
use leasehold_sim::world::plan::Realm;

/// So many lines of a trace are shown for a failing seed.
const TAIL_LINES: usize = 40;
/// So many failing seeds are shown.
const FAILURES_SHOWN: usize = 5;

/// Runs leasehold's real client on simulated time, with faults by seed.
///
/// Exit code 0: every seed passed. 1: a rule was broken. 2: the two runs of a seed differ, or bad usage.
#[derive(Parser, Debug)]
#[command(version)]
struct Args {
    /// How many seeds to run, each twice
    #[arg(long, default_value_t = 1000, conflicts_with = "seed")]
    seeds: u64,
    /// The first of them
    #[arg(long, default_value_t = 0, conflicts_with = "seed")]
    from: u64,
    /// Run only this seed
    #[arg(long)]
    seed: Option<u64>,
    /// Worlds in which a quorum of engines keeps the locks
    #[arg(long)]
    quorum: bool,
    /// Print what happens in it
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Break something on purpose, to see that it is noticed; `list` for what there is
    #[arg(long = "break", value_name = "MUTATION")]
    mutation: Option<String>,
    /// How many threads; by default as many as there are processors
    #[arg(long)]
    jobs: Option<usize>,
    /// Stop at the first seed that fails
    #[arg(long)]
    stop: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if args.mutation.as_deref() == Some("list") {
        for mutation in Mutation::ALL {
            println!(
                "{:20} {} Caught within {} seeds.",
                mutation.name(),
                mutation.about(),
                mutation.within()
            );
        }
        return ExitCode::SUCCESS;
    }
    let mutation = match args.mutation.as_deref().map(str::parse).transpose() {
        Ok(mutation) => mutation,
        Err(why) => {
            eprintln!("leasehold-sim: {why}");
            return ExitCode::from(2);
        }
    };
    let realm = if args.quorum { Realm::Quorum } else { mutation.map(Mutation::realm).unwrap_or_default() };
    let broken = mutation.map_or(String::new(), |m: Mutation| format!(" break={}", m.name()));
    let (from, seeds) = args.seed.map_or((args.from, args.seeds), |seed| (seed, 1));
    let jobs = args.jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let version = env!("CARGO_PKG_VERSION");
    println!("leasehold-sim {version} seeds={from}..{} jobs={jobs}{broken}", from.saturating_add(seeds));
    if args.trace {
        println!("{:#?}", realm.plan(from));
        campaign::once(realm, from, mutation, true).lines.iter().for_each(|line| println!("{line}"));
    }
    // A panic in the simulated world is reported with its seed; the hook's message would come without.
    std::panic::set_hook(Box::new(|_| ()));
    let summary = Campaign { realm, from, seeds, jobs, mutation, stop: args.stop }.run();
    for (seed, failure) in summary.failures.iter().take(FAILURES_SHOWN) {
        show(realm, *seed, failure, mutation, args.trace);
    }
    let mut rules: BTreeMap<String, u64> = BTreeMap::new();
    for failure in summary.failures.values() {
        let rule = match failure {
            Failure::Violation(violation) => violation.rule.to_string(),
            Failure::Differs => "not deterministic".into(),
        };
        *rules.entry(rule).or_default() += 1;
    }
    for (rule, count) in rules {
        println!("{count:6} x {rule}");
    }
    println!(
        "{} seeds, each twice: {} failed; {} events, {} guards, {:.1} h simulated",
        summary.seeds,
        summary.failures.len(),
        summary.events,
        summary.grants,
        summary.simulated.as_secs_f64() / 3600.0
    );
    if summary.failures.values().any(|failure| *failure == Failure::Differs) {
        return ExitCode::from(2);
    }
    if summary.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) }
}

/// Shows why a seed failed, what happened before, and how to see all of it.
fn show(realm: Realm, seed: u64, failure: &Failure, mutation: Option<Mutation>, traced: bool) {
    match failure {
        Failure::Differs => {
            println!("\nseed {seed}: its two runs differ; the simulation is not deterministic")
        }
        Failure::Violation(violation) => {
            if !traced {
                println!();
                tail(realm, seed, violation, mutation).iter().for_each(|line| println!("    {line}"));
            }
            println!("seed {seed} violates {violation}");
        }
    }
    let broken = mutation.map_or(String::new(), |m| format!(" --break {}", m.name()));
    let quorum = if realm == Realm::Quorum { " --quorum" } else { "" };
    println!("replay: cargo run -p leasehold-sim --release -- --seed {seed} --trace{quorum}{broken}\n");
}

/// The end of a trace, up to when the rule was broken.
fn tail(realm: Realm, seed: u64, violation: &Violation, mutation: Option<Mutation>) -> Vec<String> {
    let mut lines = campaign::once(realm, seed, mutation, true).lines;
    if let Some(at) = violation.at {
        let millis = |line: &String| line.split_whitespace().next().and_then(|t| t.parse::<f64>().ok());
        lines.retain(|line| millis(line).is_some_and(|ms| ms <= at as f64 / 1e6 + 1e-6));
    }
    lines.split_off(lines.len().saturating_sub(TAIL_LINES))
}
