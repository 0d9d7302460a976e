//! Sessions that end, and servers that do.

use std::time::Duration;

use leasehold_core::{Outcome, Standing};
use leasehold_testkit::postgres::Postgres as Server;

use crate::world::{SECOND, ahead, ask, claim, key, token, within};
use crate::*;

const END_ALL: &str = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                       WHERE application_name = 'leasehold' AND pid IN (SELECT pid FROM pg_locks WHERE locktype = 'advisory')";

#[tokio::test]
async fn who_holds_by_a_session_that_is_ended_hears_of_it_at_once() {
    let server = Server::start().unwrap();
    let locks = client(&url(&server)).await;
    let guards = [
        locks.mutex("a").unwrap().lock().await.unwrap(),
        locks.mutex("b").unwrap().lock().await.unwrap(),
        locks.rwlock("c").unwrap().read().await.unwrap(),
    ];
    assert_eq!(server.sql(END_ALL).unwrap(), "1");
    for guard in &guards {
        let deadline = guard.deadline();
        within("it is lost", guard.lost()).await;
        assert!(!guard.is_valid() && guard.deadline() <= deadline);
    }
    // By a new session all goes on, with higher tokens.
    let next = within("it is had again", locks.mutex("a").unwrap().lock()).await.unwrap();
    assert!(next.token() > guards[0].token());
}

#[tokio::test]
async fn who_held_when_the_server_was_killed_hears_of_it_and_tokens_go_on_above() {
    const LOCKS: u128 = 200;
    let server = Server::builder().durable().start().unwrap();
    let (engine, other) = (open(&url(&server)).await, open(&url(&server)).await);
    let name = |id: u128| format!("m{id}");
    let mut last = None;
    for id in 0..LOCKS {
        let token = Some(token(&engine.join_one(claim(&name(id), 1 + id)).await));
        assert!(token > last);
        last = token;
        ahead(&other.join_one(claim(&name(id), 1001 + id)).await);
    }
    server.kill().unwrap();
    // No lock outlives the server, so nobody may hold any when it is there again.
    for id in 0..LOCKS {
        within("the loss is heard of", async {
            let claim = key(&name(id), 1 + id);
            while ask(async || engine.try_refresh(&claim, 30 * SECOND).await).await != Standing::Gone {}
        })
        .await;
    }
    server.restart().unwrap();
    let newcomer = open(&url(&server)).await;
    for id in 0..LOCKS {
        // Those that waited have not been heard of since.
        let standing = ask(async || newcomer.try_join(claim(&name(id), 2001 + id)).await).await;
        assert!(Some(token(&standing)) > last, "{standing:?} after {last:?}");
    }
}

#[tokio::test]
async fn the_servers_clock_ends_no_hold_and_tokens_rise_over_it() {
    for hour in [3600.0, -3600.0] {
        let server = Server::builder().fake_clock().start().unwrap();
        let (engine, other) = (open(&url(&server)).await, open(&url(&server)).await);
        let first = token(&engine.join_one(claim("m", 1)).await);
        server.shift_clock(hour).unwrap();
        ahead(&other.join_one(claim("m", 2)).await);
        assert_eq!(token(&engine.look(&key("m", 1)).await), first);
        engine.release(&key("m", 1)).await;
        other.release(&key("m", 2)).await;
        let second = token(&ask(async || other.try_join(claim("m", 3)).await).await);
        assert!(second > first, "{second} after {first}");
        let later = open(&url(&server)).await;
        let third = token(&later.join_one(claim("n", 4)).await);
        assert!(third > second, "{third} after {second}");
    }
}

#[tokio::test]
async fn a_paused_server_is_a_late_one_and_what_came_late_is_let_go() {
    let server = Server::start().unwrap();
    let engine = open(&format!("{}?timeout=300ms", url(&server))).await;
    token(&engine.join_one(claim("m", 1)).await);
    server.pause().unwrap();
    let error = engine.try_join(claim("n", 2)).await.unwrap_err();
    assert_eq!((error.is_transient(), error.outcome()), (true, Outcome::Unknown), "{error:?}");
    engine.release(&key("n", 2)).await;
    server.resume().unwrap();
    // The old session still holds the one, and lets go of the other as soon as it has it.
    let other = open(&url(&server)).await;
    within("it is free", async {
        let mut id = 10;
        while !matches!(other.join_one(claim("n", id)).await, Standing::Held { .. }) {
            other.release(&key("n", id)).await;
            id += 1;
        }
    })
    .await;
    ahead(&other.join_one(claim("m", 3)).await);
    token(&ask(async || engine.try_refresh(&key("m", 1), 30 * SECOND).await).await);
}

#[tokio::test]
async fn a_claim_that_is_not_renewed_is_let_go() {
    let server = Server::start().unwrap();
    let engine = open(&url(&server)).await;
    let short = Duration::from_millis(1500);
    token(&engine.join_one(leasehold_core::Claim { ttl: short, ..claim("m", 1) }).await);
    // It dies in its client, and then another one comes to hold it.
    let other = open(&url(&server)).await;
    ahead(&other.join_one(claim("m", 2)).await);
    within("it is let go", async {
        while !matches!(other.look(&key("m", 2)).await, Standing::Held { .. }) {}
    })
    .await;
    assert_eq!(engine.look(&key("m", 1)).await, Standing::Gone);
}

#[tokio::test]
async fn a_wait_that_is_given_up_leaves_nothing_in_the_server() {
    let server = Server::start().unwrap();
    let (one, two) = (client(&url(&server)).await, client(&url(&server)).await);
    let guard = one.mutex("m").unwrap().lock().await.unwrap();
    let mutex = two.mutex("m").unwrap();
    let waits = tokio::spawn(async move { mutex.lock().await.map(drop) });
    let waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
    let until = async |count: &str| {
        within("so many wait in the server", async {
            while server.sql(waiting).unwrap() != count {
                tokio::task::yield_now().await;
            }
        })
        .await;
    };
    until("1").await;
    waits.abort();
    until("0").await;
    guard.release().await.unwrap();
    // Not by a try, which may come while the client is still ending the other's wait.
    drop(within("it is free", two.mutex("m").unwrap().lock()).await.unwrap());
}

#[tokio::test]
async fn more_waiters_than_connections_all_get_it() {
    let server = Server::start().unwrap();
    let two = format!("{}?waiters=2", url(&server));
    let (one, two) = (client(&url(&server)).await, client(&two).await);
    let name = |n: u32| format!("lock {n}");
    let mut guards = Vec::new();
    for n in 0..6 {
        guards.push(one.mutex(&name(n)).unwrap().lock().await.unwrap());
    }
    let waiters: Vec<_> = (0..6)
        .map(|n| {
            let mutex = two.mutex(&name(n)).unwrap();
            // They keep what they get.
            tokio::spawn(async move { mutex.lock().await })
        })
        .collect();
    for guard in guards {
        guard.release().await.unwrap();
    }
    let mut all = Vec::new();
    for waiter in waiters {
        all.push(within("each gets its lock", waiter).await.unwrap().unwrap());
    }
    let sessions = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'leasehold'";
    let count: u32 = server.sql(sessions).unwrap().parse().unwrap();
    assert!(count <= 4 + 2, "{count} connections");
    assert!(all.iter().all(|guard| guard.is_valid()));
}
