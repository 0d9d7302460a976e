//! Floors and peers of the Redis engines on real servers. No figure is checked for its size: only that the servers
//! had as many commands as were counted, and that nothing is left on them.
#![cfg(feature = "floors")]

use std::path::Path;
use std::time::Duration;

use leasehold_bench::measure::Measured;
use leasehold_bench::{Case, Entrant, Load, Site, floor, peers, runtime};
use leasehold_core::Env;
use leasehold_testkit::python;
use leasehold_testkit::redis::{Cluster, Flavour, Redis, Sentinels, url_of};

const TASKS: usize = 3;

fn load(case: Case) -> Load {
    let (span, ttl) = (Duration::from_millis(150), Duration::from_secs(30));
    Load { case, tasks: TASKS, hold: Duration::ZERO, span, ttl }
}

fn entrants(url: &str, case: Case) -> Vec<Entrant> {
    let env = Env::system();
    let site = Site { url, folder: Path::new("/nonexistent"), env: &env };
    let floor = floor::of(&site, case).unwrap();
    floor.into_iter().chain(peers::of(&site, case).unwrap()).collect()
}

fn names(entrants: &[Entrant]) -> Vec<&str> {
    entrants.iter().map(Entrant::name).collect()
}

/// Runs a load by one of them, twice, for what is opened for a run must be closed after it. How often it held the
/// lock the second time, while it was counted.
fn turns(entrant: &Entrant, case: Case, servers: &[&Redis]) -> u64 {
    let load = load(case);
    let run = || -> Measured { runtime().unwrap().block_on(entrant.run(load)).unwrap() };
    run();
    for server in servers {
        server.command(["CONFIG", "RESETSTAT"]).unwrap();
    }
    let measured = run();
    for server in servers {
        let keys = server.command(["INFO", "keyspace"]).unwrap();
        assert_eq!(keys.text().trim(), "# Keyspace", "{} left something behind", entrant.name());
    }
    let turns = measured.shares.iter().sum();
    assert_eq!(measured.shares.len(), TASKS);
    // Pollers come to any number of hand-overs in so short a time, on a busy machine to none.
    if case == Case::Pair {
        assert!(turns > 0 && measured.rate_per_s > 0.0, "{} did nothing", entrant.name());
    }
    if case == Case::Handoff {
        let hand_overs = (measured.rate_per_s * load.span.as_secs_f64()).round() as u64;
        assert!(hand_overs <= turns, "{}: {hand_overs} hand-overs in {turns} turns", entrant.name());
    }
    turns
}

/// How often a server had a command.
fn calls(server: &Redis, command: &str) -> u64 {
    let stats = server.command(["INFO", "commandstats"]).unwrap();
    let start = format!("cmdstat_{command}:calls=");
    let line = stats.text().lines().find_map(|line| line.strip_prefix(&start));
    line.map_or(0, |line| line.split(',').next().unwrap().parse().unwrap())
}

fn pair_counts(entrant: &Entrant, server: &Redis) {
    let turns = turns(entrant, Case::Pair, &[server]);
    // rslock has a pair of its own in front, to connect.
    let more = u64::from(entrant.name() == "rslock");
    assert_eq!(calls(server, "set"), turns + more, "{}", entrant.name());
    assert_eq!(calls(server, "del"), turns + more, "{}", entrant.name());
}

fn token_counts(floor: &Entrant, server: &Redis) {
    let turns = turns(floor, Case::Handoff, &[server]);
    let taken = calls(server, "blpop");
    assert_eq!(calls(server, "rpush"), taken + 1, "the first puts it there");
    // Whoever still waits when the time is over has one more turn, which is not counted.
    assert!((turns..=turns + TASKS as u64).contains(&taken), "{turns} turns, but taken {taken} times");
}

#[test]
fn one_server() {
    for flavour in Flavour::installed().unwrap() {
        let redis = Redis::builder().flavour(flavour).start().unwrap();
        let pairs = entrants(&redis.url(), Case::Pair);
        assert_eq!(names(&pairs), ["SET + EVALSHA", "redis-py", "rslock"]);
        pairs.iter().for_each(|entrant| pair_counts(entrant, &redis));
        let hand_offs = entrants(&redis.url(), Case::Handoff);
        assert_eq!(names(&hand_offs), ["BLPOP token", "redis-py", "rslock"]);
        token_counts(&hand_offs[0], &redis);
        for peer in &hand_offs[1..] {
            turns(peer, Case::Handoff, &[&redis]);
        }
        assert!(entrants(&redis.url(), Case::Renew).is_empty());
    }
}

#[test]
fn password_and_database_and_socket() {
    let redis = Redis::builder().password("secret").start().unwrap();
    let (addr, socket) = (redis.addr(), redis.socket());
    let urls = [
        format!("redis://:secret@{addr}/3?prefix=mine"),
        format!("redis+unix:{}?db=3&password=secret", socket.display()),
    ];
    for url in urls {
        let pairs = entrants(&url, Case::Pair);
        pairs.iter().for_each(|entrant| pair_counts(entrant, &redis));
        let selected = calls(&redis, "select");
        assert!(selected > 0, "{url} is about database 3");
    }
}

#[test]
fn five_servers() {
    let nodes = Redis::builder().start_many(5).unwrap();
    let all: Vec<&Redis> = nodes.iter().collect();
    let url = url_of("redlock", &nodes);
    let pairs = entrants(&url, Case::Pair);
    assert_eq!(names(&pairs), ["SET + EVALSHA on each", "rslock"]);
    let turns_of_floor = turns(&pairs[0], Case::Pair, &all);
    for node in &nodes {
        assert_eq!((calls(node, "set"), calls(node, "del")), (turns_of_floor, turns_of_floor));
    }
    turns(&pairs[1], Case::Pair, &all);
    let hand_offs = entrants(&url, Case::Handoff);
    assert_eq!(names(&hand_offs), ["rslock"], "there is no bare way to hand over by majority");
    turns(&hand_offs[0], Case::Handoff, &all);
}

#[test]
fn sentinels() {
    let sentinels = Sentinels::start().unwrap();
    let master = sentinels.master().unwrap();
    let pairs = entrants(&sentinels.url(), Case::Pair);
    assert_eq!(names(&pairs), ["SET + EVALSHA", "redis-py", "rslock"]);
    pairs.iter().for_each(|entrant| pair_counts(entrant, master));
    token_counts(&entrants(&sentinels.url(), Case::Handoff)[0], master);
}

#[test]
fn cluster() {
    let cluster = Cluster::start().unwrap();
    let slots = [0, 8_000, 16_000];
    let masters: Vec<&Redis> = slots.iter().map(|&slot| cluster.master_of(slot).unwrap()).collect();
    let pairs = entrants(&cluster.url(), Case::Pair);
    assert_eq!(names(&pairs), ["SET + EVALSHA", "rslock"]);
    let count = |turns: u64, more: u64| {
        let set: u64 = masters.iter().map(|master| calls(master, "set")).sum();
        assert_eq!(set, turns + more);
    };
    count(turns(&pairs[0], Case::Pair, &masters), 0);
    count(turns(&pairs[1], Case::Pair, &masters), 1);
    let token = &entrants(&cluster.url(), Case::Handoff)[0];
    let turns = turns(token, Case::Handoff, &masters);
    let taken: u64 = masters.iter().map(|master| calls(master, "blpop")).sum();
    assert!((turns..=turns + TASKS as u64).contains(&taken), "{turns} turns, but taken {taken} times");
}

#[test]
fn redis_py_is_there_to_compare_with() {
    python().unwrap();
}
