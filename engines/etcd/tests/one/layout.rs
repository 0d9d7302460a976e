//! What stands in etcd: as in its own lock, but for the claim in the key.

use leasehold_core::Engine;
use leasehold_core::engine::{Durability, Validity};
use leasehold_testkit::etcd::Etcd as Node;

use crate::world::*;

#[tokio::test]
async fn a_contender_is_a_key_of_the_lease_and_the_claim() {
    let node = Node::start().unwrap();
    let client = client(&node.url(), 30 * SECOND).await;
    let guard = client.mutex("demo").unwrap().lock().await.unwrap();
    let keys = lock_keys(&node);
    let [key] = &keys[..] else { panic!("{keys:?}") };
    let stands = fields(&node, key);
    let lease: i64 = stands("Lease").parse().unwrap();
    assert_eq!(*key, format!("lock/demo/{lease:x}-{}", guard.id()));
    assert_eq!(stands("CreateRevision"), guard.token().to_string());
    let value = stands("Value");
    for part in ["weight", "capacity", "30000", "test"] {
        assert!(value.contains(part), "{value}");
    }
    assert_eq!(node.keys("lock/%session/").unwrap(), [format!("lock/%session/{lease:x}")]);
    let about = node.ctl(["lease", "timetolive", &format!("{lease:x}")]).unwrap();
    assert!(about.contains("granted with TTL(30s)"), "{about}");
    guard.release().await.unwrap();
    assert_eq!(lock_keys(&node), [""; 0]);
}

#[tokio::test]
async fn nothing_is_left_of_a_client() {
    let node = Node::start().unwrap();
    let client = client(&node.url(), LONG).await;
    let guards =
        [client.mutex("a").unwrap().lock().await.unwrap(), client.mutex("b").unwrap().lock().await.unwrap()];
    let waiting = client.mutex("a").unwrap().try_lock().await.unwrap();
    assert!(waiting.is_none());
    drop(guards);
    client.shutdown(BOUND).await.unwrap();
    drop(client);
    until("nothing is left", async || {
        node.keys("").unwrap().is_empty() && node.ctl(["lease", "list"]).unwrap().contains("found 0 leases")
    })
    .await;
}

#[tokio::test]
async fn holders_of_one_lock_are_readers_permits_or_one() {
    let node = Node::start().unwrap();
    let client = client(&node.url(), 30 * SECOND).await;
    let readers = client.rwlock("rw").unwrap();
    let (one, two) = (readers.read().await.unwrap(), readers.read().await.unwrap());
    assert!(readers.try_write().await.unwrap().is_none());
    let permits = client.semaphore("permits", 3).unwrap();
    let (some, last) = (permits.acquire_many(2).await.unwrap(), permits.acquire().await.unwrap());
    assert!(permits.try_acquire().await.unwrap().is_none());
    let refused = client.semaphore("permits", 4).unwrap().try_acquire().await.unwrap_err();
    assert!(refused.to_string().contains('3'), "{refused}");
    assert_eq!(names(&**client.engine(), "", 10).await, ["permits", "rw"]);
    assert_eq!(lock_keys(&node).len(), 4);
    drop((one, two));
    drop(within("the writer is let in", readers.write()).await.unwrap());
    drop((some, last));
    drop(within("all permits are there again", permits.acquire_many(3)).await.unwrap());
}

#[tokio::test]
async fn tokens_rise_with_the_line() {
    let node = Node::start().unwrap();
    let client = client(&node.url(), 30 * SECOND).await;
    let mutex = client.mutex("r").unwrap();
    let held = mutex.lock().await.unwrap();
    let mut last = held.token();
    let mut waiting = Vec::new();
    for ahead in 1..=5 {
        let mutex = mutex.clone();
        waiting.push(tokio::spawn(async move { mutex.lock().await.unwrap() }));
        until("it stands in line", async || standing(&**client.engine(), "r").await == ahead + 1).await;
    }
    held.release().await.unwrap();
    for waiter in waiting {
        let guard = within("the next one holds", waiter).await.unwrap();
        assert!(guard.token() > last);
        last = guard.token();
        guard.release().await.unwrap();
    }
}

#[tokio::test]
async fn the_server_says_what_it_can() {
    let node = Node::start().unwrap();
    let engine = open(&node.url()).await;
    let info = engine.info();
    assert_eq!(info.ttl_min, SECOND, "the election time-out of a lone test node is 200 ms");
    assert!(info.warnings.iter().any(|warning| warning.contains("one member")), "{:?}", info.warnings);
    assert_eq!(info.durability, Durability::SingleNode);
    let version = node.ctl(["version"]).unwrap();
    let faulty = version.contains("3.4.23");
    assert_eq!(info.warnings.iter().any(|warning| warning.contains("15247")), faulty, "{version}");
    assert_eq!(info.validity == Validity::Estimated, faulty);
}
