//! Queues between engines: who is told, who is passed, and what is not in whose way.

use std::sync::Arc;

use futures_util::StreamExt;
use leasehold_core::claim::Manner;
use leasehold_core::engine::{Refusal, Wakeups};
use leasehold_core::{Client, Engine, Hint, Refresh, Standing};
use leasehold_testkit::mariadb::MariaDb as Server;

use crate::world::*;

#[tokio::test]
async fn a_hand_over_between_engines_is_told_with_its_token() {
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
    assert_eq!(server.run("SELECT COUNT(*) FROM distributed_locks").unwrap(), "1");
    assert_eq!(server.run("SELECT COUNT(*) FROM leasehold_note").unwrap(), "0");
}

#[tokio::test]
async fn within_an_engine_nobody_needs_to_listen() {
    let server = Server::start().unwrap();
    let engine = open(&format!("{}?listen=off", server.url())).await;
    assert_eq!(engine.info().wakeups, Wakeups::Poll);
    token(&engine.join_one(claim("m", 1)).await);
    ahead(&engine.join_one(claim("m", 2)).await);
    let mut hints = engine.watch(&key("m", 2));
    engine.release(&key("m", 1)).await;
    let told = within("it is told", hints.next()).await;
    assert!(matches!(told, Some(Hint::Held(_))), "{told:?}");
    assert_eq!(server.run("SELECT COUNT(*) FROM leasehold_note").unwrap(), "0");
}

#[tokio::test]
async fn where_nobody_listens_they_look() {
    let server = Server::start().unwrap();
    let quiet = format!("{}?listen=off", server.url());
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
        let keep = "BEGIN; SELECT 1 FROM distributed_locks WHERE lock_name = 'kept' FOR UPDATE; DO SLEEP(60)";
        let kept = scope.spawn(|| server.run(keep));
        let look =
            "SELECT COALESCE(MAX(id), '') FROM information_schema.processlist WHERE info = 'DO SLEEP(60)'";
        let mut sleeper = String::new();
        while sleeper.is_empty() {
            sleeper = server.run(look).unwrap();
        }
        let runtime = tokio::runtime::Handle::current();
        let engine = engine.clone();
        // Together in one transaction, and the one does not hold up the others; what is asked of it keeps its order.
        let batch = [claim("a", 10), claim("kept", 11), claim("kept", 12), claim("z", 13)];
        let answers = scope.spawn(move || runtime.block_on(engine.join(&batch))).join().unwrap();
        server.run(&format!("KILL {sleeper}")).unwrap();
        drop(kept.join().unwrap());
        answers
    });
    token(keeper[0].as_ref().unwrap());
    token(keeper[3].as_ref().unwrap());
    for busy in &keeper[1..=2] {
        let error = busy.as_ref().unwrap_err();
        assert!(error.is_transient());
        insta::allow_duplicates! { insta::assert_snapshot!(fixed(&server, &error.to_string())) };
    }
    assert_eq!(ahead(&engine.join_one(claim("kept", 11)).await), 1);
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
    let waiters = "SELECT COUNT(*) FROM leasehold_claim WHERE NOT held";
    while server.run(waiters).unwrap() != "1000" {
        tokio::task::yield_now().await;
    }
    let sessions = "SELECT COUNT(*) FROM information_schema.processlist WHERE db = 'leasehold' AND id <> CONNECTION_ID()";
    let sessions: u32 = server.run(sessions).unwrap().parse().unwrap();
    assert!(sessions <= 3, "{sessions}");
    drop(guards);
    for guard in waiting {
        within("all are handed over", guard).await.unwrap().release().await.unwrap();
    }
    locks.shutdown(10 * SECOND).await.unwrap();
    assert_eq!(server.run("SELECT COUNT(*) FROM leasehold_claim").unwrap(), "0");
    assert_eq!(server.run("SELECT COUNT(*) FROM distributed_locks").unwrap(), "0");
}

#[tokio::test]
async fn one_batch_is_answered_item_by_item() {
    let server = Server::start().unwrap();
    let engine = open(&server.url()).await;
    let batch = [claim("m", 1), claim("n", 4), claim("m", 2), share("m", 3, (1, 2)), claim("m", 1)];
    let answers: Vec<_> = engine.join(&batch).await.into_iter().map(Result::unwrap).collect();
    let first = token(&answers[0]);
    token(&answers[1]);
    assert_eq!(ahead(&answers[2]), 1);
    assert_eq!(answers[3], Standing::Refused(Refusal::Capacity { current: 1 }));
    assert_eq!(token(&answers[4]), first, "the same claim once more is the same hold");
    // A claim that is asked for and given back in one breath is not left behind.
    let both = key("o", 5);
    let (join, leave) = (engine.join(&[claim("o", 5)]), engine.try_leave(&both, Manner::Release));
    let (joined, left) = tokio::join!(join, leave);
    token(joined[0].as_ref().unwrap());
    left.unwrap();
    token(&engine.join_one(claim("o", 6)).await);
}

#[tokio::test]
async fn many_are_renewed_at_once_and_who_cannot_be_is_told_so() {
    let server = Server::start().unwrap();
    let (engine, other) = (open(&server.url()).await, open(&server.url()).await);
    let name = |n: u128| format!("lock \"{n}\" \\ 🔒");
    let claims: Vec<_> = (0..50).map(|n| claim(&name(n), 100 + n)).collect();
    let first: Vec<_> = engine.join(&claims).await.iter().map(|held| token(held.as_ref().unwrap())).collect();
    // One has been revoked, of one the row was deleted, one is followed by another's, one was never there.
    engine.try_leave(&key(&name(1), 101), Manner::Revoke).await.unwrap();
    let gone = format!("DELETE FROM distributed_locks WHERE owner_id = 'leasehold:{:032x}'", 102);
    server.run(&gone).unwrap();
    ahead(&other.join_one(claim(&name(3), 1000)).await);
    let waits = claim("another", 2);
    token(&other.join_one(claim("another", 1)).await);
    ahead(&engine.join_one(waits.clone()).await);
    let readers = [share("shared", 3, (1, 2)), share("shared", 4, (1, 2))];
    for reader in engine.join(&readers).await {
        token(&reader.unwrap());
    }
    let mut asked = claims.clone();
    asked.extend(readers);
    asked.extend([waits, claim("nowhere", 9)]);
    let until = "SELECT COUNT(*) FROM distributed_locks WHERE expires_at > NOW(6) + INTERVAL 50 MINUTE";
    assert_eq!(server.run(until).unwrap(), "0");
    let asks: Vec<_> =
        asked.iter().map(|claim| Refresh { claim: claim.key(), ttl: 3600 * SECOND, raise: None }).collect();
    let answers: Vec<_> = engine.refresh(&asks).await.into_iter().map(Result::unwrap).collect();
    for (n, standing) in answers.iter().take(50).enumerate() {
        match n {
            1 | 2 => assert_eq!(*standing, Standing::Gone, "{n}"),
            _ => assert_eq!(token(standing), first[n], "{n}"),
        }
    }
    token(&answers[50]);
    token(&answers[51]);
    assert_eq!(ahead(&answers[52]), 1);
    assert_eq!(answers[53], Standing::Gone);
    // The row of the revoked one stands until its time is over.
    assert_eq!(server.run(until).unwrap(), "49");
    engine.release(&key(&name(3), 103)).await;
    assert!(token(&other.look(&key(&name(3), 1000)).await) > first[3]);
}
