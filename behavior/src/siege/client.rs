//! A client under siege: a process with an engine of its own, some tasks, and what they held.

use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use leasehold::{Client, Guard, Mode, Moment, RwLock};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::watch;

use super::history::Hold;
use crate::verdict::Verdict;

/// How long a hold lasts, in milliseconds.
const HOLD_MS: std::ops::Range<u64> = 1..60;

/// What all tasks of all clients come to.
#[derive(Debug, Default)]
pub(crate) struct Record {
    pub(crate) holds: Mutex<Vec<Hold>>,
    pub(crate) tally: Mutex<Tally>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    /// Holds that ended before they were let go.
    pub(crate) lost: usize,
    /// Tries that ended in an error.
    pub(crate) errors: usize,
    /// Tries that were given up: out of patience, or dropped on the way.
    pub(crate) given_up: usize,
}

/// What one task does until the siege is over: waits, tries, gives up, holds, reads and writes, by a seed.
pub(crate) async fn live(
    client: Client,
    locks: Vec<String>,
    seed: u64,
    record: Arc<Record>,
    mut over: watch::Receiver<bool>,
) -> Verdict {
    let mut rng = StdRng::seed_from_u64(seed);
    while !*over.borrow_and_update() {
        let at = rng.random_range(0..locks.len());
        let lock = client.rwlock(&locks[at])?;
        match acquire(&client, &lock, &mut rng).await {
            Ok(Some(guard)) => {
                let span = Duration::from_millis(rng.random_range(HOLD_MS));
                hold(&client, guard, at, span, &record).await;
            }
            Ok(None) => record.tally.lock().expect("no panic under it").given_up += 1,
            Err(_) => {
                record.tally.lock().expect("no panic under it").errors += 1;
                // An engine that is down answers fast: let others have the processor.
                pause(&client, Duration::from_millis(20)).await;
            }
        }
    }
    Ok(())
}

async fn pause(client: &Client, span: Duration) {
    client.clock().sleep_until(client.clock().now() + span).await;
}

/// One of the ways to come by a lock.
async fn acquire(client: &Client, lock: &RwLock, rng: &mut StdRng) -> leasehold::Result<Option<Guard>> {
    let patience = Duration::from_millis(rng.random_range(1..5_000));
    match rng.random_range(0..10) {
        0..4 => lock.write().await.map(Some),
        4..6 => lock.write_timeout(patience).await,
        6..8 => lock.read_timeout(patience).await,
        8 => lock.try_write().await,
        // Dropped on the way.
        _ => tokio::select! {
            biased;
            guard = lock.write() => guard.map(Some),
            () = pause(client, patience / 50) => Ok(None),
        },
    }
}

/// Holds for a while, or until it is lost, and writes down what was believed.
async fn hold(client: &Client, guard: Guard, lock: usize, span: Duration, record: &Record) {
    let clock = client.clock();
    // Read first, then asked: whoever is paused between the two believes in nothing.
    let from = clock.now();
    if !guard.is_valid() {
        return;
    }
    let end = from + span;
    let lost = tokio::select! {
        biased;
        () = guard.lost() => true,
        () = clock.sleep_until(end) => false,
    };
    let until = clock.now().min(guard.deadline());
    let held = Hold { lock, mode: guard.mode(), token: guard.token().get(), from, until };
    record.holds.lock().expect("no panic under it").push(held);
    record.tally.lock().expect("no panic under it").lost += usize::from(lost);
    // What could not be let go now is let go by the driver.
    drop(guard.release().await);
}

/// The longest time in which nobody came to hold anything, in a history.
pub(crate) fn longest_gap(holds: &[Hold]) -> Duration {
    let mut from: Vec<Moment> = holds.iter().map(|hold| hold.from).collect();
    from.sort_unstable();
    from.windows(2).map(|pair| pair[1].since(pair[0])).max().unwrap_or_default()
}

/// Whether a hold was exclusive.
pub(crate) fn is_exclusive(hold: &Hold) -> bool {
    hold.mode == Mode::Exclusive
}
