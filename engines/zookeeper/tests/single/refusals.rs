//! What cannot be done is said, with what to do.

use leasehold_core::{Client, ErrorKind};
use leasehold_testkit::zookeeper::ZooKeeper as Server;
use std::time::Duration;
use zookeeper_client::{Acl, Acls, AuthId, CreateMode, Permission};

use crate::common::*;
use crate::world::{self, Place};

/// Without what differs from run to run.
fn said(error: &leasehold_core::Error, place: &Place) -> String {
    error.to_string().replace(&place.chroot, "/CHROOT")
}

#[tokio::test]
async fn what_is_not_a_lock_is_left_as_it_is() {
    let place = Place::new();
    let (engine, bare) = (open(&place.url()).await, bare(&place.url()).await);
    let open_to_all = Acls::anyone_all();
    let (node, ephemeral) =
        (CreateMode::Persistent.with_acls(open_to_all), CreateMode::Ephemeral.with_acls(open_to_all));
    let path = |rest: &str| format!("{}{rest}", place.chroot);
    for (at, data) in [("", ""), ("/data", "x=1"), ("/tree", ""), ("/tree/brokers", "")] {
        bare.create(&path(at), data.as_bytes(), &node).await.unwrap();
    }
    bare.create(&path("/alive"), b"", &ephemeral).await.unwrap();
    let mut all = Vec::new();
    for (id, name) in (1..).zip(["data", "tree", "alive"]) {
        let before = bare.check_stat(&path(&format!("/{name}"))).await.unwrap();
        let error = engine.try_join(&claim(name, id)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused);
        assert_eq!(bare.check_stat(&path(&format!("/{name}"))).await.unwrap(), before, "{name} was touched");
        all.push(said(&error, &place));
    }
    insta::assert_debug_snapshot!(all);
    assert_eq!(engine.names("", 10).await, [""; 0]);
}

#[tokio::test]
async fn who_may_not_is_told_what_is_missing() {
    let place = Place::new();
    let bare = bare(&place.url()).await;
    bare.create(&place.chroot, b"", &CreateMode::Persistent.with_acls(Acls::anyone_all())).await.unwrap();
    let read_only = [Acl::new(Permission::READ, AuthId::anyone())];
    let forbidden = format!("{}/forbidden", place.chroot);
    bare.create(&forbidden, b"", &CreateMode::Persistent.with_acls(Acls::new(&read_only))).await.unwrap();
    let engine = open(&place.url()).await;
    let error = engine.try_join(&claim("forbidden", 1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    let mut all = vec![said(&error, &place)];

    let login = |login: &str| place.url().replace("://", &format!("://{login}@"));
    let alice = open(&login("alice:sesame")).await;
    let mine = claim("hers", 2);
    token(&alice.join_one(&mine).await);
    for (id, other) in (3..).zip([place.url(), login("alice:sesamo"), login("bob:sesame")]) {
        let error = open(&other).await.try_join(&claim("hers", id)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied);
        assert!(!format!("{error:?}").contains("sesamo"), "passwords are not printed");
        all.push(said(&error, &place));
    }
    all.dedup();
    insta::assert_debug_snapshot!(all);
    alice.release(&mine).await;
}

#[tokio::test]
async fn where_all_must_log_in_nobody_else_is_let_in() {
    let server = Server::builder()
        .property("zookeeper.enforce.auth.enabled", "true")
        .property("zookeeper.enforce.auth.schemes", "digest")
        .start()
        .unwrap();
    let error = try_open(&server.url()).await.unwrap_err();
    let all = error.to_string().replace(&server.addr().to_string(), "SERVER");
    insta::assert_snapshot!(all);
    let engine = open(&server.url().replace("://", "://alice:sesame@")).await;
    token(&engine.join_one(&claim("m", 1)).await);
}

#[tokio::test]
async fn where_there_is_no_server_that_is_said_in_time() {
    let server = world::start();
    let url = format!("{}?timeout=500ms", server.url());
    server.kill().unwrap();
    let error = within("it is given up", try_open(&url)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    insta::assert_snapshot!(error.to_string().replace(&server.addr().to_string(), "SERVER"));
}

#[tokio::test]
async fn sessions_have_bounds_and_they_are_said() {
    let server = Server::start().unwrap();
    let client = Client::builder(open(&server.url()).await).ttl(3 * SECOND).spawn().unwrap();
    let mut all = Vec::new();
    for ttl in [Duration::from_millis(900), 11 * SECOND] {
        let error = client.mutex("m").unwrap().ttl(ttl).lock().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        all.push(error.to_string());
    }
    insta::assert_debug_snapshot!(all);
    for ttl in [SECOND, 10 * SECOND] {
        assert!(client.mutex("m").unwrap().ttl(ttl).lock().await.unwrap().is_valid());
    }
    let short = Server::builder().option("maxSessionTimeout", "1500").start().unwrap();
    let error = try_open(&format!("{}?tick=1s", short.url())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    insta::assert_snapshot!(error);
}

#[cfg(not(feature = "tls"))]
#[tokio::test]
async fn a_build_without_encryption_says_so() {
    let error = try_open("zookeeper://localhost?tls=true&ca=ca.pem").await.unwrap_err();
    insta::assert_snapshot!(error);
}
