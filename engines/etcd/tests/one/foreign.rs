//! etcd's own locks keep ours out and ours keep them out: `etcdctl lock`, which is Go's `concurrency.Mutex`, and the
//! lock service of the server.

use std::fs;

use leasehold_testkit::etcd::{Bare, Etcd as Node};
use leasehold_testkit::scratch;

use crate::world::*;

#[tokio::test]
async fn etcdctl_keeps_us_out_until_it_is_done() {
    let node = Node::start().unwrap();
    let client = client(&node.url(), 30 * SECOND).await;
    let folder = scratch().unwrap();
    let done = folder.path().join("done");
    let mut theirs =
        etcdctl_lock(&node, "lock/r", &format!("until [ -e {} ]; do sleep 0.01; done", done.display()));
    until("etcdctl holds", async || lock_keys(&node).len() == 1).await;
    assert!(client.mutex("r").unwrap().try_lock().await.unwrap().is_none());
    let page = client.inspect(leasehold_core::Query { limit: 10, ..Default::default() }).await.unwrap();
    assert!(page.queues[0].claims[0].is_foreign());
    assert!(page.queues[0].claims[0].token.is_some(), "its token is ordered with ours");
    let foreign = page.queues[0].claims[0].token;
    let waiting = tokio::spawn({
        let mutex = client.mutex("r").unwrap();
        async move { mutex.lock().await.unwrap() }
    });
    until("we stand behind it", async || lock_keys(&node).len() == 2).await;
    fs::write(&done, "").unwrap();
    let guard = within("it is our turn", waiting).await.unwrap();
    assert!(Some(guard.token()) > foreign);
    assert!(theirs.wait().unwrap().success());
}

#[tokio::test]
async fn we_keep_etcdctl_out_until_we_are_done() {
    let node = Node::start().unwrap();
    let client = client(&node.url(), 30 * SECOND).await;
    let guard = client.mutex("r").unwrap().lock().await.unwrap();
    let folder = scratch().unwrap();
    let held = folder.path().join("held");
    let mut theirs = etcdctl_lock(&node, "lock/r", &format!("touch {}", held.display()));
    until("etcdctl stands behind us", async || lock_keys(&node).len() == 2).await;
    // One of ours behind it waits for it.
    let waiting = tokio::spawn({
        let mutex = client.mutex("r").unwrap();
        async move { mutex.lock().await.unwrap() }
    });
    until("one of ours is last", async || lock_keys(&node).len() == 3).await;
    assert!(!held.exists());
    guard.release().await.unwrap();
    assert!(theirs.wait().unwrap().success());
    assert!(held.exists());
    drop(within("we hold after etcdctl", waiting).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn together_we_lose_no_count() {
    const THEIRS: usize = 3;
    const OURS: usize = 4;
    const EACH: usize = 10;
    let node = Node::start().unwrap();
    let folder = scratch().unwrap();
    let file = folder.path().join("count");
    fs::write(&file, "0").unwrap();
    let count = format!("n=$(cat {0}); sleep 0.01; echo $((n + 1)) >{0}", file.display());
    let theirs: Vec<_> = (0..THEIRS)
        .map(|_| {
            let mut runs = Vec::new();
            let command = || etcdctl_lock(&node, "lock/count", &count);
            runs.extend((0..EACH).map(|_| command()));
            runs
        })
        .collect();
    let mut ours = Vec::new();
    for _ in 0..OURS {
        let (client, file) = (client(&node.url(), 30 * SECOND).await, file.clone());
        ours.push(tokio::spawn(async move {
            for _ in 0..EACH {
                let guard = client.mutex("count").unwrap().lock().await.unwrap();
                let n: usize = fs::read_to_string(&file).unwrap().trim().parse().unwrap();
                tokio::task::yield_now().await;
                fs::write(&file, (n + 1).to_string()).unwrap();
                guard.release().await.unwrap();
            }
        }));
    }
    for task in ours {
        within("ours have counted", task).await.unwrap();
    }
    for mut run in theirs.into_iter().flatten() {
        assert!(run.wait().unwrap().success());
    }
    let counted: usize = fs::read_to_string(&file).unwrap().trim().parse().unwrap();
    assert_eq!(counted, EACH * (THEIRS + OURS));
}

#[tokio::test]
async fn the_lock_service_and_we_exclude_each_other() {
    let node = Node::start().unwrap();
    let client = client(&node.url(), 30 * SECOND).await;
    let bare = Bare::connect(&node.addr().to_string()).await.unwrap();
    let lease = bare.grant(60).await.unwrap();
    let key = bare.lock("lock/r", lease).await.unwrap();
    let mutex = client.mutex("r").unwrap();
    assert!(mutex.try_lock().await.unwrap().is_none());
    let waiting = tokio::spawn({
        let mutex = mutex.clone();
        async move { mutex.lock().await.unwrap() }
    });
    until("we stand behind it", async || lock_keys(&node).len() == 2).await;
    bare.unlock(key).await.unwrap();
    let guard = within("it is our turn", waiting).await.unwrap();
    let theirs = tokio::spawn(async move { bare.lock("lock/r", lease).await.unwrap() });
    until("the service stands behind us", async || lock_keys(&node).len() == 2).await;
    assert!(!theirs.is_finished());
    guard.release().await.unwrap();
    within("it is its turn", theirs).await.unwrap();
    // Its lease ends, and with it its lock.
    node.ctl(["lease", "revoke", &format!("{lease:x}")]).unwrap();
    drop(within("it is our turn again", mutex.lock()).await.unwrap());
}

#[tokio::test]
async fn a_name_with_a_slash_meets_others_by_its_prefix() {
    let node = Node::start().unwrap();
    let client = client(&format!("{}?prefix=jobs/night/", node.url()), 30 * SECOND).await;
    let guard = client.mutex("report").unwrap().lock().await.unwrap();
    let mut theirs = etcdctl_lock(&node, "jobs/night/report", "true");
    until("etcdctl stands behind us", async || lock_keys(&node).len() == 2).await;
    guard.release().await.unwrap();
    assert!(theirs.wait().unwrap().success());
}
