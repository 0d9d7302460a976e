//! Transactions of many: what one item may not do does not fail the others.

use futures_util::FutureExt;
use futures_util::future::{join_all, join3};
use leasehold_core::{Client, Guard};
use leasehold_testkit::etcd::Etcd as Node;
use leasehold_testkit::proxy::{Proxy, Way};

use crate::world::*;

async fn lock_all(client: &Client, count: usize) -> Vec<Guard> {
    let locks = (0..count).map(|nth| client.mutex(&format!("r{nth}")).unwrap());
    let locks: Vec<_> = locks.map(|mutex| async move { mutex.lock().await.unwrap() }).collect();
    within("all are held", join_all(locks)).await
}

async fn release_all(guards: Vec<Guard>) {
    for released in join_all(guards.into_iter().map(Guard::release)).await {
        released.unwrap();
    }
}

fn transactions(node: &Node) -> f64 {
    node.metric("grpc_server_handled_total", "grpc_method=\"Txn\"").unwrap()
}

#[tokio::test]
async fn what_comes_together_goes_together() {
    let node = Node::start().unwrap();
    let client = client(&node.url(), 30 * SECOND).await;
    let before = transactions(&node);
    let guards = lock_all(&client, 500).await;
    // The first one goes alone.
    assert!(transactions(&node) - before <= 10.0);
    assert_eq!(lock_keys(&node).len(), 500);
    release_all(guards).await;
    assert!(transactions(&node) - before <= 20.0);
    assert_eq!(lock_keys(&node), [""; 0]);
}

#[tokio::test]
async fn a_server_that_takes_fewer_operations_gets_fewer() {
    let node = Node::builder().option("max-txn-ops", "16").start().unwrap();
    let client = client(&node.url(), 30 * SECOND).await;
    for _ in 0..2 {
        let guards = lock_all(&client, 200).await;
        assert_eq!(lock_keys(&node).len(), 200);
        release_all(guards).await;
    }
    let before = transactions(&node);
    release_all(lock_all(&client, 200).await).await;
    assert!(transactions(&node) - before < 200.0, "it has learned how many it takes");
}

#[tokio::test]
async fn many_at_one_lock_have_tokens_of_their_own() {
    let node = Node::start().unwrap();
    let client = client(&node.url(), 30 * SECOND).await;
    let mutex = client.mutex("r").unwrap();
    let turns = (0..50).map(|_| {
        let mutex = mutex.clone();
        async move {
            let guard = mutex.lock().await.unwrap();
            let token = guard.token();
            guard.release().await.unwrap();
            token
        }
    });
    let mut tokens = within("all have had it", join_all(turns)).await;
    tokens.sort_unstable();
    tokens.dedup();
    assert_eq!(tokens.len(), 50);
}

/// What comes and what goes at one lock, in one transaction: who comes must not be told to wait for who goes.
#[tokio::test]
async fn who_comes_as_another_goes_is_not_left_waiting() {
    let node = Node::start().unwrap();
    let proxy = Proxy::before(node.addr(), 1).unwrap();
    let url = format!("etcd://{}?timeout=30s", proxy.addr());
    let client = client(&url, 60 * SECOND).await;
    for turn in 0..5 {
        let guard = client.mutex("r").unwrap().lock().await.unwrap();
        proxy.hold_way(Way::ToServer);
        let other = client.mutex(&format!("under way {turn}")).unwrap();
        let (mut other, mutex) = (Box::pin(other.try_lock()), client.mutex("r").unwrap());
        let (mut next, mut release) = (Box::pin(mutex.try_lock()), Box::pin(guard.release()));
        // In this order; the first goes alone, once it has let others come along, and the others wait for it.
        assert!((&mut other).now_or_never().is_none() && (&mut other).now_or_never().is_none());
        assert!((&mut next).now_or_never().is_none());
        assert!((&mut release).now_or_never().is_none());
        proxy.heal().unwrap();
        let (other, next, released) = within("all are answered", join3(other, next, release)).await;
        released.unwrap();
        assert!(other.unwrap().is_some());
        next.unwrap().expect("it is free").release().await.unwrap();
    }
}

#[tokio::test]
async fn a_lost_session_does_not_fail_the_claims_of_another() {
    let node = Node::start().unwrap();
    let client = client(&node.url(), 30 * SECOND).await;
    let other = client.mutex("of another session").unwrap().ttl(60 * SECOND).lock().await.unwrap();
    let first = client.mutex("first").unwrap().lock().await.unwrap();
    let leases = node.keys("lock/first/").unwrap();
    let lease = leases[0].split(['/', '-']).nth(2).unwrap().to_owned();
    node.ctl(["lease", "revoke", &lease]).unwrap();
    within("the hold is lost", first.lost()).await;
    let locks = (0..20).map(|nth| {
        let ttl = if nth % 2 == 0 { 30 } else { 60 };
        let mutex = client.mutex(&format!("r{nth}")).unwrap().ttl(ttl * SECOND);
        async move { mutex.lock().await.unwrap() }
    });
    let guards = within("all are held", join_all(locks)).await;
    assert!(guards.iter().all(|guard| guard.is_valid()) && other.is_valid());
}
