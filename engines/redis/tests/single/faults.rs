//! Servers and connections that do not do well: what is forgotten, cut, killed, paused or swallowed.

use std::sync::Arc;
use std::time::Duration;

use leasehold_core::claim::Manner;
use leasehold_core::{Claim, Client, ErrorKind, Outcome, Query, Standing};
use leasehold_testkit::proxy::Proxy;
use leasehold_testkit::redis::Redis as Server;

use crate::world::*;

/// A URL whose requests time out soon.
fn impatient(url: &str) -> String {
    format!("{url}?timeout=300ms")
}

/// Waits until so many claims stand at `r`.
async fn until_queued(engine: &leasehold_redis::Redis, count: usize) {
    until("all stand in the queue", async || {
        let page = engine.inspect_all().await;
        page.queues.first().is_some_and(|queue| queue.claims.len() == count)
    })
    .await;
}

trait InspectAll: leasehold_core::Engine {
    fn inspect_all(&self) -> impl Future<Output = leasehold_core::Page> {
        let page = self.inspect(Query { limit: 10, ..Query::default() });
        async { page.await.unwrap() }
    }
}

impl InspectAll for leasehold_redis::Redis {}

#[tokio::test]
async fn a_server_that_has_forgotten_the_scripts_is_given_them_again() {
    let server = Server::start().unwrap();
    let engine = open(&server.url()).await;
    let forget = || {
        server.ask("SCRIPT FLUSH");
        server.ask("CONFIG RESETSTAT");
    };
    let mut last = 0;
    for id in 0..20 {
        forget();
        let held = token(&engine.join_one(claim("r", 2 * id)).await).get();
        assert!(held > last);
        forget();
        assert_eq!(ahead(&engine.join_one(share("r", 2 * id + 1, (1, 1))).await), 1);
        forget();
        assert_eq!(token(&engine.look(&key("r", 2 * id)).await).get(), held);
        forget();
        assert_eq!(engine.names("", 10).await, ["r"]);
        forget();
        engine.release(&key("r", 2 * id)).await;
        forget();
        last = token(&engine.look(&key("r", 2 * id + 1)).await).get();
        forget();
        engine.try_leave(&key("r", 2 * id + 1), Manner::Evict).await.unwrap();
    }
    // Many at a time, each of which finds it gone.
    forget();
    let claims: Vec<Claim> = (1..=200).map(|id| claim(&format!("s{id}"), id)).collect();
    let standings = leasehold_core::Engine::join(&engine, &claims).await;
    assert!(standings.iter().all(|standing| matches!(standing, Ok(Standing::Held { .. }))));
}

#[tokio::test]
async fn a_cut_connection_costs_no_hold_and_no_place() {
    let server = Server::start().unwrap();
    let (ours, theirs) = (client(&server.url(), LONG).await, client(&server.url(), LONG).await);
    let looker = open(&server.url()).await;
    let (holds, waits) = (ours.mutex("r").unwrap(), theirs.mutex("r").unwrap());
    let mut guard = holds.lock().await.unwrap();
    for _ in 0..3 {
        let waiter = waits.clone();
        let waiting = tokio::spawn(async move { waiter.lock().await.unwrap() });
        until_queued(&looker, 2).await;
        for kind in ["normal", "pubsub"] {
            server.ask(&format!("CLIENT KILL TYPE {kind} SKIPME yes"));
        }
        // Whoever is not told before the connection is there again looks then.
        assert!(guard.is_valid());
        // Its own connection may be cut as well: then this is repeated until it is confirmed.
        drop(guard);
        let next = within("the waiter is woken", waiting).await.unwrap();
        assert_eq!(server.get("lock:r"), Some(next.id().to_string()));
        next.release().await.unwrap();
        guard = within("it works on", holds.lock()).await.unwrap();
    }
    guard.release().await.unwrap();
    assert_eq!(server.keys(), [""; 0]);
}

