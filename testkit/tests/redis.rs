//! One server: what can be done to it, and how it can be started.

use std::io::Read;
use std::net::TcpStream;
use std::process::Command;

use leasehold_testkit::python;
use leasehold_testkit::redis::{Connection, Flavour, Redis};

fn unix_seconds(redis: &Redis) -> i64 {
    redis.command(["TIME"]).unwrap().list()[0].int()
}

/// What redis-py's client for this URL answers to a ping.
fn ping_from_python(url: &str, options: &str) -> String {
    let script = format!("import redis; print(redis.Redis.from_url({url:?}, {options}).ping())");
    let output = Command::new(python().unwrap()).args(["-c", &script]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn a_server_lives_as_long_as_it_is_held() {
    for flavour in Flavour::installed().unwrap() {
        let redis = Redis::builder().flavour(flavour).start().unwrap();
        assert_eq!(redis.command(["PING"]).unwrap().text(), "PONG");
        let folder = redis.folder().to_owned();
        let mut connection = TcpStream::connect(redis.addr()).unwrap();
        assert!(folder.is_dir());
        drop(redis);
        assert_eq!(connection.read(&mut [0]).unwrap_or(0), 0);
        assert!(!folder.exists());
    }
}

#[test]
fn it_is_the_flavour_that_was_asked_for() {
    for flavour in Flavour::installed().unwrap() {
        let redis = Redis::builder().flavour(flavour).start().unwrap();
        let info = redis.command(["INFO", "server"]).unwrap();
        assert_eq!(info.text().contains("valkey_version"), flavour == Flavour::Valkey);
    }
}

#[test]
fn a_durable_one_that_is_killed_comes_back_with_its_data() {
    let redis = Redis::builder().durable().start().unwrap();
    redis.command(["SET", "key", "value"]).unwrap();
    let (addr, pid) = (redis.addr(), redis.pid());
    redis.kill().unwrap();
    assert_eq!(redis.pid(), None);
    assert!(redis.command(["PING"]).is_err());
    redis.restart().unwrap();
    assert_ne!(redis.pid(), pid);
    assert_eq!(redis.addr(), addr);
    assert_eq!(redis.command(["GET", "key"]).unwrap().text(), "value");
}

#[test]
fn one_that_is_not_durable_comes_back_empty() {
    let redis = Redis::start().unwrap();
    redis.command(["SET", "key", "value"]).unwrap();
    redis.restart().unwrap();
    assert_eq!(redis.command(["DBSIZE"]).unwrap().int(), 0);
}

#[test]
fn stopped_it_saves_what_it_was_told_to_save() {
    let redis = Redis::builder().option("save", "3600 1").start().unwrap();
    redis.command(["SET", "key", "value"]).unwrap();
    redis.pause().unwrap();
    assert!(redis.stop().unwrap().success());
    assert!(redis.stop().unwrap_err().to_string().ends_with("is not running"));
    redis.restart().unwrap();
    assert_eq!(redis.command(["GET", "key"]).unwrap().text(), "value");
}

#[test]
fn what_is_said_to_a_paused_one_is_done_when_it_goes_on() {
    let redis = Redis::start().unwrap();
    let mut connection = redis.connect().unwrap();
    redis.pause().unwrap();
    let asker = std::thread::spawn(move || connection.command(["INCR", "key"]));
    // Still paused, whatever the other thread has done by now.
    let state = std::fs::read_to_string(format!("/proc/{}/stat", redis.pid().unwrap())).unwrap();
    assert!(state.contains(") T "), "{state}");
    redis.resume().unwrap();
    assert_eq!(asker.join().unwrap().unwrap().int(), 1);
}

#[test]
fn its_clock_can_be_shifted_while_it_runs() {
    for flavour in Flavour::installed().unwrap() {
        let redis = Redis::builder().flavour(flavour).fake_clock().start().unwrap();
        let real = Redis::start().unwrap();
        redis.command(["SET", "key", "value", "PX", "600000"]).unwrap();
        redis.shift_clock(-3600.0).unwrap();
        assert!((3590..=3600).contains(&(unix_seconds(&real) - unix_seconds(&redis))));
        assert!(redis.command(["PTTL", "key"]).unwrap().int() > 3_600_000);
        redis.shift_clock(3600.0).unwrap();
        assert!(unix_seconds(&redis) - unix_seconds(&real) >= 3599);
        assert_eq!(redis.command(["EXISTS", "key"]).unwrap().int(), 0);
        // It must still be one that ends when asked to.
        redis.shift_clock(-3600.0).unwrap();
        redis.restart().unwrap();
        assert!(unix_seconds(&real) - unix_seconds(&redis) >= 3590);
    }
    let plain = Redis::start().unwrap();
    assert!(plain.shift_clock(1.0).unwrap_err().to_string().ends_with("start it with a fake one"));
}

#[test]
fn its_clock_can_be_stopped() {
    let redis = Redis::builder().fake_clock().start().unwrap();
    let time = || {
        let reply = redis.command(["TIME"]).unwrap();
        let part = |at: usize| reply.list()[at].text().parse::<u64>().unwrap();
        part(0) * 1_000_000 + part(1)
    };
    let at = time() + 3_600_000_000;
    redis.stop_clock_at(at).unwrap();
    redis.command(["SET", "key", "value", "PX", "5"]).unwrap();
    assert_eq!((time(), redis.command(["PTTL", "key"]).unwrap().int()), (at, 5));
    redis.stop_clock_at(at + 4000).unwrap();
    assert_eq!((time(), redis.command(["PTTL", "key"]).unwrap().int()), (at + 4000, 1));
    redis.stop_clock_at(at + 6000).unwrap();
    assert_eq!(redis.command(["EXISTS", "key"]).unwrap().int(), 0);
    redis.shift_clock(0.0).unwrap();
    assert!(time() < at);
}

#[test]
fn passwords_and_users_are_asked_for() {
    let redis = Redis::builder().password("secret").start().unwrap();
    assert_eq!(redis.url(), format!("redis://:secret@{}", redis.addr()));
    assert_eq!(redis.command(["PING"]).unwrap().text(), "PONG");
    let mut stranger = Connection::open(redis.addr()).unwrap();
    assert!(stranger.command(["PING"]).unwrap_err().to_string().starts_with("NOAUTH"));

    let redis =
        Redis::builder().user("default", "off").user("alice", "on >secret ~lock:* +@all").start().unwrap();
    assert_eq!(redis.command(["ACL", "WHOAMI"]).unwrap().text(), "testkit");
    let mut alice = Connection::open(redis.addr()).unwrap();
    assert!(alice.command(["PING"]).unwrap_err().to_string().starts_with("NOAUTH"));
    assert!(alice.command(["AUTH", "alice", "guess"]).unwrap_err().to_string().starts_with("WRONGPASS"));
    alice.command(["AUTH", "alice", "secret"]).unwrap();
    alice.command(["SET", "lock:a", "1"]).unwrap();
    assert!(alice.command(["SET", "other", "1"]).unwrap_err().to_string().starts_with("NOPERM"));

    let both = Redis::builder().password("secret").user("alice", "on").start().unwrap_err();
    assert!(both.to_string().contains("either a password or users"));
}

#[test]
fn other_clients_reach_it_by_tls_and_by_its_socket() {
    let redis = Redis::builder().tls().start().unwrap();
    let authority = redis.certificates().unwrap().authority();
    let trust = format!("ssl_ca_certs={:?}", authority.to_str().unwrap());
    assert_eq!(ping_from_python(&redis.tls_url(), &trust), "True");
    let by_name = redis.tls_url().replace("127.0.0.1", "localhost");
    assert_eq!(ping_from_python(&by_name, &trust), "True");
    let (certificate, key) = redis.certificates().unwrap().client();
    let known = format!("{trust}, ssl_certfile={certificate:?}, ssl_keyfile={key:?}");
    assert_eq!(ping_from_python(&redis.tls_url(), &known), "True");
    assert!(ping_from_python(&redis.tls_url(), "").contains("CERTIFICATE_VERIFY_FAILED"));
    assert_eq!(ping_from_python(&format!("unix://{}", redis.socket().display()), ""), "True");
}

#[test]
fn a_replica_has_what_its_master_has() {
    for builder in
        [Redis::builder(), Redis::builder().password("secret"), Redis::builder().user("default", "off")]
    {
        let master = builder.start().unwrap();
        master.command(["SET", "key", "value"]).unwrap();
        let replica = builder.clone().replica_of(&master).start().unwrap();
        assert_eq!(replica.command(["GET", "key"]).unwrap().text(), "value");
        let refused = replica.command(["SET", "key", "other"]).unwrap_err();
        assert!(refused.to_string().starts_with("READONLY"), "{refused}");
    }
}

#[test]
fn many_know_nothing_of_each_other() {
    let nodes = Redis::builder().start_many(5).unwrap();
    for (index, node) in nodes.iter().enumerate() {
        node.command(["SET", "key", &index.to_string()]).unwrap();
    }
    for (index, node) in nodes.iter().enumerate() {
        assert_eq!(node.command(["GET", "key"]).unwrap().int(), index as i64);
    }
    let url = leasehold_testkit::redis::url_of("redlock", &nodes[..2]);
    assert_eq!(url, format!("redlock://{},{}", nodes[0].addr(), nodes[1].addr()));
}

#[test]
fn one_that_does_not_come_up_says_why() {
    let builder = Redis::builder().flavour(Flavour::Redis).option("maxmemory", "plenty");
    let error = builder.start().unwrap_err().to_string();
    assert!(error.contains("can no longer be that redis-server on 127.0.0.1:"), "{error}");
    assert!(error.contains("it ended with exit status: 1; its log ends:\n"), "{error}");
    assert!(error.contains("maxmemory plenty"), "{error}");
}

#[test]
fn one_that_is_loading_is_not_ready() {
    let kept = "enable-debug-command";
    let slow =
        Redis::builder().option("save", "3600 1").option(kept, "local").option("key-load-delay", "200");
    let redis = slow.option("loading-process-events-interval-bytes", "1024").start().unwrap();
    redis.command(["DEBUG", "POPULATE", "5000"]).unwrap();
    redis.stop().unwrap();
    redis.launch().unwrap();
    let refusal = loop {
        // Refused until it listens.
        match Connection::open(redis.addr()).and_then(|mut connection| connection.command(["DBSIZE"])) {
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {}
            answer => break answer.unwrap_err().to_string(),
        }
    };
    assert!(refusal.starts_with("LOADING"), "{refusal}");
    redis.command(["CONFIG", "SET", "key-load-delay", "0"]).unwrap();
    redis.await_ready().unwrap();
    assert_eq!(redis.command(["DBSIZE"]).unwrap().int(), 5000);
}

#[tokio::test]
async fn async_tests_may_start_one_too() {
    let redis = Redis::start().unwrap();
    let asked = tokio::task::spawn_blocking(move || redis.command(["PING"])).await.unwrap();
    assert_eq!(asked.unwrap().text(), "PONG");
}
