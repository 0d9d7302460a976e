//! The database is killed while locks are held and waited for.

use std::collections::BTreeMap;

use leasehold_core::{Engine, Standing};
use leasehold_testkit::postgres::Postgres as Server;

use crate::world::*;

const LOCKS: u128 = 200;

#[tokio::test]
async fn no_acknowledged_hold_is_given_away_by_a_crash() {
    let server = Server::builder().durable().option("synchronous_commit", "off").start().unwrap();
    let (one, two) = (open(&server.url()).await, open(&server.url()).await);
    let name = |n: u128| format!("lock {n}");
    let mut held = BTreeMap::new();
    let claims: Vec<_> = (0..LOCKS).map(|n| claim(&name(n), 1000 + n)).collect();
    for (n, answer) in (0..LOCKS).zip(one.join(&claims).await) {
        held.insert(n, token(&answer.unwrap()));
    }
    let waiters: Vec<_> = (0..LOCKS).map(|n| claim(&name(n), 2000 + n)).collect();
    for answer in two.join(&waiters).await {
        assert_eq!(ahead(&answer.unwrap()), 1);
    }
    // Half are given back while it dies: each of these is either handed over or still held.
    let leaving = async {
        for n in 0..LOCKS / 2 {
            drop(one.try_leave(&key(&name(n), 1000 + n), leasehold_core::Manner::Release).await);
        }
    };
    let killing = async {
        tokio::task::yield_now().await;
        server.kill().unwrap();
    };
    tokio::join!(leaving, killing);
    server.restart().unwrap();

    let newcomer = open(&server.url()).await;
    for n in 0..LOCKS {
        let third = ask(async || newcomer.try_join(claim(&name(n), 3000 + n)).await).await;
        let first = ask(async || one.try_refresh(&key(&name(n), 1000 + n), 30 * SECOND).await).await;
        let second = ask(async || two.try_refresh(&key(&name(n), 2000 + n), 30 * SECOND).await).await;
        let all = [&first, &second, &third];
        let holders = all.iter().filter(|standing| matches!(standing, Standing::Held { .. })).count();
        assert!(holders <= 1, "{}: {all:?}", name(n));
        if n >= LOCKS / 2 {
            assert_eq!(token(&first), held[&n], "{}: who was told that it holds still does", name(n));
            assert!(ahead(&third) >= 1, "{}", name(n));
        }
        match (&first, &second) {
            (Standing::Held { token: still, .. }, _) => assert_eq!(*still, held[&n], "{}", name(n)),
            (_, Standing::Held { token: next, .. }) => assert!(*next > held[&n], "{}", name(n)),
            // While the database was down the time of a waiter may have passed.
            _ => {}
        }
    }
    // Tokens are above all that were given out.
    let highest = held.values().max().unwrap();
    assert!(token(&newcomer.join_one(claim("another", 9)).await) > *highest);
}

#[tokio::test]
async fn a_restart_during_a_hold_loses_nothing() {
    let server = Server::start().unwrap();
    let locks = client(&server.url(), 20 * SECOND).await;
    let guard = locks.mutex("m").unwrap().lock().await.unwrap();
    let mutex = locks.mutex("m").unwrap();
    let waits = tokio::spawn(async move { mutex.lock().await });
    server.restart().unwrap();
    assert!(guard.is_valid());
    // Asked again for as long as it takes: the answer may be lost with the connection.
    within("the database is there again", guard.release()).await.ok();
    let next = within("the next one gets it", waits).await.unwrap().unwrap();
    next.release().await.unwrap();
}

#[tokio::test]
async fn after_a_fail_over_who_holds_and_who_waits_go_on_at_the_new_primary() {
    let primary = Server::start().unwrap();
    let standby = Server::builder().start_standby_of(&primary).unwrap();
    let both = primary.url().replace('@', &format!("@{},", standby.addr()));
    let locks = client(&both, 30 * SECOND).await;
    let guard = locks.mutex("m").unwrap().lock().await.unwrap();
    let mutex = locks.mutex("m").unwrap();
    let waits = tokio::spawn(async move { mutex.lock().await });
    // As with a synchronous standby: it has what was answered. At first it has not even the tables.
    while standby.sql("SELECT count(*) FROM leasehold_claim").ok().as_deref() != Some("2") {
        tokio::task::yield_now().await;
    }
    primary.kill().unwrap();
    assert_eq!(standby.sql("SELECT pg_promote()").unwrap(), "t");
    assert!(guard.is_valid());
    let held = guard.token();
    // Asked again for as long as it takes: the first answer is that there is no connection any more.
    within("there is a primary again", guard.release()).await.ok();
    let next = within("the next one gets it", waits).await.unwrap().unwrap();
    assert!(next.token() > held, "{} after {held}", next.token());
    assert_eq!(standby.sql("SELECT count(*) FROM leasehold_claim").unwrap(), "1");
}

#[tokio::test]
async fn a_paused_database_is_a_late_one() {
    let server = Server::start().unwrap();
    let engine = open(&format!("{}?timeout=300ms", server.url())).await;
    let first = token(&engine.join_one(claim("m", 1)).await);
    server.pause().unwrap();
    let error = engine.try_refresh(&key("m", 1), 30 * SECOND).await.unwrap_err();
    assert_eq!(
        (error.is_transient(), error.outcome()),
        (true, leasehold_core::Outcome::Unknown),
        "{error:?}"
    );
    server.resume().unwrap();
    let standing = ask(async || engine.try_refresh(&key("m", 1), 30 * SECOND).await).await;
    assert_eq!(token(&standing), first);
}
