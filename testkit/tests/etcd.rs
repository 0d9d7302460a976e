//! etcd: one node, and three of which one can be lost.

use std::io;

use leasehold_testkit::etcd::{Bare, Cluster, Etcd};

#[test]
fn a_killed_one_comes_back_with_its_data() {
    let etcd = Etcd::start().unwrap();
    assert_eq!(etcd.ctl(["put", "key", "value"]).unwrap(), "OK\n");
    etcd.kill().unwrap();
    etcd.restart().unwrap();
    assert_eq!(etcd.ctl(["get", "--print-value-only", "key"]).unwrap(), "value\n");
    assert_eq!(etcd.keys("k").unwrap(), ["key"]);
    assert!(etcd.is_leader().unwrap());
    assert!(etcd.metric("grpc_server_handled_total", "grpc_method=\"Range\"").unwrap() >= 1.0);
}

#[test]
fn users_may_do_what_they_were_granted() {
    let etcd = Etcd::builder().password("secret").user("alice", "open", "lock/").start().unwrap();
    etcd.ctl(["put", "lock/a", "1"]).unwrap();
    let as_alice = |key: &str| {
        let mut ctl = etcd.ctl_command().unwrap();
        let output = ctl.env("ETCDCTL_USER", "alice:open").args(["put", key, "2"]).output().unwrap();
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    };
    assert_eq!(as_alice("lock/a"), "OK\n");
    assert!(as_alice("other").contains("permission denied"));
    assert!(etcd.url().starts_with("etcd://root:secret@127.0.0.1:"));
}

#[test]
fn with_tls_clients_show_a_certificate() {
    let etcd = Etcd::builder().tls().start().unwrap();
    etcd.ctl(["put", "key", "value"]).unwrap();
    let mut without = etcd.ctl_command().unwrap();
    without.env_remove("ETCDCTL_CERT").env_remove("ETCDCTL_KEY").env("ETCDCTL_COMMAND_TIMEOUT", "1s");
    assert!(!without.args(["get", "key"]).output().unwrap().status.success());
}

#[test]
fn another_leads_when_the_leader_is_killed_or_paused() {
    let cluster = Cluster::start().unwrap();
    let first = cluster.leader().unwrap();
    first.kill().unwrap();
    let second = cluster.leader_after(first).unwrap();
    cluster.ctl(["put", "key", "value"]).unwrap();
    first.restart().unwrap();
    assert_eq!(first.keys("").unwrap(), ["key"]);
    second.pause().unwrap();
    cluster.leader_after(second).unwrap();
    second.resume().unwrap();
    assert_eq!(cluster.followers().unwrap().len(), 2);
}

#[test]
fn a_leader_that_is_cut_off_can_do_nothing_until_it_is_back() {
    let cluster = Etcd::builder().divisible().start_cluster().unwrap();
    let old = cluster.leader().unwrap();
    cluster.cut_off(old).unwrap();
    let new = cluster.leader_after(old).unwrap();
    new.ctl(["put", "key", "value"]).unwrap();
    assert!(old.ctl(["--command-timeout=2s", "put", "key", "other"]).is_err());
    cluster.heal();
    let there = || -> io::Result<bool> { Ok(old.keys("")? == ["key"]) };
    while !there().unwrap_or(false) {}
    assert_eq!(old.ctl(["get", "--print-value-only", "key"]).unwrap(), "value\n");
}

#[tokio::test]
async fn the_bare_client_locks_in_both_ways() {
    let etcd = Etcd::start().unwrap();
    let bare = Bare::connect(&etcd.addr().to_string()).await.unwrap();
    let lease = bare.grant(30).await.unwrap();
    assert!(bare.put_if_absent("key", "value", lease).await.unwrap());
    assert!(!bare.put_if_absent("key", "value", lease).await.unwrap());
    assert!(bare.delete("key").await.unwrap());
    assert!(!bare.delete("key").await.unwrap());
    let key = bare.lock("name", lease).await.unwrap();
    assert_eq!(key, format!("name/{lease:x}").into_bytes());
    bare.unlock(key).await.unwrap();
    bare.lock("name", lease).await.unwrap();
    bare.revoke(lease).await.unwrap();
    assert!(etcd.keys("").unwrap().is_empty());
}
