//! The queue among ourselves: no newcomer is faster than whoever waits.

use std::time::Duration;

use leasehold_core::{Claim, Standing};
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
