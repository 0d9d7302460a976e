//! Who may: users and passwords, certificates, and what is said to those who may not.

use leasehold_core::{Error, ErrorKind};
use leasehold_testkit::etcd::Etcd as Node;

use crate::world::*;

fn plainly(node: &Node, error: &Error) -> String {
    format!("{}: {error}", error.kind())
        .replace(&node.addr().to_string(), "NODE")
        .replace(&node.folder().display().to_string(), "FOLDER")
}

async fn refused(node: &Node, url: &str) -> String {
    let error = try_open(url).await.map(drop).expect_err(url);
    plainly(node, &error)
}

#[tokio::test]
async fn users_and_passwords() {
    let node =
        Node::builder().password("secret").user("alice", "open", "lock/").user("bob", "open", "b/").start();
    let node = node.unwrap();
    let at = node.addr();
    let mut said = Vec::new();
    for login in ["", "alice:wrong@", "nobody:open@", "bob:open@"] {
        said.push(refused(&node, &format!("etcd://{login}{at}")).await);
    }
    insta::assert_debug_snapshot!(said);
    assert!(!said.concat().contains("open") && !said.concat().contains("wrong"));
    let alice = client(&format!("etcd://alice:open@{at}"), 30 * SECOND).await;
    let bob = client(&format!("etcd://bob:open@{at}?prefix=b/"), 30 * SECOND).await;
    let guards =
        [alice.mutex("r").unwrap().lock().await.unwrap(), bob.mutex("r").unwrap().lock().await.unwrap()];
    assert_eq!(lock_keys(&node).len(), 2);
    drop(guards);
    // Where nobody is asked, a password does no harm.
    let open = Node::start().unwrap();
    let client = client(&format!("etcd://any:thing@{}", open.addr()), 30 * SECOND).await;
    drop(client.mutex("r").unwrap().lock().await.unwrap());
}

#[tokio::test]
async fn a_right_that_is_taken_away_is_missed() {
    let node = Node::builder().password("secret").user("alice", "open", "lock/").start().unwrap();
    let client = client(&format!("etcd://alice:open@{}", node.addr()), 30 * SECOND).await;
    let guard = client.mutex("a").unwrap().lock().await.unwrap();
    node.ctl(["role", "revoke-permission", "alice", "--prefix=true", "lock/"]).unwrap();
    let error = client.mutex("b").unwrap().lock().await.map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    insta::assert_snapshot!(plainly(&node, &error));
    node.ctl(["role", "grant-permission", "alice", "--prefix=true", "readwrite", "lock/"]).unwrap();
    drop(client.mutex("b").unwrap().lock().await.unwrap());
    guard.release().await.unwrap();
}

#[tokio::test]
async fn a_login_that_has_expired_is_renewed() {
    // Tokens last a second, heartbeats come every two.
    let node = Node::builder()
        .password("secret")
        .user("alice", "open", "lock/")
        .option("auth-token-ttl", "1")
        .start()
        .unwrap();
    let url = format!("etcd://alice:open@{}", node.addr());
    let (holder, waiter) = (client(&url, 6 * SECOND).await, client(&url, 6 * SECOND).await);
    let guard = holder.mutex("r").unwrap().lock().await.unwrap();
    let waiting = tokio::spawn({
        let mutex = waiter.mutex("r").unwrap();
        async move { mutex.lock().await.unwrap() }
    });
    for _ in 0..3 {
        within("the hold is renewed", guard.renewed(guard.deadline())).await;
    }
    assert!(guard.is_valid() && !waiting.is_finished());
    // A server that has started again knows nobody any more.
    node.kill().unwrap();
    node.restart().unwrap();
    within("the hold is renewed", guard.renewed(guard.deadline())).await;
    guard.release().await.unwrap();
    drop(within("the waiter holds", waiting).await.unwrap());
}

#[tokio::test]
async fn certificates() {
    let node = Node::builder().tls().start().unwrap();
    let client = client(&node.url(), 30 * SECOND).await;
    let guard = client.mutex("r").unwrap().lock().await.unwrap();
    assert!(client.mutex("r").unwrap().try_lock().await.unwrap().is_none());
    guard.release().await.unwrap();
    until("nothing is left", async || lock_keys(&node).is_empty()).await;
    let (at, folder) = (node.addr(), node.folder().display());
    let mut said = Vec::new();
    for url in [
        format!("etcd://{at}"),
        format!("etcds://{at}"),
        format!("etcds://{at}?ca={folder}/none.pem"),
        format!("etcds://{at}?ca={folder}/ca.pem&cert={folder}/client.key&key={folder}/client.pem"),
    ] {
        said.push(refused(&node, &url).await);
    }
    // For us TLS is up before the server looks for our certificate: its alert and the end of the connection race. Either way
    // it is said what may be missing.
    let missing = refused(&node, &format!("etcds://{at}?ca={folder}/ca.pem")).await;
    assert!(missing.contains("name it by `cert=` and `key=`"), "{missing}");
    let plain = Node::start().unwrap();
    let ended = refused(&plain, &format!("etcds://{}", plain.addr())).await;
    // How a server that expects no encryption ends the connection is its own affair.
    said.push(ended.replace("Connection reset by peer (os error 104)", "tls handshake eof"));
    insta::assert_debug_snapshot!(said);
}
