//! A lock, its token, and what happens to a second holder.
//!
//! `cargo run -p leasehold --example quickstart -- [ENGINE URL]`, by default the SQLite file of this user: start it
//! in two terminals and they take turns.
#![expect(clippy::print_stdout, reason = "an example is there to be read")]

use std::time::Duration;

#[tokio::main(flavor = "current_thread")]
async fn main() -> leasehold::Result<()> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "sqlite:".into());
    let locks = leasehold::connect(&url).await?;
    println!("{url} serves {:?}", locks.info().purpose());

    let lock = locks.mutex("quickstart")?.ttl(Duration::from_secs(10));
    let guard = match lock.try_lock().await? {
        Some(guard) => guard,
        None => {
            println!("somebody else has it; waiting in the queue");
            lock.lock().await?
        }
    };
    // Hand this number to the storage with every access; it refuses lower ones.
    println!("held with token {}, valid for {:?} without a renewal", guard.token(), guard.remaining());
    guard.release().await?;

    // The work is cancelled if the lock is lost while it runs.
    let sum = lock.run(|lease| async move { format!("done under token {}", lease.token()) }).await?;
    println!("{sum}");
    locks.shutdown(Duration::from_secs(5)).await
}
