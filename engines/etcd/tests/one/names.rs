//! Names that are not plain: each is a lock of its own, and is shown as it was given.

use leasehold_core::{Name, Query};
use leasehold_testkit::etcd::Etcd as Node;

use crate::world::*;

#[tokio::test]
async fn every_name_is_a_lock_of_its_own() {
    let node = Node::start().unwrap();
    let client = client(&node.url(), 30 * SECOND).await;
    let (long, slashes, wide) = ("x".repeat(255), "/".repeat(255), "é".repeat(127));
    let mut all = vec![
        "a", "a/", "a/b", "a%2Fb", "a%252Fb", "%", "%session", "/", "//", ".", "..", "../a", "a b", "日本",
        "\"'\\", "a-b", "a.b", "A", &long, &slashes, &wide,
    ];
    let mut guards = Vec::new();
    for name in &all {
        let guard = client.mutex(name).unwrap().try_lock().await.unwrap();
        guards.push(guard.unwrap_or_else(|| panic!("{name:?} is held as another name")));
    }
    for name in &all {
        assert!(client.mutex(name).unwrap().try_lock().await.unwrap().is_none(), "{name:?} is held twice");
        until("only the holder stands there", async || standing(&**client.engine(), name).await == 1).await;
    }
    all.sort_unstable();
    assert_eq!(names(&**client.engine(), "", 100).await, all);
    let with_a: Vec<&str> = all.iter().copied().filter(|name| name.starts_with('a')).collect();
    assert_eq!(names(&**client.engine(), "a", 100).await, with_a);
    assert_eq!(names(&**client.engine(), "a/", 100).await, ["a/", "a/b"]);
}

#[tokio::test]
async fn pages_of_names_are_in_their_order() {
    let node = Node::start().unwrap();
    let client = client(&node.url(), 30 * SECOND).await;
    // In etcd `a-b/…` comes before `a/…`.
    let all = ["a", "a-b", "a/b", "aa", "b"];
    let mut guards = Vec::new();
    for name in all {
        guards.push(client.mutex(name).unwrap().lock().await.unwrap());
    }
    let (mut after, mut seen) = (None, Vec::new());
    loop {
        let query = Query { prefix: String::new(), after: after.take(), limit: 2 };
        let page = client.inspect(query).await.unwrap();
        seen.extend(page.queues.iter().map(|queue| queue.name.to_string()));
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    assert_eq!(seen, all);
    drop(guards);
}

#[tokio::test]
async fn a_prefix_keeps_locks_apart_and_may_be_empty() {
    let node = Node::start().unwrap();
    let at = |prefix: &str| format!("{}?prefix={prefix}", node.url());
    let (plain, none, other) =
        (client(&node.url(), LONG).await, client(&at(""), LONG).await, client(&at("%C3%A9/"), LONG).await);
    let guards = [
        plain.mutex("r").unwrap().lock().await.unwrap(),
        none.mutex("r").unwrap().lock().await.unwrap(),
        other.mutex("r").unwrap().lock().await.unwrap(),
    ];
    let keys = lock_keys(&node);
    let starts: Vec<&str> = keys.iter().map(|key| key.rsplit_once('/').unwrap().0).collect();
    assert_eq!(starts, ["lock/r", "r", "é/r"]);
    assert_eq!(names(&**other.engine(), "", 10).await, ["r"]);
    drop(guards);
}

#[tokio::test]
async fn many_names_are_read_in_pages() {
    let node = Node::start().unwrap();
    let client = client(&node.url(), LONG).await;
    let locks = (0..2500).map(|nth| client.mutex(&format!("n{nth:04}")).unwrap());
    let held: Vec<_> = locks.map(|mutex| async move { mutex.lock().await.unwrap() }).collect();
    let guards = within("all are held", futures_util::future::join_all(held)).await;
    let page = client.inspect(Query { prefix: "n2".into(), after: None, limit: 1000 }).await.unwrap();
    assert_eq!((page.queues.len(), page.next), (500, None));
    let after = Some(Name::new("n2497").unwrap());
    let page = client.inspect(Query { prefix: String::new(), after, limit: 10 }).await.unwrap();
    assert_eq!(page.queues.iter().map(|queue| queue.name.as_str()).collect::<Vec<_>>(), ["n2498", "n2499"]);
    drop(guards);
}
