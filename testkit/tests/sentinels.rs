//! A master, two replicas and three Sentinels: who leads, and who leads next.

use leasehold_testkit::proxy::Fate;
use leasehold_testkit::redis::{Connection, Redis, Sentinels};

#[test]
fn a_fail_over_by_order_announces_a_new_master() {
    let sentinels = Sentinels::start().unwrap();
    assert_eq!(sentinels.replicas().unwrap().len(), 2);
    let old = sentinels.master().unwrap();
    old.command(["SET", "key", "value"]).unwrap();
    let new = sentinels.fail_over().unwrap();
    assert_ne!(new.port(), old.port());
    assert_eq!(sentinels.master().unwrap().port(), new.port());
    assert!(sentinels.replicas().unwrap().iter().any(|replica| replica.port() == old.port()));
    new.command(["SET", "key", "other"]).unwrap();
}

#[test]
fn when_the_master_is_killed_the_sentinels_find_another() {
    let sentinels = Sentinels::start().unwrap();
    let old = sentinels.kill_master().unwrap();
    let new = sentinels.await_new_master(old).unwrap();
    new.command(["SET", "key", "value"]).unwrap();
    let ports: Vec<_> = sentinels.sentinels().iter().map(|sentinel| sentinel.addr().to_string()).collect();
    assert_eq!(sentinels.url(), format!("redis+sentinel://{}/{}", ports.join(","), sentinels.master_name()));
}

#[test]
fn who_leads_is_told_as_long_as_one_sentinel_runs() {
    let sentinels = Sentinels::start().unwrap();
    for sentinel in &sentinels.sentinels()[..2] {
        sentinel.kill().unwrap();
    }
    assert_eq!(sentinels.master().unwrap().port(), sentinels.servers()[0].port());
    sentinels.sentinels()[2].kill().unwrap();
    assert_eq!(sentinels.master().unwrap_err().to_string(), "no Sentinel is running");
    // What they have learned is in their files.
    sentinels.sentinels()[0].restart().unwrap();
    assert_eq!(sentinels.master().unwrap().port(), sentinels.servers()[0].port());
}

#[test]
fn a_master_that_is_cut_off_from_the_others_is_replaced_and_clients_still_reach_it() {
    let sentinels = Sentinels::start_divisible(&Redis::builder(), 1).unwrap();
    let network = sentinels.network();
    let old = sentinels.master().unwrap();
    let mut client = Connection::open(network.proxies()[0].addr()).unwrap();
    client.command(["SET", "key", "value"]).unwrap();
    network.cut_off(0, Fate::Vanish);
    let new = sentinels.await_new_master(old).unwrap();
    client.command(["SET", "key", "from a client"]).unwrap();
    new.command(["SET", "key", "other"]).unwrap();
    network.heal().unwrap();
    // It is told that it is a replica, and what it had taken meanwhile is lost.
    old.await_in_sync().unwrap();
    assert_eq!(old.command(["GET", "key"]).unwrap().text(), "other");
}