#[tokio::test]
async fn a_hand_over_while_the_waiter_has_no_connection_reaches_it() {
    let server = Server::start().unwrap();
    let proxy = Proxy::before(server.addr(), 1).unwrap();
    let (ours, theirs) =
        (client(&server.url(), LONG).await, client(&format!("redis://{}", proxy.addr()), LONG).await);
    let looker = open(&server.url()).await;
    let guard = ours.mutex("r").unwrap().lock().await.unwrap();
    let lock = theirs.mutex("r").unwrap();
    let waiting = tokio::spawn(async move { lock.lock().await.unwrap() });
    until_queued(&looker, 2).await;
    proxy.refuse().unwrap();
    proxy.reset();
    guard.release().await.unwrap();
    assert!(looker.inspect_all().await.queues[0].claims[0].token.is_some());
    proxy.heal().unwrap();
    let next = within("the waiter is woken", waiting).await.unwrap();
    assert_eq!(server.get("lock:r"), Some(next.id().to_string()));
    next.release().await.unwrap();
}

#[tokio::test]
async fn a_hold_survives_the_death_of_a_server_that_writes_everything_down() {
    let server = Server::builder().durable().start().unwrap();
    let (ours, theirs) = (client(&server.url(), 20 * SECOND).await, client(&server.url(), LONG).await);
    let guard = ours.mutex("r").unwrap().lock().await.unwrap();
    let reader = ours.rwlock("s").unwrap().read().await.unwrap();
    server.kill().unwrap();
    let deadline = guard.deadline();
    server.restart().unwrap();
    within("it is renewed", guard.renewed(deadline)).await;
    assert!(guard.is_valid());
    let (mutex, rwlock) = (theirs.mutex("r").unwrap(), theirs.rwlock("s").unwrap());
    assert!(mutex.try_lock().await.unwrap().is_none());
    assert!(rwlock.try_write().await.unwrap().is_none());
    let last = guard.token();
    guard.release().await.unwrap();
    assert!(mutex.lock().await.unwrap().token() > last);
    reader.release().await.unwrap();
    rwlock.write().await.unwrap().release().await.unwrap();
}

#[tokio::test]
async fn a_server_that_has_forgotten_a_hold_is_believed() {
    let server = Server::start().unwrap();
    let (ours, theirs) = (client(&server.url(), 5 * SECOND).await, client(&server.url(), LONG).await);
    let guard = ours.mutex("r").unwrap().lock().await.unwrap();
    let (last, still) = (guard.token(), guard.remaining());
    server.kill().unwrap();
    server.restart().unwrap();
    // Nobody can know better: another gets it, with a higher token.
    let other = within("another gets it", theirs.mutex("r").unwrap().lock()).await.unwrap();
    assert!(other.token() > last, "after {still:?}");
    within("the first hears of it", guard.lost()).await;
    assert_eq!(guard.release().await.unwrap_err().kind(), ErrorKind::Lost);
    assert!(other.is_valid());
}

#[tokio::test]
async fn what_a_paused_server_did_is_unknown_and_nothing_leaks() {
    let server = Server::start().unwrap();
    let engine = open(&impatient(&server.url())).await;
    token(&engine.join_one(claim("held", 1)).await);
    server.pause().unwrap();
    let (held, other) = (key("held", 1), key("other", 3));
    let (join, refresh, leave) = tokio::join!(
        engine.try_join(Claim { ttl: LONG, ..claim("r", 2) }),
        engine.try_refresh(&held, LONG),
        engine.try_leave(&other, Manner::Release),
    );
    let errors = [join.unwrap_err(), refresh.unwrap_err(), leave.unwrap_err()];
    for error in &errors {
        assert_eq!((error.kind(), error.outcome()), (ErrorKind::Unavailable, Outcome::Unknown), "{error:?}");
    }
    insta::assert_snapshot!(errors[0].to_string().replace(&server.addr().to_string(), "SERVER"));
    server.resume().unwrap();
    // The join may have been received; its leave is all that is needed, over whichever connection.
    let mut left = Ok(());
    until("it is connected again", async || {
        left = engine.try_leave(&key("r", 2), Manner::Release).await;
        left.is_ok()
    })
    .await;
    until("the late join is there no more", async || {
        engine.try_leave(&key("r", 2), Manner::Release).await.unwrap();
        server.get("lock:r").is_none()
    })
    .await;
    token(&engine.join_one(claim("r", 4)).await);
    token(&engine.look(&key("held", 1)).await);
}

