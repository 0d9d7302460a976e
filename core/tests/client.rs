//! The client over the memory engine, in real time. The simulator attacks the same code on simulated time.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use leasehold_core::observe::{Event, Observer, What};
use leasehold_core::{Client, Env, ErrorKind, Guarantee, Manner, Memory, Query};

use common::{Told, queue_lengths};

fn client() -> Client {
    Client::new(Memory::new(Env::system())).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_tasks_take_turns() {
    let client = client();
    let (inside, turns, last) =
        (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)), Arc::new(AtomicU64::new(0)));
    let tasks: Vec<_> = (0..100)
        .map(|_| {
            let (client, inside, turns, last) = (client.clone(), inside.clone(), turns.clone(), last.clone());
            tokio::spawn(async move {
                for _ in 0..20 {
                    let guard = client.mutex("m").unwrap().lock().await.unwrap();
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                    assert!(last.swap(guard.token().get(), Ordering::SeqCst) < guard.token().get());
                    tokio::task::yield_now().await;
                    inside.fetch_sub(1, Ordering::SeqCst);
                    turns.fetch_add(1, Ordering::SeqCst);
                    guard.release().await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(turns.load(Ordering::SeqCst), 2000);
    assert!(queue_lengths(client.engine().as_ref()).await.is_empty());
}

#[tokio::test]
async fn readers_share_writers_do_not() {
    let client = client();
    let lock = client.rwlock("rw").unwrap();
    let (a, b) = (lock.read().await.unwrap(), lock.read().await.unwrap());
    assert_ne!(a.token(), b.token());
    assert!(lock.try_write().await.unwrap().is_none());
    drop(a);
    b.release().await.unwrap();
    let writer = lock.write().await.unwrap();
    assert!(lock.read_timeout(Duration::from_millis(30)).await.unwrap().is_none());
    writer.release().await.unwrap();
}

#[tokio::test]
async fn renewal_keeps_a_short_lease_and_at_most_ends_it() {
    let client = client();
    let guard = client.mutex("m").unwrap().ttl(Duration::from_millis(150)).lock().await.unwrap();
    let first = guard.deadline();
    guard.renewed(first).await;
    assert!(guard.is_valid() && guard.deadline() > first);
    guard.release().await.unwrap();
    let lock = client.mutex("m").unwrap().at_most(Duration::from_millis(80));
    let err = lock.run(|_| std::future::pending::<()>()).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Lost);
    assert!(client.mutex("m").unwrap().lock_timeout(Duration::from_secs(5)).await.unwrap().is_some());
}

#[tokio::test]
async fn work_runs_under_every_kind_of_lock() {
    let client = client();
    let (mutex, rw) = (client.mutex("m").unwrap(), client.rwlock("rw").unwrap());
    let semaphore = client.semaphore("s", 2).unwrap();
    let tokens = [
        mutex.run(|lease| async move { lease.token() }).await.unwrap(),
        rw.run_read(|lease| async move { lease.token() }).await.unwrap(),
        rw.run_write(|lease| async move { lease.token() }).await.unwrap(),
        semaphore.run(|lease| async move { lease.token() }).await.unwrap(),
    ];
    assert!(tokens.is_sorted());
    assert!(queue_lengths(client.engine().as_ref()).await.is_empty(), "all released");
}

#[tokio::test]
async fn eviction_is_noticed_at_the_next_renewal() {
    let client = client();
    let lock = client.mutex("m").unwrap().ttl(Duration::from_millis(300));
    let guard = lock.lock().await.unwrap();
    let page = client.inspect(Query::exactly(guard.name())).await.unwrap();
    let key = leasehold_core::ClaimRef { name: guard.name().clone(), id: page.queues[0].claims[0].id };
    client.unlock(key, Manner::Evict).await.unwrap();
    let next = lock.lock().await.unwrap();
    assert!(next.token() > guard.token());
    guard.lost().await;
    assert!(!guard.is_valid());
    assert_eq!(guard.release().await.unwrap_err().kind(), ErrorKind::Lost);
    assert!(next.is_valid());
}

#[derive(Debug, Default)]
struct Log(std::sync::Mutex<Vec<String>>);

impl Observer for Log {
    fn observe(&self, event: &Event<'_>) {
        let word = match event.what {
            What::Queued { ahead } => format!("queued {ahead}"),
            What::Acquired { .. } => "acquired".into(),
            What::TimedOut { .. } => "timed out".into(),
            What::Renewed { .. } => "renewed".into(),
            What::Released { .. } => "released".into(),
            other => format!("{other:?}"),
        };
        self.0.lock().unwrap().push(word);
    }
}

#[tokio::test]
async fn observers_hear_the_whole_story() {
    let log = Arc::new(Log::default());
    let client = Client::builder(Memory::new(Env::system())).observer(log.clone()).spawn().unwrap();
    let lock = client.mutex("m").unwrap().ttl(Duration::from_millis(100));
    let guard = lock.lock().await.unwrap();
    assert!(lock.try_lock().await.unwrap().is_none());
    guard.renewed(guard.deadline()).await;
    guard.release().await.unwrap();
    assert_eq!(*log.0.lock().unwrap(), ["acquired", "queued 1", "timed out", "renewed", "released"]);
}

#[tokio::test]
async fn what_an_engine_lacks_is_refused_when_connecting() {
    let builder = Client::builder(Memory::new(Env::system()));
    let required =
        builder.require([Guarantee::Push, Guarantee::Reach(leasehold_core::engine::Reach::Network)]);
    let err = required.spawn().unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Unsupported);
    insta::assert_snapshot!(err);
}

#[tokio::test]
async fn bad_terms_are_refused_before_anything_is_sent() {
    let client = client();
    let ms = Duration::from_millis;
    let mut said = Vec::new();
    for lock in [
        client.mutex("m").unwrap().ttl(Duration::ZERO),
        client.mutex("m").unwrap().ttl(ms(1)),
        client.mutex("m").unwrap().at_least(ms(500)).at_most(ms(100)),
        client.mutex("m").unwrap().payload(&"x".repeat(2000)),
    ] {
        said.push(lock.lock().await.unwrap_err().to_string());
    }
    for (of, k) in [(3, 5), (3, 0), (0, 1), (u32::MAX, 1)] {
        said.push(client.semaphore("s", of).unwrap().acquire_many(k).await.unwrap_err().to_string());
    }
    let _held = client.semaphore("s", 3).unwrap().acquire().await.unwrap();
    said.push(client.semaphore("s", 4).unwrap().acquire().await.unwrap_err().to_string());
    said.push(client.mutex("s").unwrap().try_lock().await.unwrap_err().to_string());
    insta::assert_debug_snapshot!(said);
}

#[tokio::test]
async fn an_alarm_makes_the_holder_ask_at_once() {
    let told = Told::default();
    let client = Client::builder(told.clone()).ttl(Duration::from_secs(3600)).spawn().unwrap();
    let (gone, kept) = (client.mutex("gone").unwrap(), client.mutex("kept").unwrap());
    let (gone, kept) = (gone.lock().await.unwrap(), kept.lock().await.unwrap());
    let page = client.inspect(Query { prefix: "gone".into(), limit: 1, ..Query::default() }).await.unwrap();
    let queue = &page.queues[0];
    let claim = leasehold_core::ClaimRef { name: queue.name.clone(), id: queue.claims[0].id };
    client.unlock(claim, Manner::Evict).await.unwrap();
    // Without the alarm it would be asked for in twenty minutes.
    told.bell.notify_one();
    gone.lost().await;
    assert!(kept.is_valid() && !gone.is_valid());
}
