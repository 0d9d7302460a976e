//! Six nodes: slots that move, and masters that are replaced.

use leasehold_testkit::proxy::Fate;
use leasehold_testkit::redis::{Cluster, Redis};

#[test]
fn a_slot_moves_with_its_keys() {
    let cluster = Cluster::start().unwrap();
    let key = "{tag}key";
    let slot = cluster.slot_of(key).unwrap();
    let from = cluster.master_of(slot).unwrap();
    let to = cluster.other_master(slot).unwrap();
    let moved = format!("MOVED {slot} {}", from.addr());
    assert_eq!(to.command(["SET", key, "value"]).unwrap_err().to_string(), moved);
    from.command(["SET", key, "value"]).unwrap();

    cluster.begin_move(slot, to).unwrap();
    assert_eq!(from.command(["GET", key]).unwrap().text(), "value");
    let ask = from.command(["GET", "{tag}unknown"]).unwrap_err().to_string();
    assert_eq!(ask, format!("ASK {slot} {}", to.addr()));
    cluster.move_keys(slot, to).unwrap();
    let ask = from.command(["GET", key]).unwrap_err().to_string();
    assert_eq!(ask, format!("ASK {slot} {}", to.addr()));
    cluster.end_move(slot, to).unwrap();

    assert_eq!(cluster.master_of(slot).unwrap().port(), to.port());
    assert_eq!(to.command(["GET", key]).unwrap().text(), "value");
    let moved = format!("MOVED {slot} {}", to.addr());
    assert_eq!(from.command(["GET", key]).unwrap_err().to_string(), moved);
    cluster.move_slot(slot, from).unwrap();
    assert_eq!(from.command(["GET", key]).unwrap().text(), "value");
}

#[test]
fn a_killed_master_is_replaced_by_its_replica() {
    let cluster = Cluster::start().unwrap();
    let slot = cluster.slot_of("key").unwrap();
    let mut connection = cluster.master_of(slot).unwrap().connect().unwrap();
    connection.command(["SET", "key", "value"]).unwrap();
    assert_eq!(connection.command(["WAIT", "1", "0"]).unwrap().int(), 1);
    let old = cluster.kill_master(slot).unwrap();
    let new = cluster.await_takeover(slot, old).unwrap();
    assert_ne!(new.port(), old.port());
    assert_eq!(new.command(["GET", "key"]).unwrap().text(), "value");
    // The old one comes back as a replica.
    old.restart().unwrap();
    old.await_in_sync().unwrap();
    assert_eq!(cluster.master_of(slot).unwrap().port(), new.port());
}

#[test]
fn a_master_that_is_cut_off_from_the_others_is_replaced() {
    let cluster = Cluster::start_divisible(&Redis::builder(), 1).unwrap();
    let slot = cluster.slot_of("key").unwrap();
    let old = cluster.master_of(slot).unwrap();
    let nth = cluster.nodes().iter().position(|node| node.port() == old.port()).unwrap();
    cluster.network().cut_off(nth, Fate::Vanish);
    let new = cluster.await_takeover(slot, old).unwrap();
    new.command(["SET", "key", "value"]).unwrap();
    cluster.network().heal().unwrap();
    old.await_in_sync().unwrap();
    assert_eq!(cluster.await_takeover(slot, old).unwrap().port(), new.port());
}
