//! Other clients on the same key: redis-py's Lock and rslock. Each keeps ours out, and ours keeps it out.

use std::process::Command;
use std::time::Duration;

use futures_util::StreamExt;
use leasehold_core::{Engine, ErrorKind, Hint, Query, Standing};
use leasehold_testkit::redis::Redis as Server;
use leasehold_testkit::{Worker, python};
use rslock::LockManager;

use crate::world::*;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/single/foreign.py");

/// A process with redis-py.
fn redis_py(server: &Server) -> Worker {
    Worker::spawn(Command::new(python().unwrap()).arg(SCRIPT).arg(server.url())).unwrap()
}

async fn says(worker: &mut Worker, line: &str) -> String {
    worker.say(line).unwrap();
    worker.line().await.unwrap()
}

#[tokio::test]
async fn redis_py_keeps_ours_out_and_ours_keeps_it_out() {
    let server = Server::start().unwrap();
    let ours = client(&server.url(), LONG).await;
    let mut theirs = redis_py(&server);
    let lock = ours.mutex("r").unwrap();

    // Its default is a lock without an end.
    assert_eq!(says(&mut theirs, "try lock:r").await, "held");
    assert!(lock.try_lock().await.unwrap().is_none());
    assert_eq!(says(&mut theirs, "release lock:r").await, "released");
    // Not `try_lock`: the one before is withdrawn in the background, and may still stand in the queue.
    let guard = lock.lock().await.unwrap();
    assert_eq!(says(&mut theirs, "try lock:r").await, "busy");
    assert_eq!(says(&mut theirs, "try lock:r 5").await, "busy");

    // Whoever waits over there gets in when ours goes.
    theirs.say("lock lock:r").unwrap();
    guard.release().await.unwrap();
    assert_eq!(theirs.line().await.unwrap(), "held");
    let (waited, released) =
        tokio::join!(within("ours gets in", lock.lock()), says(&mut theirs, "release lock:r"));
    assert_eq!(released, "released");
    waited.unwrap().release().await.unwrap();

    // Readers and permits keep it out as well.
    let reader = ours.rwlock("r").unwrap().read().await.unwrap();
    assert_eq!(says(&mut theirs, "try lock:r").await, "busy");
    reader.release().await.unwrap();
    let permits = ours.semaphore("r", 3).unwrap();
    let permit = permits.acquire().await.unwrap();
    assert_eq!(says(&mut theirs, "try lock:r").await, "busy");
    permit.release().await.unwrap();
    assert_eq!(says(&mut theirs, "try lock:r 30").await, "held");
    assert!(permits.try_acquire().await.unwrap().is_none());
    assert_eq!(says(&mut theirs, "release lock:r").await, "released");
    assert_eq!(server.keys(), [""; 0]);
}

#[tokio::test]
async fn rslock_keeps_ours_out_and_ours_keeps_it_out() {
    let server = Server::start().unwrap();
    let ours = client(&server.url(), LONG).await;
    let mut theirs = LockManager::new(vec![server.url()]);
    theirs.set_retry(1, Duration::ZERO);
    let lock = ours.mutex("r").unwrap();

    // Its value is 20 bytes that are no text.
    let held = theirs.lock("lock:r", LONG).await.unwrap();
    assert!(lock.try_lock().await.unwrap().is_none());
    let held = theirs.extend(&held, LONG).await.unwrap();
    let (waited, ()) = tokio::join!(within("ours gets in", lock.lock()), theirs.unlock(&held));
    let guard = waited.unwrap();
    assert!(theirs.lock("lock:r", LONG).await.is_err());
    // Its release and its extension are no danger to ours.
    theirs.unlock(&held).await;
    assert!(theirs.extend(&held, LONG).await.is_err());
    assert_eq!(server.get("lock:r"), Some(guard.id().to_string()));
    guard.release().await.unwrap();
    let held = theirs.lock("lock:r", LONG).await.unwrap();
    assert!(ours.rwlock("r").unwrap().try_read().await.unwrap().is_none());
    theirs.unlock(&held).await;
    assert_eq!(server.keys(), [""; 0]);
}

