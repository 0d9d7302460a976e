//! Readers and writers, and permits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use futures_util::future::try_join_all;
use leasehold::Mode;
use tokio::sync::Barrier;

use crate::setup::Setup;
use crate::test::{PERMITS, SHARED, Test, test};
use crate::verdict::{Failure, Verdict, ensure};

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test!("sharing", readers_share).needs(&[SHARED]),
        test!("sharing", a_writer_excludes_everybody).needs(&[SHARED]),
        test!("sharing", a_writer_is_not_starved_by_readers).needs(&[SHARED]),
        test!("sharing", a_semaphore_is_never_above_its_size).needs(&[PERMITS]),
        test!("sharing", a_big_request_is_not_starved_by_small_ones).needs(&[PERMITS]),
    ]
}

async fn readers_share(setup: Setup) -> Verdict {
    let client = setup.client().await?;
    let lock = client.rwlock(&setup.name("rw"))?;
    let all_inside = Arc::new(Barrier::new(8));
    let readers = (0..8).map(|_| {
        let (lock, all_inside) = (lock.clone(), Arc::clone(&all_inside));
        tokio::spawn(async move {
            let guard = lock.read().await?;
            // Nobody passes before all eight are inside.
            all_inside.wait().await;
            Ok::<_, Failure>((guard.mode(), guard.is_valid()))
        })
    });
    for reader in setup.within("eight readers read at once", try_join_all(readers)).await?? {
        ensure!(reader? == (Mode::Shared, true), "a reader lost its lock");
    }
    setup.emptied(&client).await
}

/// How many are inside, readers in the low half and writers in the high half.
const WRITER: u32 = 1 << 16;

async fn a_writer_excludes_everybody(setup: Setup) -> Verdict {
    let client = setup.client().await?;
    let lock = client.rwlock(&setup.name("rw"))?;
    let inside = Arc::new(AtomicU32::new(0));
    let turns = if setup.stack.layers.is_empty() { 40 } else { 8 };
    let tasks = (0..8u32).map(|who| {
        let (lock, inside) = (lock.clone(), Arc::clone(&inside));
        tokio::spawn(async move {
            for turn in 0..turns {
                let writes = (who + turn) % 4 == 0;
                let guard = if writes { lock.write().await? } else { lock.read().await? };
                let me = if writes { WRITER } else { 1 };
                let before = inside.fetch_add(me, Ordering::SeqCst);
                ensure!(
                    if writes { before == 0 } else { before < WRITER },
                    "inside before {}: {before:#x}",
                    if writes { "a writer" } else { "a reader" }
                );
                tokio::task::yield_now().await;
                inside.fetch_sub(me, Ordering::SeqCst);
                drop(guard.release().await);
            }
            Ok::<_, Failure>(())
        })
    });
    for task in try_join_all(tasks).await? {
        task?;
    }
    setup.emptied(&client).await
}

/// Readers come all the time, and never a moment without one; the writer gets in between.
async fn a_writer_is_not_starved_by_readers(setup: Setup) -> Verdict {
    let (client, seen) = setup.watched().await?;
    let lock = client.rwlock(&setup.name("rw"))?;
    let first = lock.read().await?;
    let writer = tokio::spawn({
        let lock = lock.clone();
        async move { lock.write().await }
    });
    setup.within("the writer waits", seen.queued(1)).await?;
    ensure!(lock.try_read().await?.is_none(), "a reader overtook a waiting writer");
    let late: Vec<_> = (0..4)
        .map(|_| {
            let lock = lock.clone();
            tokio::spawn(async move { lock.read().await })
        })
        .collect();
    // The writer, the reader that only tried, and these four.
    setup.within("four readers wait behind the writer", seen.queued(6)).await?;
    drop(first);
    let writer = setup.within("the writer gets in", writer).await???;
    let token = writer.token();
    drop(writer);
    for reader in setup.within("the readers get in", try_join_all(late)).await?? {
        ensure!(reader?.token() > token, "a later reader got in before the writer");
    }
    setup.emptied(&client).await
}

async fn a_semaphore_is_never_above_its_size(setup: Setup) -> Verdict {
    const SIZE: u32 = 5;
    let client = setup.client().await?;
    let semaphore = client.semaphore(&setup.name("s"), SIZE)?;
    let (taken, most) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let turns = if setup.stack.layers.is_empty() { 25 } else { 5 };
    let tasks = (0..16u32).map(|who| {
        let (semaphore, taken, most) = (semaphore.clone(), Arc::clone(&taken), Arc::clone(&most));
        tokio::spawn(async move {
            for turn in 0..turns {
                let weight = (who + turn) % 3 + 1;
                let permit = semaphore.acquire_many(weight).await?;
                let now = taken.fetch_add(weight, Ordering::SeqCst) + weight;
                most.fetch_max(now, Ordering::SeqCst);
                ensure!(now <= SIZE, "{now} of {SIZE} permits are out");
                tokio::task::yield_now().await;
                taken.fetch_sub(weight, Ordering::SeqCst);
                drop(permit.release().await);
            }
            Ok::<_, Failure>(())
        })
    });
    for task in try_join_all(tasks).await? {
        task?;
    }
    // All permits at once, so it is not just never above, but as far as.
    let all = try_join_all((0..SIZE).map(|_| semaphore.acquire())).await?;
    ensure!(all.len() == SIZE as usize, "not all permits can be had");
    drop(all);
    setup.emptied(&client).await
}

async fn a_big_request_is_not_starved_by_small_ones(setup: Setup) -> Verdict {
    let (client, seen) = setup.watched().await?;
    let semaphore = client.semaphore(&setup.name("s"), 4)?;
    let small = semaphore.acquire().await?;
    let big = tokio::spawn({
        let semaphore = semaphore.clone();
        async move { semaphore.acquire_many(4).await }
    });
    setup.within("the big request waits", seen.queued(1)).await?;
    ensure!(semaphore.try_acquire().await?.is_none(), "a small request overtook a big one");
    drop(small);
    let big = setup.within("the big request is granted", big).await???;
    ensure!(big.is_valid(), "what has just been granted is not valid");
    drop(big);
    setup.emptied(&client).await
}
