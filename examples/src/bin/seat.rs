//! One seat, two replicas of the bookings that lag, and a customer at each.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use leasehold::Client;
use leasehold_examples::{Outcome, Stage, say, unique, work};
use tokio::sync::Barrier;

/// How long a booking takes from one replica to the other.
const LAG: Duration = Duration::from_millis(100);

/// Who has booked the seat, as one replica knows.
type Replica = Arc<Mutex<Vec<&'static str>>>;

#[tokio::main]
async fn main() -> Outcome {
    let stage = Stage::new()?;
    let locks = stage.locks().await?;
    let without = show(&locks, None).await?;
    say(format_args!("without the lock: seat 12A is booked by {}", without.join(" and ")));
    let with = show(&locks, Some(&unique("seat/12A"))).await?;
    say(format_args!("with the lock: seat 12A is booked by {}", with.join(" and ")));
    Ok(())
}

/// Two customers book at the same time, each at a replica of their own. Who has got the seat in the end.
async fn show(locks: &Client, lock: Option<&str>) -> Outcome<Vec<&'static str>> {
    let replicas = [Replica::default(), Replica::default()];
    let start = Arc::new(Barrier::new(2));
    let mut customers = Vec::new();
    for (at, who) in ["Ann", "Bob"].into_iter().enumerate() {
        let lock = lock.map(|name| locks.mutex(name)).transpose()?;
        let (mine, other) = (Arc::clone(&replicas[at]), Arc::clone(&replicas[1 - at]));
        let start = Arc::clone(&start);
        customers.push(tokio::spawn(async move {
            start.wait().await;
            match lock {
                None => {
                    let replicated = book(who, &mine, other);
                    // Somebody waits for it, but not the customer.
                    if let Some(replicated) = replicated {
                        replicated.await?;
                    }
                }
                Some(lock) => {
                    let guard = lock.lock().await?;
                    // The lock is over when all replicas know, not when one does: else the next reads the past.
                    if let Some(replicated) = book(who, &mine, other) {
                        replicated.await?;
                    }
                    guard.release().await?;
                }
            }
            Outcome::Ok(())
        }));
    }
    for customer in customers {
        customer.await??;
    }
    let mut bookings = replicas[0].lock().map_err(|_| "a customer panicked")?.clone();
    bookings.sort_unstable();
    Ok(bookings)
}

/// Books at this replica, if it is free as far as that one knows, and sends it to the other.
fn book(who: &'static str, mine: &Replica, other: Replica) -> Option<tokio::task::JoinHandle<()>> {
    let mut seen = mine.lock().expect("nobody panics under it");
    if !seen.is_empty() {
        return None;
    }
    seen.push(who);
    Some(tokio::task::spawn_blocking(move || {
        work(LAG);
        other.lock().expect("nobody panics under it").push(who);
    }))
}
