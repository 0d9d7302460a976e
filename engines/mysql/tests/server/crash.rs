//! The database is killed while locks are held and waited for.

use std::collections::BTreeMap;

use leasehold_core::{Engine, Standing};
use leasehold_testkit::mariadb::MariaDb as Server;

use crate::world::*;

const LOCKS: u128 = 200;

#[tokio::test]
async fn no_acknowledged_hold_is_given_away_by_a_crash() {
    let server = Server::builder().durable().start().unwrap();
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
async fn a_paused_database_is_a_late_one() {
    let server = Server::start().unwrap();
    drop(open(&server.url()).await);
    // The tables are there, and connecting is asked for until it is fast enough.
    let engine = ask(async || try_open(&format!("{}?timeout=300ms", server.url())).await).await;
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
