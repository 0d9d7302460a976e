//! How holds end: by hand, by dropping, by shutting down, by loss; and the same without async.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use leasehold::{ErrorKind, Manner, blocking};
use tokio::sync::oneshot;

use crate::setup::{Setup, ask};
use crate::test::{ONE_QUEUE, Test, test};
use crate::verdict::{Verdict, ensure};

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test!("ending", a_dropped_guard_lets_go),
        test!("ending", a_dropped_client_lets_go),
        test!("ending", shutdown_leaves_nothing),
        test!("ending", a_revoked_holder_is_past_its_deadline_before_the_next_one_holds).needs(&[ONE_QUEUE]),
        test!("ending", an_evicted_holder_is_followed_at_once).needs(&[ONE_QUEUE]),
        test!("ending", run_releases_when_the_work_is_done),
        test!("ending", run_cancels_the_work_when_the_lock_is_lost),
        test!("ending", the_blocking_api_does_the_same),
    ]
}

async fn a_dropped_guard_lets_go(setup: Setup) -> Verdict {
    let (one, two) = (setup.client().await?, setup.client().await?);
    let name = setup.name("m");
    for _ in 0..10 {
        drop(one.mutex(&name)?.lock().await?);
        let next = setup.within("the next one gets it", two.mutex(&name)?.lock()).await??;
        drop(next);
    }
    setup.emptied(&two).await
}

/// A guard keeps its client's keeper alive; when both are gone, so is the claim.
async fn a_dropped_client_lets_go(setup: Setup) -> Verdict {
    let (one, two) = (setup.client().await?, setup.client().await?);
    let name = setup.name("m");
    let guard = one.mutex(&name)?.ttl(setup.offered(Duration::from_secs(1))).lock().await?;
    drop(one);
    let last = guard.deadline();
    setup.within("the hold is renewed without its client", guard.renewed(last)).await?;
    ensure!(guard.is_valid(), "the hold was lost with its client");
    drop(guard);
    drop(setup.within("the next one gets it", two.mutex(&name)?.lock()).await??);
    setup.emptied(&two).await
}

async fn shutdown_leaves_nothing(setup: Setup) -> Verdict {
    let ((one, seen), two) = (setup.watched().await?, setup.client().await?);
    let mut guards = Vec::new();
    for at in 0..20 {
        guards.push(one.mutex(&setup.name(&format!("held {at}")))?.lock().await?);
    }
    let waiting = tokio::spawn({
        let lock = one.mutex(&setup.name("held 0"))?;
        async move { lock.lock().await.map(drop) }
    });
    setup.within("one waits", seen.queued(1)).await?;
    one.shutdown(Duration::from_secs(20)).await?;
    for guard in &guards {
        setup.within("the guards are lost", guard.lost()).await?;
        ensure!(!guard.is_valid(), "a guard is valid after its client was shut down");
    }
    let refused = setup.within("the waiter is told", waiting).await??;
    ensure!(
        refused.as_ref().is_err_and(|e| e.kind() == ErrorKind::Closed),
        "who waited at a shutdown is told {refused:?}"
    );
    let refused = one.mutex(&setup.name("new"))?.lock().await.map(drop);
    ensure!(
        refused.as_ref().is_err_and(|e| e.kind() == ErrorKind::Closed),
        "a new lock after a shutdown gives {refused:?}"
    );
    setup.emptied(&two).await
}

/// Revoking is safe: when the next one holds, the old one no longer believes that it does.
async fn a_revoked_holder_is_past_its_deadline_before_the_next_one_holds(setup: Setup) -> Verdict {
    let (one, two) = (setup.client().await?, setup.client().await?);
    let name = setup.name("m");
    let guard = one.mutex(&name)?.ttl(setup.offered(Duration::from_secs(1))).lock().await?;
    let key = leasehold::ClaimRef { name: guard.name().clone(), id: guard.id() };
    ask(&*setup.env.clock, async || two.unlock(key.clone(), Manner::Revoke).await).await?;
    let next = setup.within("the next one gets it", two.mutex(&name)?.lock()).await??;
    ensure!(!guard.is_valid(), "the next one holds while the revoked one believes that it does");
    ensure!(next.token() > guard.token(), "the next hold's token is not above");
    let late = guard.release().await;
    ensure!(late.as_ref().is_err_and(|e| e.kind() == ErrorKind::Lost), "a revoked guard's release: {late:?}");
    drop(next);
    setup.emptied(&two).await
}