#[tokio::test]
async fn a_lock_without_an_end_is_held_until_it_is_deleted() {
    let server = Server::start().unwrap();
    let engine = open(&server.url()).await;
    server.ask("SET lock:r theirs");
    assert_eq!(ahead(&engine.join_one(claim("r", 1)).await), 1);
    assert_eq!(ahead(&engine.join_one(claim("r", 2)).await), 2);
    match engine.look(&key("r", 1)).await {
        // Nobody says when it ends, so the first of ours looks now and then.
        Standing::Queued { ahead: 1, look_again, .. } => assert!(look_again <= SECOND, "{look_again:?}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(ahead(&engine.look(&key("r", 2)).await), 2);
    // Readers are no better off, nor is anybody who leaves.
    server.ask("SET lock:s theirs");
    assert_eq!(ahead(&engine.join_one(share("s", 3, (1, 5))).await), 1);
    engine.release(&key("r", 2)).await;
    assert_eq!((server.get("lock:r").as_deref(), server.pttl("lock:r")), (Some("theirs"), -1));
    server.ask("DEL lock:r");
    token(&engine.look(&key("r", 1)).await);
}

#[tokio::test]
async fn our_queue_waits_behind_a_foreign_value_and_gets_in_after_it() {
    let server = Server::start().unwrap();
    let (first, second) = (client(&server.url(), LONG).await, client(&server.url(), LONG).await);
    for end in ["it is deleted", "it expires"] {
        let set = if end == "it expires" { "SET lock:r theirs PX 300" } else { "SET lock:r theirs" };
        server.ask(set);
        let locks = [&first, &second].map(|client| client.mutex("r").unwrap());
        let waiting = tokio::spawn(async move {
            for lock in locks {
                lock.lock().await.unwrap().release().await.unwrap();
            }
        });
        if end == "it is deleted" {
            until("ours stands in the queue", async || {
                !first.inspect(Query { limit: 1, ..Query::default() }).await.unwrap().queues.is_empty()
            })
            .await;
            server.ask("DEL lock:r");
        }
        within(end, waiting).await.unwrap();
        assert_eq!(server.keys(), [""; 0]);
    }
}

#[tokio::test]
async fn keyspace_events_tell_the_first_of_ours() {
    let server = Server::builder().option("notify-keyspace-events", "Kgx").start().unwrap();
    let engine = open(&server.url()).await;
    for (id, end) in [(1, "it is deleted"), (2, "it expires")] {
        server.ask("SET lock:r theirs");
        let mut hints = engine.watch(&key("r", id));
        assert_eq!(ahead(&engine.join_one(claim("r", id)).await), 1);
        // Nothing but the event can tell.
        server.ask(if id == 1 { "DEL lock:r" } else { "PEXPIRE lock:r 1" });
        assert_eq!(within(end, hints.next()).await, Some(Hint::Look));
        until_held(&engine, &key("r", id)).await;
        engine.release(&key("r", id)).await;
    }
}

#[tokio::test]
async fn a_foreign_key_over_ours_makes_our_holder_lost_and_is_not_touched() {
    let server = Server::start().unwrap();
    let locks = client(&server.url(), SECOND).await;
    let guard = locks.mutex("r").unwrap().lock().await.unwrap();
    let reader = locks.rwlock("s").unwrap().read().await.unwrap();
    server.ask("SET lock:r theirs");
    server.ask("SET lock:s theirs");
    within("the holder hears of it", guard.lost()).await;
    within("the reader hears of it", reader.lost()).await;
    assert_eq!(guard.release().await.unwrap_err().kind(), ErrorKind::Lost);
    assert_eq!(reader.release().await.unwrap_err().kind(), ErrorKind::Lost);
    // At the engine itself too, in each form of the queue.
    let engine = open(&server.url()).await;
    for (name, weight, others) in [("t", 3, 0), ("u", 3, 1), ("v", 1, 0), ("w", 1, 2)] {
        token(&engine.join_one(share(name, 1, (weight, 3))).await);
        for id in 2..2 + others {
            engine.join_one(share(name, id, (weight, 3))).await;
        }
        server.ask(&format!("SET lock:{name} theirs"));
        engine.release(&key(name, 1)).await;
        assert_eq!(server.get(&format!("lock:{name}")).as_deref(), Some("theirs"));
        assert_eq!(engine.look(&key(name, 1)).await, Standing::Gone);
        server.ask(&format!("SET lock:{name} theirs"));
        assert!(ahead(&engine.join_one(share(name, 9, (1, 3))).await) > 0);
        assert_eq!(server.get(&format!("lock:{name}")).as_deref(), Some("theirs"));
    }
    for name in ["r", "s", "t", "u", "v", "w"] {
        assert_eq!(
            (server.get(&format!("lock:{name}")).as_deref(), server.pttl(&format!("lock:{name}"))),
            (Some("theirs"), -1)
        );
    }
}
