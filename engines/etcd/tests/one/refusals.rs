//! Bad input and keys that are no locks: what is said, and that nothing is touched.

use std::time::Duration;

use leasehold_core::{ErrorKind, Outcome};
use leasehold_testkit::etcd::Etcd as Node;

use crate::world::*;

#[tokio::test]
async fn a_key_that_is_no_contender_is_named_and_left_alone() {
    let node = Node::start().unwrap();
    let client = client(&node.url(), LONG).await;
    let granted = node.ctl(["lease", "grant", "600"]).unwrap();
    let lease = granted.split(' ').nth(1).unwrap();
    let mut said = Vec::new();
    for (key, with_lease) in [
        ("lock/r/config", false),
        ("lock/r/1f", false),
        ("lock/r/", false),
        ("lock/r/s/1f", true),
        ("lock/r/1f-zz", true),
        ("lock/r/00000000000000000000000000000001-1f", true),
    ] {
        let put = ["put", key, "precious"];
        if with_lease {
            node.ctl([&put[..], &["--lease", lease]].concat()).unwrap();
        } else {
            node.ctl(put).unwrap();
        }
        let before = fields(&node, key)("ModRevision");
        for error in [
            client.mutex("r").unwrap().try_lock().await.map(drop).unwrap_err(),
            client.mutex("r").unwrap().lock().await.map(drop).unwrap_err(),
            client.semaphore("r", 3).unwrap().try_acquire().await.map(drop).unwrap_err(),
        ] {
            assert_eq!(
                (error.kind(), error.outcome()),
                (ErrorKind::Refused, Outcome::NotApplied),
                "{error:?}"
            );
            said.push(error.to_string());
        }
        assert_eq!(fields(&node, key)("ModRevision"), before);
        until("nothing of ours is left", async || lock_keys(&node) == [key]).await;
        node.ctl(["del", key]).unwrap();
    }
    said.dedup();
    insta::assert_debug_snapshot!(said);
    // What lies beside the lock is none of its business.
    node.ctl(["put", "lock/r", "precious"]).unwrap();
    node.ctl(["put", "lock/rs/x", "precious"]).unwrap();
    assert!(client.mutex("r").unwrap().try_lock().await.unwrap().is_some());
}

#[tokio::test]
async fn a_ttl_out_of_bounds_is_refused_with_the_bounds() {
    let node = Node::builder()
        .option("heartbeat-interval", "100")
        .option("election-timeout", "1000")
        .start()
        .unwrap();
    let client = client(&node.url(), 30 * SECOND).await;
    let mut said = Vec::new();
    for ttl in [Duration::from_millis(1999), 25 * LONG] {
        let error = client.mutex("r").unwrap().ttl(ttl).lock().await.map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        said.push(error.to_string());
    }
    insta::assert_debug_snapshot!(said);
    // Leases are counted in whole seconds, rounded up.
    let guard = client.mutex("r").unwrap().ttl(Duration::from_millis(2001)).lock().await.unwrap();
    let leases = node.ctl(["lease", "list"]).unwrap();
    let lease = leases.lines().last().unwrap();
    assert!(node.ctl(["lease", "timetolive", lease]).unwrap().contains("granted with TTL(3s)"), "{leases}");
    guard.release().await.unwrap();
}

#[tokio::test]
async fn a_server_that_is_not_there() {
    let node = Node::start().unwrap();
    let (url, addr) = (node.url(), node.addr().to_string());
    drop(node);
    let error = try_open(&url).await.map(drop).unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::Unavailable, Outcome::NotApplied));
    insta::assert_snapshot!(error.to_string().replace(&addr, "NODE"));
}

#[tokio::test]
async fn a_full_database_is_said() {
    let node = Node::builder().option("quota-backend-bytes", "200000").start().unwrap();
    let client = client(&node.url(), 30 * SECOND).await;
    let held = client.mutex("held").unwrap().lock().await.unwrap();
    let stuff = "x".repeat(20_000);
    let mut nth = 0;
    until("the database is full", async || {
        nth += 1;
        let full = node.ctl(["put", &format!("stuff{nth}"), &stuff]).is_err();
        full && node.ctl(["alarm", "list"]).unwrap().contains("NOSPACE")
    })
    .await;
    let error = client.mutex("r").unwrap().try_lock().await.map(drop).unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::Unavailable, Outcome::Unknown), "{error:?}");
    insta::assert_snapshot!(error.to_string().replace(&node.addr().to_string(), "NODE"));
    // A release needs no room.
    held.release().await.unwrap();
    assert_eq!(node.keys("lock/held/").unwrap(), [""; 0]);
}
