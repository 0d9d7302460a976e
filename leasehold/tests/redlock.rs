//! Redlock over real servers.
#![cfg(feature = "redlock")]

use std::time::Duration;

use leasehold::{ErrorKind, Query};
use leasehold_testkit::redis::{Redis, url_of};

fn five() -> Vec<Redis> {
    Redis::builder().start_many(5).expect("five servers start")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_minority_may_be_down_and_tokens_rise() {
    let nodes = five();
    let url = url_of("redlock", &nodes);
    let (one, two) = (leasehold::connect(&url).await.unwrap(), leasehold::connect(&url).await.unwrap());
    let first = one.mutex("m").unwrap().lock().await.unwrap();
    assert!(two.mutex("m").unwrap().try_lock().await.unwrap().is_none());
    nodes[0].kill().unwrap();
    nodes[3].kill().unwrap();
    assert!(first.is_valid());
    first.release().await.unwrap();
    let second = two.mutex("m").unwrap().lock().await.unwrap();
    // Two other nodes go, and the first two come back without their data: only one node remembers.
    second.release().await.unwrap();
    nodes[0].restart().unwrap();
    nodes[3].restart().unwrap();
    nodes[1].kill().unwrap();
    let third = one.mutex("m").unwrap().lock().await.unwrap();
    nodes[1].restart().unwrap();
    assert!(third.is_valid());
    // A client that connects while a node is down.
    nodes[2].kill().unwrap();
    let late = leasehold::connect(&url).await.unwrap();
    let waiting = tokio::spawn(async move { late.mutex("m").unwrap().lock().await.unwrap().token() });
    let third_token = third.token();
    third.release().await.unwrap();
    let fourth_token = waiting.await.unwrap();
    assert!(third_token < fourth_token, "{third_token} then {fourth_token}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_may_be_asked_one_by_one() {
    let nodes = five();
    let url = format!("{}?ask=one-by-one", url_of("redlock", &nodes));
    let (one, two) = (leasehold::connect(&url).await.unwrap(), leasehold::connect(&url).await.unwrap());
    let first = one.mutex("m").unwrap().lock().await.unwrap();
    assert!(two.mutex("m").unwrap().try_lock().await.unwrap().is_none());
    nodes[0].kill().unwrap();
    let first_token = first.token();
    first.release().await.unwrap();
    let second = two.mutex("m").unwrap().lock().await.unwrap();
    assert!(second.token() > first_token);
    let error = leasehold::connect(&url.replace("one-by-one", "in-turn")).await.unwrap_err();
    assert_eq!(error.to_string(), "nodes cannot be asked `in-turn`; write together or one-by-one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiters_take_turns_and_nothing_is_left() {
    let nodes = five();
    let url = url_of("redlock", &nodes);
    let counter = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let mut tasks = Vec::new();
    for _ in 0..4 {
        let (locks, counter) = (leasehold::connect(&url).await.unwrap(), counter.clone());
        tasks.push(tokio::spawn(async move {
            let mut last = None;
            for _ in 0..10 {
                let guard = locks.mutex("m").unwrap().lock().await.unwrap();
                let seen = counter.load(std::sync::atomic::Ordering::SeqCst);
                tokio::task::yield_now().await;
                counter.store(seen + 1, std::sync::atomic::Ordering::SeqCst);
                assert!(last < Some(guard.token()), "{last:?} then {:?}", guard.token());
                last = Some(guard.token());
                guard.release().await.unwrap();
            }
            locks.shutdown(Duration::from_secs(10)).await.unwrap();
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(counter.load(std::sync::atomic::Ordering::SeqCst), 40, "nothing was lost");
    let page = leasehold::connect(&url)
        .await
        .unwrap()
        .inspect(Query { limit: 10, ..Query::default() })
        .await
        .unwrap();
    assert_eq!(page.queues, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_makes_no_redlock_says_what_to_do() {
    let nodes = Redis::builder().start_many(4).unwrap();
    let said = |url: String| async move {
        let error = leasehold::connect(&url).await.unwrap_err();
        (error.kind(), error.to_string())
    };
    let (kind, text) = said(url_of("redlock", &nodes[..2])).await;
    assert_eq!(kind, ErrorKind::InvalidInput);
    assert!(text.contains("3"), "{text}");
    let port = nodes[0].port();
    let twice = format!("redlock://127.0.0.1:{port},localhost:{port},127.0.0.1:{}", nodes[1].port());
    let (kind, text) = said(twice).await;
    assert_eq!(kind, ErrorKind::InvalidInput);
    assert!(text.contains("same server"), "{text}");
    let locks = leasehold::connect(&url_of("redlock", &nodes)).await.unwrap();
    assert!(locks.info().warnings.iter().any(|w| w.contains("4 nodes")), "{:?}", locks.info().warnings);
    let refused = locks.semaphore("s", 2).unwrap().acquire().await.unwrap_err();
    assert!(refused.to_string().contains("majority"), "{refused}");
    nodes[0].kill().unwrap();
    nodes[1].kill().unwrap();
    let (kind, text) = said(url_of("redlock", &nodes)).await;
    assert_eq!(kind, ErrorKind::Unavailable, "{text}");
}
