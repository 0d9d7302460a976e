//! What the proxy does to connections. Nothing here depends on how fast the machine is.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use leasehold_core::Clock;
use leasehold_core::clock::BootClock;
use leasehold_testkit::proxy::{Proxy, Rule, Way};
use leasehold_testkit::redis::{CLIENTS, Connection, Redis};

const LONG: Duration = Duration::from_secs(3600);

fn rig() -> (Redis, Proxy, Connection) {
    let redis = Redis::start().unwrap();
    let proxy = Proxy::before(redis.addr(), 1).unwrap();
    let client = Connection::open(proxy.addr()).unwrap();
    (redis, proxy, client)
}

/// A connection that has been through to the server, for raw bytes.
fn raw(proxy: &Proxy) -> TcpStream {
    let mut stream = TcpStream::connect(proxy.addr()).unwrap();
    stream.write_all(b"PING\r\n").unwrap();
    expect(&mut stream, b"+PONG\r\n");
    stream
}

fn expect(stream: &mut TcpStream, bytes: &[u8]) {
    let mut read = vec![0; bytes.len()];
    stream.read_exact(&mut read).unwrap();
    assert_eq!(read, bytes);
}

fn assert_reset(stream: &mut TcpStream) {
    assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[test]
fn everything_passes_until_a_rule_is_set() {
    let (redis, _proxy, mut client) = rig();
    let value = "x".repeat(5_000_000);
    client.command(["SET", "key", &value]).unwrap();
    assert_eq!(redis.command(["STRLEN", "key"]).unwrap().int(), 5_000_000);
    assert_eq!(client.command(["GET", "key"]).unwrap().text(), value);
}

#[test]
fn nothing_arrives_before_its_delay() {
    let (_redis, proxy, mut client) = rig();
    let delay = Duration::from_millis(50);
    proxy.delay(delay, Duration::from_millis(5));
    let before = BootClock.now();
    client.command(["PING"]).unwrap();
    assert!(BootClock.now().since(before) >= 2 * delay);
}

#[test]
fn nothing_arrives_faster_than_the_bandwidth_allows() {
    let (_redis, proxy, mut client) = rig();
    proxy.set(Way::ToServer, Rule { bytes_per_second: Some(1_000_000), ..Rule::default() });
    let before = BootClock.now();
    client.command(["SET", "key", &"x".repeat(100_000)]).unwrap();
    assert!(BootClock.now().since(before) >= Duration::from_millis(100));
}

#[test]
fn what_is_delayed_arrives_in_order_when_the_delay_ends() {
    let (redis, proxy, _) = rig();
    let mut client = raw(&proxy);
    proxy.set(Way::ToServer, Rule { delay: LONG, jitter: LONG, ..Rule::default() });
    for number in 0..100 {
        client.write_all(format!("RPUSH list {number}\r\n").as_bytes()).unwrap();
    }
    assert_eq!(redis.command(["EXISTS", "list"]).unwrap().int(), 0);
    proxy.heal().unwrap();
    for number in 1..=100 {
        expect(&mut client, format!(":{number}\r\n").as_bytes());
    }
    let list = redis.command(["LRANGE", "list", "0", "-1"]).unwrap();
    assert!(list.list().iter().map(|word| word.int()).eq(0..100));
}

#[test]
fn what_is_held_back_is_late_and_not_lost() {
    let (redis, proxy, _) = rig();
    let mut client = raw(&proxy);
    proxy.hold_way(Way::ToServer);
    client.write_all(b"SET key value\r\n").unwrap();
    assert_eq!(redis.command(["EXISTS", "key"]).unwrap().int(), 0);
    proxy.heal().unwrap();
    expect(&mut client, b"+OK\r\n");
    assert_eq!(redis.command(["EXISTS", "key"]).unwrap().int(), 1);
}

#[test]
fn a_lost_reply_leaves_the_request_done_and_the_connection_useless() {
    let (redis, proxy, _) = rig();
    let mut client = raw(&proxy);
    proxy.drop_way(Way::ToClient);
    client.write_all(b"SET key value\r\n").unwrap();
    proxy.await_loss().unwrap();
    assert_eq!(redis.command(["EXISTS", "key"]).unwrap().int(), 1);
    proxy.heal().unwrap();
    assert_reset(&mut client);
    raw(&proxy);
}

#[test]
fn a_lost_request_was_never_made() {
    let (redis, proxy, _) = rig();
    let mut client = raw(&proxy);
    proxy.drop_way(Way::ToServer);
    client.write_all(b"SET key value\r\n").unwrap();
    proxy.await_loss().unwrap();
    proxy.heal().unwrap();
    assert_reset(&mut client);
    assert_eq!(redis.command(["EXISTS", "key"]).unwrap().int(), 0);
}

#[test]
fn in_a_black_hole_nobody_hears_that_the_other_side_is_gone() {
    let (redis, proxy, _) = rig();
    let mut client = raw(&proxy);
    proxy.black_hole();
    redis.kill().unwrap();
    proxy.await_loss().unwrap();
    client.set_nonblocking(true).unwrap();
    assert_eq!(client.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
    client.set_nonblocking(false).unwrap();
    proxy.heal().unwrap();
    assert_reset(&mut client);
}

#[test]
fn the_end_of_a_connection_is_passed_on() {
    let (redis, proxy, _) = rig();
    let mut client = raw(&proxy);
    let id = "leaving";
    client.write_all(format!("CLIENT SETNAME {id}\r\n").as_bytes()).unwrap();
    expect(&mut client, b"+OK\r\n");
    assert!(redis.command(["CLIENT", "LIST"]).unwrap().text().contains(id));
    drop(client);
    while redis.command(["CLIENT", "LIST"]).unwrap().text().contains(id) {}
    let mut client = raw(&proxy);
    redis.stop().unwrap();
    assert_eq!(client.read(&mut [0]).unwrap_or(0), 0);
}

#[test]
fn a_reset_is_one_and_new_connections_are_taken() {
    let (_redis, proxy, _) = rig();
    let (mut first, mut second) = (raw(&proxy), raw(&proxy));
    proxy.reset();
    assert_reset(&mut first);
    assert_reset(&mut second);
    raw(&proxy);
}

#[test]
fn new_connections_can_be_refused_while_others_go_on() {
    let (_redis, proxy, mut client) = rig();
    client.command(["PING"]).unwrap();
    proxy.refuse().unwrap();
    proxy.refuse().unwrap();
    assert_eq!(TcpStream::connect(proxy.addr()).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    client.command(["PING"]).unwrap();
    proxy.heal().unwrap();
    proxy.heal().unwrap();
    client.command(["PING"]).unwrap();
    raw(&proxy);
}

#[test]
fn a_proxy_takes_its_connections_along() {
    let (_redis, proxy, _) = rig();
    let mut client = raw(&proxy);
    drop(proxy);
    assert_eq!(client.read(&mut [0]).unwrap_or(0), 0);
}

#[test]
fn a_connection_to_a_server_that_is_down_is_reset() {
    let (redis, proxy, _) = rig();
    redis.kill().unwrap();
    let mut client = TcpStream::connect(proxy.addr()).unwrap();
    assert_reset(&mut client);
    redis.restart().unwrap();
    raw(&proxy);
}

#[test]
fn rules_may_be_for_some_only() {
    let (_redis, proxy, mut client) = rig();
    let mut stream = raw(&proxy);
    proxy.only(&["127.0.0.9".parse().unwrap()]);
    proxy.black_hole();
    proxy.reset();
    client.command(["PING"]).unwrap();
    stream.write_all(b"PING\r\n").unwrap();
    expect(&mut stream, b"+PONG\r\n");
    proxy.only(&["127.0.0.9".parse().unwrap(), CLIENTS]);
    proxy.reset();
    assert_reset(&mut stream);
    // Whom they were for is forgotten with them.
    proxy.heal().unwrap();
    let mut stream = raw(&proxy);
    proxy.reset();
    assert_reset(&mut stream);
}
