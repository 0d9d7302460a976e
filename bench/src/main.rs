//! Our own benchmarks: an engine beside its floor and beside peers, in one run. See docs/benchmarks.md.

mod args;
mod contest;
mod processes;
mod servers;
mod whole;

use std::process::ExitCode;

use clap::Parser;
use leasehold_bench::rounds::{self, Step};
use leasehold_bench::{Load, Progress, Row, runtime, table};
use leasehold_core::engine::Reach;
use leasehold_core::{Env, Error, ErrorKind, Result};

use args::{Args, Role, Which};
use contest::Contest;
use servers::Servers;

#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the figures are for standard output, errors are not"
)]
fn main() -> ExitCode {
    let args = Args::parse();
    let said = runtime().and_then(|runtime| match &args.role {
        Some(Role::Worker(worker)) => runtime.block_on(processes::work(worker)),
        None => runtime.block_on(bench(&args)),
    });
    match said {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs what was asked for; the results as text.
async fn bench(args: &Args) -> Result<String> {
    let env = Env::system();
    let servers = args.start.map(Servers::start).transpose()?;
    let url = servers.as_ref().map_or_else(|| args.engine.clone(), |servers| servers.url.clone());
    let contest = Contest::open(&url, &env).await?;
    let rows = plan(args, &contest)?;
    let progress = Progress::new(rows.len());
    let mut show = |step: &Step<'_>| progress.step(step);
    let mut results = Vec::new();
    for (which, load) in rows {
        let mut entrants = match which {
            Which::Of(_) => contest.entrants(&load)?,
            Which::Processes => processes::entrants(&contest)?,
            Which::Run => whole::entrants(&contest, args.cli()?),
        };
        entrants
            .retain(|entrant| args.only.is_empty() || args.only.iter().any(|name| name == entrant.name()));
        let row = rounds::run(contest.engine(), &load, args.rounds, &entrants, &mut show).await?;
        results.push(Row { case: which.to_string(), ..row });
        progress.row();
    }
    progress.end();
    if !args.json {
        return Ok(table(&results));
    }
    serde_json::to_string_pretty(&results)
        .map_err(|e| Error::new(ErrorKind::Unexpected, "bench", "the rows are no JSON").with_source(e))
}

/// The rows to run: what was asked for, or all that this engine and this machine can do.
fn plan(args: &Args, contest: &Contest) -> Result<Vec<(Which, Load)>> {
    let mut rows = Vec::new();
    let asked = |which: Which| args.case == Some(which);
    if args.case.is_none_or(|case| matches!(case, Which::Of(_))) {
        rows.extend(args.choice().loads()?.into_iter().map(|load| (Which::Of(load.case), load)));
    }
    let shared = contest.reach() > Reach::Process;
    if !shared && (asked(Which::Processes) || asked(Which::Run)) {
        let message = "the engine is within one process; choose one that processes share, such as `sqlite:`";
        return Err(Error::new(ErrorKind::InvalidInput, "bench", message));
    }
    if asked(Which::Processes) || args.case.is_none() && shared {
        rows.push((Which::Processes, args.alone(2)?));
    }
    // Asked for, it is an error that the command is not there; it is not built with this program.
    if asked(Which::Run) || args.case.is_none() && shared && args.cli().is_ok() {
        args.cli()?;
        rows.push((Which::Run, args.alone(1)?));
    }
    Ok(rows)
}
