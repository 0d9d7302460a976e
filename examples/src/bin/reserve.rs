//! A reservation from a stock that is being counted. The count takes long, and ends by writing down what it has seen. With
//! the lock it is renewed for as long as that takes, and whoever wants to reserve waits for it, up to five seconds.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use leasehold::Client;
use leasehold_examples::{Outcome, Stage, say, unique, work};
use tokio::sync::oneshot::{Sender, channel};

const IN_STOCK: u64 = 10;
const TTL_OF_THE_COUNT: Duration = Duration::from_secs(1);
const TTL_OF_A_RESERVATION: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(5);

#[tokio::main]
async fn main() -> Outcome {
    let stage = Stage::new()?;
    without().await?;
    with(&stage.locks().await?, &unique("inventory/42")).await
}

async fn without() -> Outcome {
    let stock = Arc::new(AtomicU64::new(IN_STOCK));
    let (began, begun) = channel();
    let counting = tokio::spawn(count(Arc::clone(&stock), began));
    begun.await?;
    stock.fetch_sub(1, SeqCst);
    counting.await??;
    say(format_args!("without the lock: {IN_STOCK} in stock, 1 reserved, {} left", stock.load(SeqCst)));
    Ok(())
}

async fn with(locks: &Client, name: &str) -> Outcome {
    let stock = Arc::new(AtomicU64::new(IN_STOCK));
    let (began, begun) = channel();
    let counting = tokio::spawn({
        let (lock, stock) = (locks.mutex(name)?.ttl(TTL_OF_THE_COUNT), Arc::clone(&stock));
        // It would be cancelled if the lock were lost.
        let run = async move |lease: leasehold::Lease| {
            let first = lease.deadline();
            count(stock, began).await.map(|()| lease.deadline() > first)
        };
        async move { lock.run(run).await }
    });
    begun.await?;
    let impatient = locks.mutex(name)?.try_lock().await?;
    say(format_args!("who does not wait {}", told(impatient.is_some())));
    let patient = locks.mutex(name)?.ttl(TTL_OF_A_RESERVATION).lock_timeout(PATIENCE).await?;
    say(format_args!("who waits for 5 s {}", told(patient.is_some())));
    let renewed = counting.await???;
    say(format_args!("the count was {}renewed on the way", if renewed { "" } else { "not " }));
    let Some(guard) = patient else { return Ok(()) };
    stock.fetch_sub(1, SeqCst);
    guard.release().await?;
    say(format_args!("with the lock: {IN_STOCK} in stock, 1 reserved, {} left", stock.load(SeqCst)));
    Ok(())
}

/// Twice as long as its lock would last by itself.
async fn count(stock: Arc<AtomicU64>, began: Sender<()>) -> Outcome {
    let seen = stock.load(SeqCst);
    began.send(()).map_err(|()| "nobody waits for it to begin")?;
    tokio::task::spawn_blocking(|| work(TTL_OF_THE_COUNT * 2)).await?;
    stock.store(seen, SeqCst);
    Ok(())
}

fn told(has_the_lock: bool) -> &'static str {
    if has_the_lock { "may reserve" } else { "is told that it is busy" }
}
