//! A job that three nodes start at the same time, and that must run once.

use std::time::Duration;

use leasehold_examples::{Actor, Outcome, Stage, say, unique, wait_for_cue};

const NODES: usize = 3;

#[tokio::main]
async fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [role, engine, lock] = &arguments[..]
        && role == "node"
    {
        return node(engine, lock).await;
    }
    let stage = Stage::new()?;
    for (what, lock) in [("without the lock", String::new()), ("with the lock", unique("nightly"))] {
        let start = |_| Actor::start(&["node", stage.engine(), &lock]);
        let mut nodes = (0..NODES).map(start).collect::<Outcome<Vec<_>>>()?;
        for node in &mut nodes {
            node.says()?;
        }
        // One after the other: their clocks differ, and a job that is done at once is done by the time the last one asks.
        let mut ran = 0;
        for node in &mut nodes {
            node.go_on()?;
            ran += usize::from(node.says()? == "ran");
        }
        say(format_args!("{what}: {NODES} nodes, the job ran {ran} times"));
    }
    Ok(())
}

async fn node(engine: &str, lock: &str) -> Outcome {
    let locks = leasehold::connect(engine).await?;
    say("ready");
    wait_for_cue()?;
    if lock.is_empty() {
        say("ran");
        return Ok(());
    }
    // Kept for a minute, though the job takes a moment: longer than clocks differ, shorter than a day.
    let lock = locks.mutex(lock)?.at_least(Duration::from_secs(60));
    match lock.try_lock().await? {
        Some(guard) => {
            guard.release().await?;
            say("ran");
        }
        None => say("left it to another node"),
    }
    Ok(())
}
