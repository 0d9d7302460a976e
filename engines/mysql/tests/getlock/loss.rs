//! Sessions that end, and servers that do.

use std::time::Duration;

use leasehold_core::{Outcome, Standing};
use leasehold_testkit::mariadb::MariaDb as Server;

use crate::world::{ahead, ask, claim, key, token};
use crate::*;

/// Ends the session that has this lock.
fn end_holder(server: &Server, name: &str) {
    let holder = server.run(&format!("SELECT IS_USED_LOCK('{name}')")).unwrap();
    server.run(&format!("KILL {}", holder.trim())).unwrap();
}

#[tokio::test]
async fn who_holds_by_a_session_that_is_ended_hears_of_it() {
    let server = Server::start().unwrap();
    let locks = Client::builder(open(&url(&server)).await).ttl(2 * SECOND).spawn().unwrap();
    let guards =
        [locks.mutex("a").unwrap().lock().await.unwrap(), locks.mutex("b").unwrap().lock().await.unwrap()];
    end_holder(&server, "a");
    for guard in &guards {
        let deadline = guard.deadline();
        within("it is lost", guard.lost()).await;
        assert!(!guard.is_valid() && guard.deadline() <= deadline);
    }
    // By a new session all goes on, with higher tokens.
    let next = within("it is had again", locks.mutex("a").unwrap().lock()).await.unwrap();
    assert!(next.token() > guards[1].token());
}

#[tokio::test]
async fn after_the_server_was_killed_tokens_go_on_above() {
    let server = Server::start().unwrap();
    let engine = open(&url(&server)).await;
    let mut last = token(&engine.join_one(claim("m", 1)).await);
    for id in 2..100 {
        let standing = engine.join_one(claim(&format!("m{id}"), id)).await;
        assert!(token(&standing) > last);
        last = token(&standing);
    }
    server.kill().unwrap();
    within("the loss is heard of", async {
        while ask(async || engine.try_refresh(&key("m", 1), 30 * SECOND).await).await != Standing::Gone {}
    })
    .await;
    server.restart().unwrap();
    let standing = ask(async || engine.try_join(claim("m", 200)).await).await;
    assert!(token(&standing) > last);
}

#[tokio::test]
async fn tokens_rise_while_the_clock_is_set_back_and_forward() {
    let server = Server::builder().fake_clock().start().unwrap();
    let engine = open(&url(&server)).await;
    let locks = client(&url(&server)).await;
    let guard = locks.mutex("held").unwrap().lock().await.unwrap();
    let mut last = token(&engine.join_one(claim("m", 1)).await);
    for (id, hours) in [(2, -1.0), (3, 1.0), (4, 0.0)] {
        server.shift_clock(hours * 3600.0).unwrap();
        engine.release(&key("m", id - 1)).await;
        let next = token(&engine.join_one(claim("m", id)).await);
        assert!(next > last, "shifted by {hours} h");
        last = next;
        // Sessions are no matter of the wall clock.
        ahead(&engine.join_one(claim("held", 100 + id)).await);
    }
    assert!(guard.is_valid());
    guard.release().await.unwrap();
}

#[tokio::test]
async fn a_paused_server_is_a_late_one_and_what_came_late_is_let_go() {
    let server = Server::start().unwrap();
    let engine = ask(async || try_open(&format!("{}?timeout=300ms", url(&server))).await).await;
    token(&engine.join_one(claim("m", 1)).await);
    server.pause().unwrap();
    let error = engine.try_join(claim("n", 2)).await.unwrap_err();
    assert_eq!((error.is_transient(), error.outcome()), (true, Outcome::Unknown), "{error:?}");
    drop(engine.try_leave(&key("n", 2), leasehold_core::Manner::Release).await);
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
    waiting(&server, "1").await;
    waits.abort();
    waiting(&server, "0").await;
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
    assert!(all.iter().all(|guard| guard.is_valid()));
}

#[tokio::test]
async fn after_a_server_was_killed_new_holders_have_higher_tokens_and_old_ones_hear_of_it() {
    let server = Server::start().unwrap();
    let locks = client(&url(&server)).await;
    let mut guards = Vec::new();
    for n in 0..200 {
        guards.push(locks.mutex(&format!("lock {n}")).unwrap().lock().await.unwrap());
    }
    server.kill().unwrap();
    server.restart().unwrap();
    // Such locks do not outlive their server. Who held them hears of it with the next renewal, and a fence by the token.
    let newcomer = client(&url(&server)).await;
    for (n, guard) in guards.iter().enumerate() {
        let next = newcomer.mutex(&format!("lock {n}")).unwrap().lock().await.unwrap();
        assert!(next.token() > guard.token());
    }
    for guard in &guards {
        within("it is lost", guard.lost()).await;
    }
}