#[tokio::test]
async fn a_client_whose_server_was_paused_leaves_nothing_behind() {
    let server = Server::start().unwrap();
    let ours = Client::builder(open(&impatient(&server.url())).await).ttl(LONG).spawn().unwrap();
    let lock = ours.mutex("r").unwrap();
    let dropped = lock.lock().await.unwrap();
    server.pause().unwrap();
    // A guard is dropped, a lock is given up, another is cancelled: each while nobody answers.
    drop(dropped);
    let given_up = ours.mutex("s").unwrap().lock_timeout(SECOND).await;
    assert!(!matches!(given_up, Ok(Some(_))));
    let cancelled = tokio::spawn({
        let lock = ours.mutex("t").unwrap();
        async move { lock.lock().await.map(drop) }
    });
    tokio::task::yield_now().await;
    cancelled.abort();
    server.resume().unwrap();
    let theirs = client(&server.url(), LONG).await;
    for name in ["r", "s", "t"] {
        let guard = within("it is free", theirs.mutex(name).unwrap().lock()).await.unwrap();
        guard.release().await.unwrap();
    }
    until("nothing is left", async || server.keys().is_empty()).await;
}

#[tokio::test]
async fn a_connection_that_swallows_everything_is_replaced() {
    let server = Server::start().unwrap();
    let proxy = Proxy::before(server.addr(), 1).unwrap();
    let engine = open(&impatient(&format!("redis://{}", proxy.addr()))).await;
    let held = token(&engine.join_one(claim("r", 1)).await);
    proxy.black_hole();
    let error = engine.try_refresh(&key("r", 1), LONG).await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::Unavailable, Outcome::Unknown), "{error:?}");
    // From here on there is no connection, and nothing is sent.
    let error = engine.try_join(claim("s", 2)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let before = server.ask("CLIENT LIST TYPE pubsub").text().to_owned();
    proxy.heal().unwrap();
    until("there is another connection", async || engine.try_refresh(&key("r", 1), LONG).await.is_ok()).await;
    assert_eq!(token(&engine.look(&key("r", 1)).await), held);
    assert_ne!(server.ask("CLIENT LIST TYPE pubsub").text(), before);
}

#[tokio::test]
async fn a_client_behind_a_broken_network_loses_its_hold_in_time_and_recovers() {
    let server = Server::start().unwrap();
    let proxy = Proxy::before(server.addr(), 1).unwrap();
    let engine = open(&impatient(&format!("redis://{}", proxy.addr()))).await;
    let ours = Client::builder_dyn(Arc::new(engine)).ttl(2 * SECOND).spawn().unwrap();
    let theirs = client(&server.url(), LONG).await;
    let lock = ours.mutex("r").unwrap();
    let guard = lock.lock().await.unwrap();
    let first = guard.token();
    proxy.black_hole();
    // The other gets it by the server's clock, when ours has ended by its own.
    let other = within("the other gets it", theirs.mutex("r").unwrap().lock()).await.unwrap();
    assert!(!guard.is_valid() && other.token() > first);
    within("the loss is told", guard.lost()).await;
    proxy.heal().unwrap();
    other.release().await.unwrap();
    let again = within("it works again", async {
        loop {
            if let Ok(guard) = lock.lock().await {
                break guard;
            }
        }
    })
    .await;
    assert!(again.token() > first);
}

#[tokio::test]
async fn delays_change_nothing() {
    let server = Server::start().unwrap();
    let proxy = Proxy::before(server.addr(), 7).unwrap();
    proxy.delay(Duration::from_millis(5), Duration::from_millis(10));
    let clients =
        [client(&format!("redis://{}", proxy.addr()), LONG).await, client(&server.url(), LONG).await];
    let inside = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let tasks: Vec<_> = (0..8)
        .map(|task| {
            let (lock, inside) = (clients[task % 2].mutex("r").unwrap(), Arc::clone(&inside));
            tokio::spawn(async move {
                for _ in 0..5 {
                    let guard = lock.lock().await.unwrap();
                    assert_eq!(inside.fetch_add(1, std::sync::atomic::Ordering::SeqCst), 0);
                    tokio::task::yield_now().await;
                    inside.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                    guard.release().await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        within("all get their turns", task).await.unwrap();
    }
    assert_eq!(server.keys(), [""; 0]);
}
