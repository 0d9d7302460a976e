//! The queue among ourselves: no newcomer is faster than whoever waits.

use std::time::Duration;

use futures_util::future::join_all;
use leasehold_core::claim::Manner;
use leasehold_core::{Claim, ErrorKind, Standing};
use leasehold_testkit::redis::Redis as Server;

use crate::world::*;

#[tokio::test]
async fn a_newcomer_does_not_take_a_free_key_past_the_queue() {
    let server = Server::start().unwrap();
    let (ours, theirs) = (open(&server.url()).await, open(&server.url()).await);
    let first = token(&ours.join_one(Claim { ttl: Duration::from_millis(200), ..claim("r", 1) }).await);
    assert_eq!(ahead(&ours.join_one(claim("r", 2)).await), 1);
    // The holder is never heard of again, and its key goes by itself.
    until("the key has expired", async || server.get("lock:r").is_none()).await;
    assert_eq!(ahead(&theirs.join_one(claim("r", 3)).await), 1);
    let second = token(&ours.look(&key("r", 2)).await);
    assert_eq!(server.get("lock:r"), Some(hex(2)));
    assert!(first < second);
    assert_eq!(ours.look(&key("r", 1)).await, Standing::Gone);
}

#[tokio::test]
async fn neither_does_one_that_a_deleted_key_invites() {
    let server = Server::start().unwrap();
    let engine = open(&server.url()).await;
    token(&engine.join_one(claim("r", 1)).await);
    assert_eq!(ahead(&engine.join_one(claim("r", 2)).await), 1);
    // Somebody has helped himself; ours is none the worse for it, for the queue knows who holds.
    server.ask("DEL lock:r");
    assert_eq!(ahead(&engine.join_one(claim("r", 3)).await), 2);
    token(&engine.look(&key("r", 1)).await);
    assert_eq!(server.get("lock:r"), Some(hex(1)));
}

#[tokio::test]
async fn a_part_of_a_semaphore_waits_behind_a_big_request() {
    let server = Server::start().unwrap();
    let engine = open(&server.url()).await;
    token(&engine.join_one(Claim { ttl: Duration::from_millis(200), ..share("r", 1, (2, 3)) }).await);
    assert_eq!(ahead(&engine.join_one(share("r", 2, (3, 3))).await), 1);
    assert_eq!(ahead(&engine.join_one(share("r", 3, (1, 3))).await), 2);
    until_held(&engine, &key("r", 2)).await;
    assert_eq!(ahead(&engine.join_one(share("r", 4, (1, 3))).await), 2);
    engine.release(&key("r", 2)).await;
    token(&engine.look(&key("r", 3)).await);
    token(&engine.look(&key("r", 4)).await);
}

#[tokio::test]
async fn in_a_crowd_each_is_answered_for_itself() {
    let server = Server::start().unwrap();
    let engine = open(&server.url()).await;
    let name = |n: u128| format!("r/{n}");
    let all: Vec<_> = (1..=200).map(|n| claim(&name(n), n)).collect();
    let keys: Vec<_> = all.iter().map(Claim::key).collect();
    let leave = || async {
        let left = join_all(keys.iter().map(|key| engine.try_leave(key, Manner::Release))).await;
        left.into_iter().filter_map(Result::err).map(|error| error.kind()).collect::<Vec<_>>()
    };
    // Counters are raised by the first who come.
    let first: Vec<_> = join_all(all.iter().map(|claim| engine.join_one(claim.clone()))).await;
    assert_eq!(leave().await, []);
    assert_eq!(server.keys(), [""; 0]);

    server.ask("SET lock:r/50 somebody PX 100000");
    server.ask("LPUSH lock:r/100 odd");
    token(&engine.join_one(claim("r/150", 1000)).await);
    server.ask("CONFIG RESETSTAT");
    let second = join_all(all.iter().map(|claim| engine.try_join(claim.clone()))).await;
    let stats = server.ask("INFO commandstats");
    let calls = stats.text().lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:calls=")).unwrap();
    let calls: usize = calls.split(',').next().unwrap().parse().unwrap();
    assert!(calls < 50, "{calls} scripts for 200 requests");
    for ((n, first), second) in (1..).zip(&first).zip(&second) {
        match n {
            50 | 150 => assert_eq!(ahead(second.as_ref().unwrap()), 1),
            100 => assert_eq!(second.as_ref().unwrap_err().kind(), ErrorKind::Refused),
            _ => assert!(token(first) < token(second.as_ref().unwrap()), "{n}"),
        }
    }
    assert_eq!(leave().await, [ErrorKind::Refused]);
    server.ask("DEL lock:r/50 lock:r/100");
    engine.release(&key("r/150", 1000)).await;
    assert_eq!(server.keys(), [""; 0]);
}
