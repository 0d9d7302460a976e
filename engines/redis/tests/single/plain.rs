//! The plain key: what other clients see of our locks.

use std::time::Duration;

use leasehold_core::clock::BootClock;
use leasehold_core::{Clock, Engine};
use leasehold_testkit::redis::Redis as Server;

use crate::world::*;

/// How long after a request its key lives: not less than was asked for, and at most a millisecond more.
async fn lives(server: &Server, at: &str, ttl: Duration, request: impl Future) {
    let sent = BootClock.now();
    request.await;
    let left = server.pttl(at);
    let since = i64::try_from(BootClock.now().since(sent).as_millis()).unwrap();
    let ttl = i64::try_from(ttl.as_millis()).unwrap();
    assert!(
        left <= ttl + 1 && left >= ttl - since - 1,
        "`{at}` lives {left} ms, {since} ms after the request"
    );
}

#[tokio::test]
async fn a_mutex_is_a_string_with_the_holders_id_and_its_time() {
    let server = Server::start().unwrap();
    let engine = open(&server.url()).await;
    lives(&server, "lock:r", 30 * SECOND, engine.join_one(claim("r", 1))).await;
    assert_eq!(server.get("lock:r"), Some(hex(1)));
    lives(&server, "lock:r", 90 * SECOND, engine.try_refresh(&key("r", 1), 90 * SECOND)).await;
    // A waiter changes nothing about it; from then on there is a queue.
    assert_eq!(ahead(&engine.join_one(claim("r", 2)).await), 1);
    assert_eq!(server.get("lock:r"), Some(hex(1)));
    lives(&server, "lock:r", 120 * SECOND, engine.try_refresh(&key("r", 1), 120 * SECOND)).await;
    engine.release(&key("r", 1)).await;
    assert_eq!(server.get("lock:r"), Some(hex(2)));
    // The next holder's own time, which is that of a waiter until it has been heard of.
    assert!(server.pttl("lock:r") <= 5001);
    lives(&server, "lock:r", 30 * SECOND, engine.look(&key("r", 2))).await;
    engine.release(&key("r", 2)).await;
    assert_eq!(server.keys(), [""; 0]);
}

#[tokio::test]
async fn the_prefix_is_ours_to_choose() {
    let server = Server::start().unwrap();
    for (option, at) in [("", "lock:r"), ("?prefix=", "r"), ("?prefix=app%3A%7Bx%7D/", "app:{x}/r")] {
        let engine = open(&format!("{}{option}", server.url())).await;
        token(&engine.join_one(claim("r", 1)).await);
        assert_eq!(server.get(at), Some(hex(1)));
        assert_eq!(engine.names("", 10).await, ["r"], "others have other prefixes");
        engine.release(&key("r", 1)).await;
        assert_eq!(server.get(at), None);
    }
}

#[tokio::test]
async fn shared_holds_say_so_until_the_last_of_them_ends() {
    let server = Server::start().unwrap();
    let engine = open(&server.url()).await;
    let shared = Some("leasehold:shared".to_owned());
    lives(&server, "lock:r", 30 * SECOND, engine.join_one(share("r", 1, (1, 3)))).await;
    assert_eq!(server.get("lock:r"), shared);
    let mut second = share("r", 2, (1, 3));
    second.ttl = 90 * SECOND;
    lives(&server, "lock:r", 90 * SECOND, engine.join_one(second)).await;
    assert_eq!(ahead(&engine.join_one(share("r", 3, (3, 3))).await), 2);
    // Whoever leaves takes its time with it.
    engine.release(&key("r", 2)).await;
    assert_eq!(server.get("lock:r"), shared);
    assert!(server.pttl("lock:r") <= 30_001);
    lives(&server, "lock:r", 60 * SECOND, engine.try_refresh(&key("r", 1), 60 * SECOND)).await;
    // A claim to everything is not shared.
    engine.release(&key("r", 1)).await;
    assert_eq!(server.get("lock:r"), Some(hex(3)));
    engine.release(&key("r", 3)).await;
    assert_eq!(server.keys(), [""; 0]);
}

#[tokio::test]
async fn an_at_least_hold_keeps_the_key_after_its_release() {
    let server = Server::start().unwrap();
    let engine = open(&server.url()).await;
    let mut kept = claim("r", 1);
    kept.at_least = 20 * SECOND;
    token(&engine.join_one(kept).await);
    engine.release(&key("r", 1)).await;
    assert_eq!(server.get("lock:r"), Some(hex(1)));
    let left = server.pttl("lock:r");
    assert!((1..=20_001).contains(&left), "{left}");
    assert_eq!(ahead(&engine.join_one(claim("r", 2)).await), 1);
}

#[tokio::test]
async fn nothing_is_left_behind_but_counters() {
    let server = Server::start().unwrap();
    let engine = open(&server.url()).await;
    let name = |n: u128| format!("once/{n}");
    let all: Vec<_> = (1..=10_000).map(|n| claim(&name(n), n)).collect();
    for some in all.chunks(1000) {
        for standing in engine.join(some).await {
            token(&standing.unwrap());
        }
    }
    let leaves: Vec<_> = all
        .iter()
        .map(|claim| leasehold_core::Leave { claim: claim.key(), manner: leasehold_core::Manner::Release })
        .collect();
    for some in leaves.chunks(1000) {
        assert!(engine.leave(some).await.iter().all(Result::is_ok));
    }
    assert_eq!(server.keys(), [""; 0]);
    let counters = server.ask("DBSIZE").int();
    assert!((1..=10_000).contains(&counters), "{counters}");

    // Waits, hand-overs, a cancelled wait, and holders and waiters that are never heard of again.
    let short = Duration::from_millis(200);
    for n in 1..=50 {
        let brief = |id: u128| leasehold_core::Claim { ttl: short, ..claim(&name(n), id) };
        engine.join_one(brief(1)).await;
        engine.join_one(brief(2)).await;
        engine.join_one(brief(3)).await;
        if n % 3 > 0 {
            engine.release(&key(&name(n), 1)).await;
        }
        if n % 5 > 0 {
            engine.release(&key(&name(n), 3)).await;
        }
        let part = |id: u128| leasehold_core::Claim { ttl: short, ..share(&name(1000 + n), id, (2, 5)) };
        for id in 1..=4 {
            engine.join_one(part(id)).await;
        }
        engine.release(&key(&name(1000 + n), 1 + n % 4)).await;
    }
    // Names that were used before have no new counter, and no counter ever ends.
    until("only the same counters are left", async || server.ask("DBSIZE").int() == counters).await;
    assert_eq!(server.keys(), [""; 0]);
    let counter = server.ask("RANDOMKEY");
    assert_eq!(server.pttl(counter.text()), -1);
}
