//! ZooKeeper: one server and three, and what can be done to them.

use std::process::Command;

use leasehold_testkit::python;
use leasehold_testkit::zookeeper::{Ensemble, Java, Mode, ZooKeeper};

/// Runs a script with kazoo connected to these servers as `zk`; what it prints, and its errors.
fn kazoo(servers: &str, script: &str) -> String {
    let servers = servers.trim_start_matches("zookeeper://");
    let script = format!(
        "from kazoo.client import KazooClient\nzk = KazooClient({servers:?})\nzk.start()\n{script}\nzk.stop()"
    );
    let output = Command::new(python().unwrap()).args(["-c", &script]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn one_that_is_killed_comes_back_with_its_data() {
    let zookeeper = ZooKeeper::start().unwrap();
    assert_eq!(zookeeper.mode().unwrap(), Mode::Standalone);
    assert_eq!(kazoo(&zookeeper.url(), "zk.create('/a', b'value')"), "");
    zookeeper.kill().unwrap();
    zookeeper.mode().unwrap_err();
    zookeeper.restart().unwrap();
    assert_eq!(kazoo(&zookeeper.url(), "print(zk.get('/a')[0])"), "b'value'");
    zookeeper.pause().unwrap();
    zookeeper.resume().unwrap();
    assert!(zookeeper.packets_received().unwrap() > 0);
}

#[test]
fn one_with_tls_wants_a_certificate() {
    let zookeeper = ZooKeeper::builder().tls().start().unwrap();
    let url = zookeeper.tls_url();
    let port = url.trim_start_matches("zookeeper://127.0.0.1:").split('?').next().unwrap();
    let certificates = zookeeper.certificates().unwrap();
    let (certificate, key) = certificates.client();
    let connect = |identity: &str| {
        let script = format!(
            "from kazoo.client import KazooClient\nzk = KazooClient('127.0.0.1:{port}', use_ssl=True, ca={:?}{identity})\n\
             try:\n  zk.start(3)\n  print(zk.exists('/zookeeper') is not None)\nexcept Exception as e: print(type(e).__name__)",
            certificates.authority()
        );
        let output = Command::new(python().unwrap()).args(["-c", &script]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    assert_eq!(connect(&format!(", certfile={certificate:?}, keyfile={key:?}")), "True");
    assert_eq!(connect(""), "KazooTimeoutError");
}

#[test]
fn three_elect_a_leader_and_another_when_it_is_killed() {
    let ensemble = Ensemble::start().unwrap();
    let (old, leader) = ensemble.leader().unwrap();
    assert_ne!(ensemble.follower().unwrap().0, old);
    assert_eq!(kazoo(&ensemble.url(), "zk.create('/a', b'value')"), "");
    leader.kill().unwrap();
    let (new, _) = ensemble.await_leader_other_than(old).unwrap();
    assert_eq!(kazoo(&ensemble.members()[new].url(), "print(zk.get('/a')[0])"), "b'value'");
    leader.restart().unwrap();
    ensemble.await_serving().unwrap();
    assert_eq!(leader.mode().unwrap(), Mode::Follower);
}

#[test]
fn a_leader_that_is_cut_off_is_replaced_and_comes_back() {
    let (ensemble, partition) = Ensemble::start_partitionable().unwrap();
    let (old, _) = ensemble.leader().unwrap();
    partition.cut_off(old).unwrap();
    ensemble.await_leader_other_than(old).unwrap();
    partition.heal(old).unwrap();
    ensemble.await_serving().unwrap();
    assert_ne!(ensemble.leader().unwrap().0, old);
}

#[test]
fn programs_in_java_know_curator() {
    let text = "public class Main { public static void main(String[] a) {\n\
        System.out.print(org.apache.curator.framework.recipes.locks.InterProcessMutex.class.getSimpleName() + a[0]); } }";
    let java = Java::compile(&[("Main", text)]).unwrap();
    let (program, words) = java.command("Main").unwrap();
    let output = Command::new(program).args(words).arg("!").output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "InterProcessMutex!");
    assert!(Java::compile(&[("Main", "nonsense")]).unwrap_err().to_string().contains("Main.java:1"));
}
