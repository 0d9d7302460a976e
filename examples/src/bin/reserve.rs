//! A stock that is reserved from, waiting five seconds at most, while a long reconciliation holds it and renews itself.

use std::time::Duration;

use leasehold_examples::{Outcome, Stage, say, unique, work};

const TTL: Duration = Duration::from_millis(500);

#[tokio::main]
async fn main() -> Outcome {
    let stage = Stage::new()?;
    let locks = stage.locks().await?;
    let name = unique("inventory/42");

    // Three times its TTL: it is renewed while it runs, and would be cancelled if it were lost.
    let (began, begun) = tokio::sync::oneshot::channel();
    let reconciliation = tokio::spawn({
        let lock = locks.mutex(&name)?.ttl(TTL);
        async move {
            lock.run(async |lease| {
                began.send(()).unwrap_or_default();
                let first = lease.deadline();
                tokio::task::spawn_blocking(|| work(TTL * 3)).await.map(|()| lease.deadline() > first)
            })
            .await
        }
    });
    begun.await?;

    let impatient = locks.mutex(&name)?.try_lock().await?;
    say(format_args!("who does not wait: {}", if impatient.is_some() { "reserved" } else { "busy" }));
    let reserved =
        locks.mutex(&name)?.ttl(Duration::from_secs(10)).lock_timeout(Duration::from_secs(5)).await?;
    let renewed = reconciliation.await???;
    say(format_args!(
        "the reconciliation: done, {}",
        if renewed { "renewed on the way" } else { "never renewed" }
    ));
    match reserved {
        Some(guard) => {
            say("who waits for 5 s: reserved");
            guard.release().await?;
        }
        None => say("who waits for 5 s: busy"),
    }
    Ok(())
}
