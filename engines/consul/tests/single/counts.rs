//! What is asked of the server, and who is woken: little, however much is held and however many wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::{StreamExt, stream};
use leasehold_core::observe::{Event, Observer, What};
use leasehold_core::{Client, Engine, Hint};
use leasehold_testkit::consul::Consul as Server;

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
    let server = Server::builder().log_requests().start().unwrap();
    let beats = || server.requests("PUT", "/v1/session/renew/");
    for held in [10, 1_000, 10_000] {
        let renewals = Arc::new(Renewals::default());
        let observer: Arc<dyn Observer> = renewals.clone();
        let client =
            Client::builder(open(&server.url()).await).ttl(SHORT).observer(observer).spawn().unwrap();
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
        assert!(sent <= 12, "{sent} heartbeats for two renewals of {held}");
        drop(guards);
        client.shutdown(BOUND).await.unwrap();
    }
}

#[tokio::test]
async fn of_two_hundred_waiters_a_release_wakes_one() {
    let server = Server::builder().log_requests().start().unwrap();
    // Whoever is woken looks at the line.
    let looks = || server.requests("PUT", "/v1/txn");
    let holder = claim("m", 1000);
    let one = open(&server.url()).await;
    token(&one.join_one(&holder).await);
    let (mut engines, mut claims) = (Vec::new(), Vec::new());
    for nth in 0..4 {
        let engine = open(&server.url()).await;
        let own: Vec<_> = (0..50).map(|at| claim("m", 1 + nth * 50 + at)).collect();
        for standing in engine.join_all(&own).await {
            assert!(ahead(&standing) >= 1);
        }
        engines.push(engine);
        claims.push(own);
    }
    // From now on they live for another five seconds, in which they are only told.
    for (engine, own) in engines.iter().zip(&claims) {
        engine.look_all(own).await;
    }
    let woken = Arc::new(AtomicUsize::new(0));
    let (tell, mut told) = tokio::sync::watch::channel(0);
    let waiting: Vec<_> = engines
        .iter()
        .zip(&claims)
        .flat_map(|(engine, own)| own.iter().map(|claim| engine.watch(&claim.key())))
        .map(|mut hints| {
            let (woken, tell) = (Arc::clone(&woken), tell.clone());
            tokio::spawn(async move {
                hints.next().await;
                woken.fetch_add(1, Ordering::Relaxed);
                tell.send_modify(|count| *count += 1);
            })
        })
        .collect();
    tokio::task::yield_now().await;
    let before = looks();
    one.release(&holder).await;
    within("the next one is told", told.wait_for(|count| *count > 0)).await.unwrap();
    // Whatever else has been sent meanwhile has arrived before these answers.
    for engine in &engines {
        assert_eq!(standing(engine, "m").await, 200);
    }
    let woken = woken.load(Ordering::Relaxed);
    assert!(woken <= 2, "{woken} were told that it is their turn");
    // The release, one who looks, and four onlookers.
    let looks = looks() - before;
    assert!(looks <= 12, "{looks} requests");
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
}

/// One transaction lets in a dozen.
#[tokio::test]
async fn all_readers_of_many_sessions_come_in_when_a_writer_goes() {
    let server = Server::builder().log_requests().start().unwrap();
    let (writer, readers) = (share("m", 1000, (9000, 9000)), 2..32);
    let one = open(&server.url()).await;
    token(&one.join_one(&writer).await);
    let mut waiting = Vec::new();
    for id in readers {
        let engine = open(&server.url()).await;
        let reader = share("m", id, (1, 9000));
        ahead(&engine.join_one(&reader).await);
        waiting.push((engine, reader));
    }
    let told: Vec<_> = waiting
        .into_iter()
        .map(|(engine, reader)| tokio::spawn(async move { engine.hint(&reader).await }))
        .collect();
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    one.release(&writer).await;
    for hint in told {
        assert!(matches!(hint.await.unwrap(), Hint::Held(_)));
    }
}
