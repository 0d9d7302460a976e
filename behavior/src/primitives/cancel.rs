//! Futures that are dropped on the way: at every await point, and nothing is left behind.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use leasehold::claim::{Claim, Leave, Refresh};
use leasehold::engine::Standing;
use leasehold::{Client, Mutex, Result};

use crate::broken::{Fault, Inner, broken, queue};
use crate::setup::Setup;
use crate::test::{ONE_QUEUE, Test, test};
use crate::verdict::{Failure, Verdict, ensure};

/// No acquisition takes more polls than this.
const POLLS_MAX: u32 = 60;

/// How long a client may take to let go of everything.
const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test!("cancel", lock_dropped_at_every_await_point_leaks_nothing)
            .catches("does not hear holders leave", |e, _| {
                broken(queue::LeaveUnheard { while_held: true }, e)
            }),
        test!("cancel", lock_dropped_while_it_waits_leaks_nothing)
            .needs(&[ONE_QUEUE])
            .catches("does not hear waiters leave", |e, _| {
                broken(queue::LeaveUnheard { while_held: false }, e)
            }),
        test!("cancel", a_free_lock_dropped_at_every_await_point_leaks_nothing)
            .catches("does not hear holders leave", |e, _| {
                broken(queue::LeaveUnheard { while_held: true }, e)
            }),
        test!("cancel", release_dropped_at_every_await_point_releases),
        test!("cancel", try_lock_dropped_at_every_await_point_leaks_nothing),
    ]
}

/// Not a fault: an engine whose every verb takes a few polls before and after its effect, so that there are
/// await points on engines that answer at once.
#[derive(Debug)]
struct Stutters;

async fn stutter() {
    for _ in 0..2 {
        tokio::task::yield_now().await;
    }
}

impl Fault for Stutters {
    async fn join(&self, to: &Inner, claim: Claim) -> Result<Standing> {
        stutter().await;
        let standing = to.join(claim).await;
        stutter().await;
        standing
    }

    async fn refresh(&self, to: &Inner, ask: Refresh) -> Result<Standing> {
        stutter().await;
        let standing = to.refresh(ask).await;
        stutter().await;
        standing
    }

    async fn leave(&self, to: &Inner, ask: Leave) -> Result<()> {
        stutter().await;
        let left = to.leave(ask).await;
        stutter().await;
        left
    }
}

/// A future that is dropped at its `left`th poll; `None` if that came before its end.
struct Polls<F> {
    inner: Pin<Box<F>>,
    left: u32,
}

impl<F: Future> Future for Polls<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.left -= 1;
        match self.inner.as_mut().poll(cx) {
            Poll::Ready(out) => Poll::Ready(Some(out)),
            // Dropped without waiting to be woken, as a `select!` would drop it.
            Poll::Pending if self.left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    }
}

fn polled<F: Future>(polls: u32, inner: F) -> Polls<F> {
    Polls { inner: Box::pin(inner), left: polls }
}

/// Drops what `attempt` makes at its first poll, at its second and so on, until it comes to its end. Each time,
/// when the client has been shut down, nothing of it is left.
async fn at_every_point(
    setup: &Setup,
    attempt: impl AsyncFn(&Mutex, &Mutex, u32) -> Verdict<bool>,
) -> Verdict {
    let other = setup.client().await?;
    let name = setup.name("m");
    let theirs = other.mutex(&name)?;
    for polls in 1..POLLS_MAX {
        let engine = broken(Stutters, setup.engine().await?);
        let client = Client::builder_dyn(engine).ttl(setup.ttl()).spawn()?;
        let ended = attempt(&client.mutex(&name)?, &theirs, polls).await?;
        client.shutdown(SHUTDOWN_PATIENCE).await?;
        let probe = setup.probe_of(other.engine().clone(), setup.env.clone());
        // In chaos, a second copy of a `join` may come after the `leave`: it dies by its TTL.
        let left = if setup.stack.layers.is_empty() { probe.queues().await? } else { Vec::new() };
        ensure!(left.is_empty(), "dropped at poll {polls}, it left {left:?}");
        let next = setup.within("the lock can be had", theirs.lock()).await??;
        drop(next.release().await);
        setup.emptied(&other).await?;
        if ended {
            ensure!(polls > 2, "there were no await points to drop it at");
            return Ok(());
        }
    }
    Err(Failure::Violation(format!("it did not come to its end within {POLLS_MAX} polls")))
}

async fn lock_dropped_at_every_await_point_leaks_nothing(setup: Setup) -> Verdict {
    at_every_point(&setup, async |lock, theirs, polls| {
        let holder = theirs.lock().await?;
        let waiting = tokio::spawn({
            let lock = lock.clone();
            async move { polled(polls, lock.lock()).await.transpose() }
        });
        // It may be let go before, while or after the other waits: all orders come up.
        for _ in 0..polls % 7 {
            tokio::task::yield_now().await;
        }
        drop(holder.release().await);
        Ok(setup.within("it ends or is dropped", waiting).await???.is_some())
    })
    .await
}

/// Dropped when the engine has said that it waits, and some polls after that.
async fn lock_dropped_while_it_waits_leaks_nothing(setup: Setup) -> Verdict {
    let other = setup.client().await?;
    let holder = other.mutex(&setup.name("m"))?.lock().await?;
    for more in 0..10 {
        let (client, seen) = setup.watched().await?;
        let lock = client.mutex(&setup.name("m"))?;
        tokio::select! {
            biased;
            got = lock.lock() => ensure!(false, "{got:?} was had while {holder:?} is held"),
            waits = setup.within("it waits", async {
                seen.queued(1).await;
                for _ in 0..more {
                    tokio::task::yield_now().await;
                }
            }) => waits?,
        }
        client.shutdown(SHUTDOWN_PATIENCE).await?;
        let probe = setup.probe_of(other.engine().clone(), setup.env.clone());
        let left = probe.queues().await?.iter().map(|q| q.claims.len()).sum::<usize>();
        ensure!(left == 1 || !setup.stack.layers.is_empty(), "beside the holder {} are left", left - 1);
    }
    drop(holder);
    setup.emptied(&other).await
}

async fn a_free_lock_dropped_at_every_await_point_leaks_nothing(setup: Setup) -> Verdict {
    at_every_point(&setup, async |lock, _, polls| Ok(polled(polls, lock.lock()).await.transpose()?.is_some()))
        .await
}

async fn release_dropped_at_every_await_point_releases(setup: Setup) -> Verdict {
    at_every_point(&setup, async |lock, _, polls| {
        let guard = lock.lock().await?;
        Ok(polled(polls, guard.release()).await.is_some())
    })
    .await
}

async fn try_lock_dropped_at_every_await_point_leaks_nothing(setup: Setup) -> Verdict {
    at_every_point(&setup, async |lock, theirs, polls| {
        let holder = theirs.lock().await?;
        let tried = polled(polls, lock.try_lock()).await.transpose()?;
        ensure!(!matches!(tried, Some(Some(_))), "a held lock was had by trying");
        drop(holder.release().await);
        Ok(tried.is_some())
    })
    .await
}
