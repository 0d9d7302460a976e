//! `leasehold bench`: what an engine does for this user, on this machine.

use std::sync::Arc;

use leasehold::Env;
use leasehold_bench::{Choice, Load, Ours, Progress, Row, rounds, runtime, table};

use crate::args::BenchArgs;
use crate::exit::{End, Failure};
use crate::output::{data, json};

/// Measures. There is nobody to take turns with, so each row is run in one go.
pub(crate) fn bench(url: &str, args: &BenchArgs) -> Result<End, Failure> {
    let choice =
        Choice { case: args.case, tasks: args.tasks, hold: args.hold, span: args.seconds, ttl: None };
    let loads = choice.loads()?;
    // Not the runtime of the other commands: here many tasks are to run at once.
    let rows = runtime()?.block_on(measure(url, &loads))?;
    if args.json {
        json(&rows)?
    } else {
        data(table(&rows))?
    }
    Ok(End::Code(0))
}

async fn measure(url: &str, loads: &[Load]) -> leasehold::Result<Vec<Row>> {
    let env = Env::system();
    let engine = leasehold::open(url).await?;
    let name = engine.info().engine;
    let us = [Ours::entrant(Arc::clone(&engine), &env)];
    let progress = Progress::new(loads.len());
    let mut rows = Vec::with_capacity(loads.len());
    for load in loads {
        rows.push(rounds::run(name, load, 1, &us, &mut |step| progress.step(step)).await?);
        progress.row();
    }
    progress.end();
    Ok(rows)
}