async fn an_evicted_holder_is_followed_at_once(setup: Setup) -> Verdict {
    let (one, two) = (setup.client().await?, setup.client().await?);
    let lock = one.mutex(&setup.name("m"))?.ttl(setup.endless());
    let guard = lock.lock().await?;
    let key = leasehold::ClaimRef { name: guard.name().clone(), id: guard.id() };
    ask(&*setup.env.clock, async || two.unlock(key.clone(), Manner::Evict).await).await?;
    // Long before the TTL, which no test outlives.
    let next = setup.within("the next one gets it", two.mutex(&setup.name("m"))?.lock()).await??;
    ensure!(next.token() > guard.token(), "only the token tells the two apart, and it is not above");
    drop((guard, next));
    setup.emptied(&two).await
}

async fn run_releases_when_the_work_is_done(setup: Setup) -> Verdict {
    let client = setup.client().await?;
    let lock = client.mutex(&setup.name("m"))?;
    let inner = lock.clone();
    let (valid, busy) = lock
        .run(|lease| async move { (lease.is_valid(), inner.try_lock().await.map(|g| g.is_none())) })
        .await?;
    ensure!(valid && busy?, "the work was not done under the lock");
    setup.emptied(&client).await
}

/// Sets a flag when it is dropped.
struct Flag(Arc<AtomicBool>);

impl Drop for Flag {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

async fn run_cancels_the_work_when_the_lock_is_lost(setup: Setup) -> Verdict {
    let client = setup.client().await?;
    let lock = client.mutex(&setup.name("m"))?.ttl(setup.short());
    let (started, begun) = oneshot::channel();
    let dropped = Arc::new(AtomicBool::new(false));
    let flag = Flag(Arc::clone(&dropped));
    let running = tokio::spawn(async move {
        lock.run(|lease| async move {
            let _flag = flag;
            drop(started.send(lease));
            std::future::pending::<()>().await;
        })
        .await
    });
    let lease = setup.within("the work starts", begun).await?;
    let lease = lease.map_err(|_| crate::verdict::Failure::Trouble("the work did not start".into()))?;
    let key = leasehold::ClaimRef { name: lease.name().clone(), id: lease.id() };
    ask(&*setup.env.clock, async || client.unlock(key.clone(), Manner::Evict).await).await?;
    let ended = setup.within("the work is cancelled", running).await??;
    ensure!(ended.as_ref().is_err_and(|e| e.kind() == ErrorKind::Lost), "cancelled work says {ended:?}");
    ensure!(dropped.load(Ordering::SeqCst), "the work was not dropped");
    ensure!(!lease.is_valid(), "the lost lease is valid");
    setup.emptied(&client).await
}

/// On a thread of its own, as blocking code is; it opens the engine by its URL, without layers.
async fn the_blocking_api_does_the_same(setup: Setup) -> Verdict {
    let (url, name) = (setup.url.clone(), setup.name("m"));
    let (done, ended) = oneshot::channel();
    std::thread::spawn(move || drop(done.send(blocking_round(&url, &name))));
    let ended = setup.within("blocking code comes to its end", ended).await?;
    ended.map_err(|_| crate::verdict::Failure::Violation("blocking code panicked".into()))?
}

fn blocking_round(url: &str, name: &str) -> Verdict {
    let locks = blocking::connect(url)?;
    let lock = locks.mutex(name)?;
    let guard = lock.lock()?;
    ensure!(guard.is_valid(), "what was just locked is not valid");
    ensure!(lock.try_lock()?.is_none(), "a held lock was had by trying");
    ensure!(lock.lock_timeout(Duration::from_millis(20))?.is_none(), "a held lock was had by waiting");
    let (token, waiter) = (guard.token(), lock.clone());
    let waiting = std::thread::spawn(move || waiter.lock().map(|g| g.token()));
    guard.release()?;
    match waiting.join() {
        Ok(next) => ensure!(next? > token, "the next hold's token is not above"),
        Err(_) => ensure!(false, "the waiting thread panicked"),
    }
    let answer = lock.run(|lease| if lease.is_valid() { 42 } else { 0 })?;
    ensure!(answer == 42, "the work was not done under the lock");
    if locks.info().shared {
        let shared = locks.rwlock(&format!("{name} rw"))?;
        let (one, two) = (shared.read()?, shared.read()?);
        ensure!(shared.try_write()?.is_none(), "a writer came between readers");
        one.release()?;
        two.release()?;
    }
    Ok(locks.shutdown(Duration::from_secs(20))?)
}
