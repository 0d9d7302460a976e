//! What can happen to a node and to the way to it.

use std::time::Duration;

use leasehold_core::ErrorKind;
use leasehold_testkit::etcd::Etcd as Node;
use leasehold_testkit::proxy::Proxy;

use crate::world::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_compaction_takes_nobodys_turn() {
    let node = Node::start().unwrap();
    let (holder, waiter) = (client(&node.url(), 30 * SECOND).await, client(&node.url(), 30 * SECOND).await);
    let guard = holder.mutex("r").unwrap().lock().await.unwrap();
    let waiting: Vec<_> = (0..5)
        .map(|_| {
            let mutex = waiter.mutex("r").unwrap();
            tokio::spawn(async move { mutex.lock().await.unwrap().release().await.unwrap() })
        })
        .collect();
    until("all wait", async || lock_keys(&node).len() == 6).await;
    let compact = || {
        for nth in 0..10 {
            node.ctl(["put", "noise", &nth.to_string()]).unwrap();
        }
        let revision = fields(&node, "noise")("Revision");
        node.ctl(["compact", "--physical=true", &revision]).unwrap();
    };
    compact();
    guard.release().await.unwrap();
    for waiter in waiting {
        compact();
        within("it has its turn", waiter).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_comes_back_has_kept_everything() {
    let node = Node::start().unwrap();
    let (holder, waiter) = (client(&node.url(), 30 * SECOND).await, client(&node.url(), 30 * SECOND).await);
    let guard = holder.mutex("r").unwrap().lock().await.unwrap();
    let waiting = tokio::spawn({
        let mutex = waiter.mutex("r").unwrap();
        async move { mutex.lock().await.unwrap() }
    });
    until("one waits", async || lock_keys(&node).len() == 2).await;
    let keys = lock_keys(&node);
    node.kill().unwrap();
    node.restart().unwrap();
    within("the hold is renewed", guard.renewed(guard.deadline())).await;
    assert_eq!(lock_keys(&node), keys);
    guard.release().await.unwrap();
    drop(within("the waiter holds", waiting).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_that_is_cut_off_knows_it_before_another_holds() {
    let node = Node::start().unwrap();
    let proxy = Proxy::before(node.addr(), 1).unwrap();
    let holder = client(&format!("etcd://{}?timeout=500ms", proxy.addr()), 3 * SECOND).await;
    let other = client(&node.url(), 3 * SECOND).await;
    let guard = holder.mutex("r").unwrap().lock().await.unwrap();
    let same = holder.mutex("same session").unwrap().lock().await.unwrap();
    proxy.black_hole();
    let next = within("its lease ends", other.mutex("r").unwrap().lock()).await.unwrap();
    assert!(!guard.is_valid() && !same.is_valid(), "two hold");
    assert!(next.token() > guard.token());
    within("it hears of it", guard.lost()).await;
    within("of all its locks", same.lost()).await;
    proxy.heal().unwrap();
    // It goes on with a new session.
    drop(within("it locks again", holder.mutex("again").unwrap().lock()).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_connections_cost_nobody_a_turn() {
    let node = Node::start().unwrap();
    let proxy = Proxy::before(node.addr(), 2).unwrap();
    let through = format!("etcd://{}?timeout=1s", proxy.addr());
    let (holder, waiter) = (client(&node.url(), 30 * SECOND).await, client(&through, 30 * SECOND).await);
    let guard = holder.mutex("r").unwrap().lock().await.unwrap();
    let waiting: Vec<_> = (0..10)
        .map(|_| {
            let mutex = waiter.mutex("r").unwrap();
            // Of the release that is under way when the connection is lost nobody knows; it is made again.
            tokio::spawn(async move { drop(mutex.lock().await.unwrap().release().await) })
        })
        .collect();
    until("all wait", async || lock_keys(&node).len() == 11).await;
    proxy.reset();
    guard.release().await.unwrap();
    for waiter in waiting {
        proxy.reset();
        within("it has its turn", waiter).await.unwrap();
    }
    until("nothing is left", async || lock_keys(&node).is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_is_given_up_on_the_way_leaves_nothing() {
    let node = Node::start().unwrap();
    let proxy = Proxy::before(node.addr(), 3).unwrap();
    let client = client(&format!("etcd://{}?timeout=1s", proxy.addr()), 3 * SECOND).await;
    client.mutex("first").unwrap().lock().await.unwrap().release().await.unwrap();
    proxy.hold_way(leasehold_testkit::proxy::Way::ToServer);
    let given_up = client.mutex("r").unwrap().lock_timeout(Duration::from_millis(300)).await;
    assert!(given_up.map_or_else(|error| error.kind() == ErrorKind::Unavailable, |guard| guard.is_none()));
    proxy.heal().unwrap();
    // It comes late, and is swept away.
    until("another can have it", async || {
        client.mutex("r").unwrap().try_lock().await.is_ok_and(|guard| guard.is_some())
    })
    .await;
    until("nothing is left", async || lock_keys(&node).is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_member_is_asked_when_one_does_not_answer() {
    let (dead, node) = (Node::start().unwrap(), Node::start().unwrap());
    dead.pause().unwrap();
    let url = format!("etcd://{},{}?timeout=400ms", dead.addr(), node.addr());
    let client = client(&url, 30 * SECOND).await;
    let guard = client.mutex("r").unwrap().lock().await.unwrap();
    assert_eq!(lock_keys(&node).len(), 1);
    guard.release().await.unwrap();
}
