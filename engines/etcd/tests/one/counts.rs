//! What is asked of the server: little, however much is held and however many wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::{StreamExt, stream};
use leasehold_core::Client;
use leasehold_core::observe::{Event, Observer, What};
use leasehold_testkit::etcd::Etcd as Node;
use tokio::sync::watch;

use crate::world::*;

#[derive(Debug, Default)]
struct Renewals(AtomicUsize);

impl Observer for Renewals {
    fn observe(&self, event: &Event<'_>) {
        if matches!(event.what, What::Renewed { .. }) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn heartbeats_do_not_depend_on_how_much_is_held() {
    let node = Node::start().unwrap();
    let beats = || node.metric("grpc_server_started_total", "grpc_method=\"LeaseKeepAlive\"").unwrap();
    for held in [10, 1_000, 10_000] {
        let renewals = Arc::new(Renewals::default());
        let observer: Arc<dyn Observer> = renewals.clone();
        let engine = open(&node.url()).await;
        let client = Client::builder(engine).ttl(6 * SECOND).observer(observer).spawn().unwrap();
        let locks = (0..held).map(|nth| client.mutex(&format!("r{nth}")).unwrap());
        let locks = stream::iter(locks).map(|mutex| async move { mutex.lock().await.unwrap() });
        let guards: Vec<_> = within("all are held", locks.buffer_unordered(250).collect()).await;
        let (before, renewed) = (beats(), renewals.0.load(Ordering::Relaxed));
        until("each has been renewed twice", async || {
            renewals.0.load(Ordering::Relaxed) - renewed >= 2 * held
        })
        .await;
        let sent = beats() - before;
        assert!(guards.iter().all(|guard| guard.is_valid()));
        assert!(sent <= 12.0, "{sent} heartbeats for two renewals of {held}");
        drop(guards);
        client.shutdown(BOUND).await.unwrap();
        until("all are released", async || lock_keys(&node).is_empty()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_hundred_waiters_a_release_wakes_one() {
    let node = Node::start().unwrap();
    let holder = client(&node.url(), 60 * SECOND).await;
    let guard = holder.mutex("r").unwrap().lock().await.unwrap();
    let mut clients = Vec::new();
    for _ in 0..4 {
        clients.push(client(&node.url(), 60 * SECOND).await);
    }
    let (held, go) = (Arc::new(AtomicUsize::new(0)), watch::Sender::new(false));
    let waiting: Vec<_> = (0..200)
        .map(|nth| {
            let mutex = clients[nth % clients.len()].mutex("r").unwrap();
            let (held, mut go) = (Arc::clone(&held), go.subscribe());
            tokio::spawn(async move {
                let guard = mutex.lock().await.unwrap();
                held.fetch_add(1, Ordering::Relaxed);
                go.wait_for(|go| *go).await.unwrap();
                guard.release().await.unwrap();
            })
        })
        .collect();
    until("all wait", async || lock_keys(&node).len() == 201).await;
    let watches = || node.metric("etcd_debugging_mvcc_watcher_total", "").unwrap();
    until("each watches the one ahead of it", async || watches() >= 200.0).await;
    let told = || node.metric("etcd_debugging_mvcc_events_total", "").unwrap();
    let before = told();
    guard.release().await.unwrap();
    until("the first of them holds", async || held.load(Ordering::Relaxed) == 1).await;
    // The others are still there, and one event has gone out.
    let sent = told() - before;
    assert!(sent <= 2.0, "{sent} events");
    assert_eq!((held.load(Ordering::Relaxed), lock_keys(&node).len()), (1, 200));
    go.send_replace(true);
    for waiter in waiting {
        within("all get their turn", waiter).await.unwrap();
    }
}
