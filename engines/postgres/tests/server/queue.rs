//! Queues between engines: who is told, who is passed, and what is not in whose way.

use std::sync::Arc;

use leasehold_core::Client;
use leasehold_core::claim::Manner;
use leasehold_core::engine::{Refusal, Wakeups};
use leasehold_core::{Engine, Hint, Standing};
use leasehold_testkit::postgres::Postgres as Server;

use crate::world::*;

#[tokio::test]
async fn a_hand_over_between_engines_is_told_with_its_token() {
    use futures_util::StreamExt;
    let server = Server::start().unwrap();
    let (one, two) = (open(&server.url()).await, open(&server.url()).await);
    let first = token(&one.join_one(claim("m", 1)).await);
    ahead(&two.join_one(claim("m", 2)).await);
    let mut hints = two.watch(&key("m", 2));
    // It listens from now on.
    assert_eq!(within("it listens", hints.next()).await, Some(Hint::Look));
    one.release(&key("m", 1)).await;
    let Some(Hint::Held(told)) = within("it is told", hints.next()).await else { panic!("not held") };
    assert!(told > first);
    assert_eq!(token(&two.look(&key("m", 2)).await), told);
    assert_eq!(server.sql("SELECT count(*) FROM distributed_locks").unwrap(), "1");
}

#[tokio::test]
async fn where_nobody_listens_they_look() {
    let server = Server::start().unwrap();
    let quiet = format!("{}?listen=off", server.url());
    let engine = open(&quiet).await;
    assert_eq!(engine.info().wakeups, Wakeups::Poll);
    let (one, two) = (client(&quiet, 30 * SECOND).await, client(&quiet, 30 * SECOND).await);
    let guard = one.mutex("m").unwrap().lock().await.unwrap();
    let mutex = two.mutex("m").unwrap();
    let waits = tokio::spawn(async move { mutex.lock().await });
    guard.release().await.unwrap();
    within("it looks", waits).await.unwrap().unwrap().release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_somebody_keeps_is_in_nobody_elses_way() {
    let server = Server::start().unwrap();
    let engine = Arc::new(open(&server.url()).await);
    token(&engine.join_one(claim("kept", 1)).await);
    let keeper = std::thread::scope(|scope| {
        let keep =
            "BEGIN; SELECT 1 FROM distributed_locks WHERE lock_name = 'kept' FOR UPDATE; SELECT pg_sleep(60)";
        let kept = scope.spawn(|| server.sql(keep));
        let look =
            "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'BEGIN;%' AND wait_event = 'PgSleep'";
        while server.sql(look).unwrap() != "1" {}
        let runtime = tokio::runtime::Handle::current();
        let engine = engine.clone();
        // Together in one statement, and the one does not hold up the others.
        let batch = [claim("a", 10), claim("kept", 11), claim("z", 12)];
        let answers = scope.spawn(move || runtime.block_on(engine.join(&batch))).join().unwrap();
        server
            .sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'BEGIN;%'")
            .unwrap();
        drop(kept.join().unwrap());
        answers
    });
    token(keeper[0].as_ref().unwrap());
    token(keeper[2].as_ref().unwrap());
    insta::assert_snapshot!(
        keeper[1].as_ref().unwrap_err().to_string().replace(&server.port().to_string(), "PORT")
    );
    assert!(keeper[1].as_ref().unwrap_err().is_transient());
    assert_eq!(ahead(&engine.join_one(claim("kept", 11)).await), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadlock_is_undone_and_the_same_claim_is_asked_for_again() {
    // Whoever has waited for so long looks for one, and is its victim; the other one here looks much later.
    let server = Server::builder().option("deadlock_timeout", "100ms").start().unwrap();
    let engine = Arc::new(open(&server.url()).await);
    token(&engine.join_one(claim("kept", 1)).await);
    // Keeps the row that we are about to wait for, and waits for what we have while we do.
    let crossing = "SET deadlock_timeout = '10min'; BEGIN;
        SELECT 1 FROM distributed_locks WHERE lock_name = 'kept' FOR UPDATE;
        DO $$ BEGIN
            WHILE NOT EXISTS (SELECT FROM pg_locks WHERE NOT granted) LOOP PERFORM pg_sleep(0.01); END LOOP;
        END $$;
        SELECT pg_advisory_xact_lock(7810774602817235315); COMMIT";
    let answer = std::thread::scope(|scope| {
        let crossed = scope.spawn(|| server.sql(crossing));
        let waits = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SET deadlock%' AND wait_event = 'PgSleep'";
        while server.sql(waits).unwrap() != "1" {}
        let (runtime, engine) = (tokio::runtime::Handle::current(), engine.clone());
        let asked = scope.spawn(move || runtime.block_on(engine.join_one(claim("kept", 11))));
        let answer = asked.join().unwrap();
        crossed.join().unwrap().unwrap();
        answer
    });
    assert_eq!(ahead(&answer), 1);
    let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    // It is counted a little later.
    while server.sql(deadlocks).unwrap() != "1" {}
}

#[tokio::test]
async fn a_thousand_hold_and_a_thousand_wait_on_few_connections() {
    let server = Server::start().unwrap();
    let locks = client(&server.url(), 60 * SECOND).await;
    let hold = |locks: Client, name: String| async move { locks.mutex(&name).unwrap().lock().await.unwrap() };
    let held: Vec<_> = (0..1000).map(|n| tokio::spawn(hold(locks.clone(), format!("{n}")))).collect();
    let mut guards = Vec::new();
    for guard in held {
        guards.push(within("all are held", guard).await.unwrap());
    }
    let waiting: Vec<_> = (0..1000).map(|n| tokio::spawn(hold(locks.clone(), format!("{n}")))).collect();
    let waiters = "SELECT count(*) FROM leasehold_claim WHERE token IS NULL";
    while server.sql(waiters).unwrap() != "1000" {
        tokio::task::yield_now().await;
    }
    let sessions = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'leasehold'";
    assert_eq!(server.sql(sessions).unwrap(), "2");
    drop(guards);
    for guard in waiting {
        within("all are handed over", guard).await.unwrap().release().await.unwrap();
    }
    locks.shutdown(10 * SECOND).await.unwrap();
    assert_eq!(server.sql("SELECT count(*) FROM leasehold_claim").unwrap(), "0");
    assert_eq!(server.sql("SELECT count(*) FROM distributed_locks").unwrap(), "0");
}

#[tokio::test]
async fn one_batch_is_answered_item_by_item() {
    let server = Server::start().unwrap();
    let engine = open(&server.url()).await;
    let batch = [claim("m", 1), claim("m", 2), share("m", 3, (1, 2)), claim("n", 4), claim("m", 1)];
    let answers: Vec<_> = engine.join(&batch).await.into_iter().map(Result::unwrap).collect();
    let first = token(&answers[0]);
    assert_eq!(ahead(&answers[1]), 1);
    assert_eq!(answers[2], Standing::Refused(Refusal::Capacity { current: 1 }));
    token(&answers[3]);
    assert_eq!(token(&answers[4]), first, "the same claim once more is the same hold");
    // A claim that is asked for and given back in one breath is not left behind.
    let both = key("o", 5);
    let (join, leave) = (engine.join(&[claim("o", 5)]), engine.try_leave(&both, Manner::Release));
    let (joined, left) = tokio::join!(join, leave);
    token(joined[0].as_ref().unwrap());
    left.unwrap();
    token(&engine.join_one(claim("o", 6)).await);
}
