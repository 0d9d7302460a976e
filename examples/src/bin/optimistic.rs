//! A versioned row that few or many want: attempts without a lock, the lock alone, and attempts with the lock to fall
//! back on. What counts is how often a row was read for each update that was made.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use leasehold::Client;
use leasehold_examples::{Outcome, Stage, say, unique};
use leasehold_fence::{Memory, optimistic};

const UPDATES: u64 = 200;

/// A row as a database has it, which gives the others a turn between two statements.
#[derive(Default)]
struct Row {
    /// The version and the value.
    row: Mutex<(u64, u64)>,
    reads: AtomicU64,
    fence: Memory,
}

impl Row {
    async fn read(&self) -> (u64, u64) {
        self.reads.fetch_add(1, SeqCst);
        let row = *self.row.lock().expect("nobody panics under it");
        tokio::task::yield_now().await;
        row
    }

    /// A compare-and-set by the version.
    fn write(&self, version: u64, value: u64) -> bool {
        let mut row = self.row.lock().expect("nobody panics under it");
        let unchanged = row.0 == version;
        if unchanged {
            *row = (version + 1, value);
        }
        unchanged
    }

    async fn attempt(&self) -> Option<()> {
        let (version, value) = self.read().await;
        self.write(version, value + 1).then_some(())
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome {
    let stage = Stage::new()?;
    let locks = stage.locks().await?;
    for (contention, tasks) in [("low", 1), ("high", 16)] {
        for (way, tries) in
            [("attempts alone", u32::MAX), ("3 attempts, then the lock", 3), ("the lock alone", 0)]
        {
            let row = Arc::new(Row::default());
            run(&locks, &row, tasks, tries, &unique(&format!("{contention}/{tries}"))).await?;
            let value = row.row.lock().map_err(|_| "a task panicked")?.1;
            let reads = row.reads.load(SeqCst);
            say(format_args!("{contention} contention, {way}: {value} updates, {reads} reads"));
        }
    }
    Ok(())
}

async fn run(locks: &Client, row: &Arc<Row>, tasks: u64, tries: u32, name: &str) -> Outcome {
    let mut running = Vec::new();
    for _ in 0..tasks {
        let (row, lock) = (Arc::clone(row), locks.mutex(name)?);
        running.push(tokio::spawn(async move {
            for _ in 0..UPDATES / tasks {
                let row = &row;
                let force = async move |guard: leasehold::Guard| {
                    let inside = row.fence.enter(&guard).await.map_err(|stale| stale.to_string())?;
                    // Those who try without the lock may still be faster.
                    while row.attempt().await.is_none() {}
                    drop(inside);
                    Outcome::Ok(guard.release().await?)
                };
                optimistic(tries, &lock, async || Ok(row.attempt().await), force).await?;
            }
            Outcome::Ok(())
        }));
    }
    for task in running {
        task.await??;
    }
    Ok(())
}
