//! The engine over Sentinels: it follows the master, tells what a fail-over has lost, and can wait for replicas.
//!
//! Every test has three servers and three Sentinels of its own, who count a master as down after a second.

use leasehold_core::clock::BootClock;
use leasehold_core::{Clock, Engine, ErrorKind, Guard, Outcome, Query, Token};
use leasehold_testkit::redis::{Redis as Server, Sentinels};

mod line;
#[allow(dead_code, reason = "what one test does not need, another does")]
#[path = "single/world.rs"]
mod world;

use line::{Line, measured};
use world::*;

/// Takes locks until one is seen at this server.
async fn led_to(master: &Server, engine: &leasehold_redis::Redis) {
    let mut id = 1000;
    until("the engine is led to the new master", async || {
        id += 1;
        let resource = format!("probe{id}");
        let granted = engine.try_join(claim(&resource, id)).await.is_ok();
        granted && master.get(&format!("lock:{resource}")) == Some(hex(id))
    })
    .await;
}

/// Takes a lock and sees it at the server that shall be the master.
async fn granted_by(master: &Server, engine: &leasehold_redis::Redis, resource: &str, id: u128) -> u64 {
    let mut got = None;
    until("the engine grants again", async || {
        got = engine.try_join(claim(resource, id)).await.ok();
        got.is_some()
    })
    .await;
    assert_eq!(master.get(&format!("lock:{resource}")), Some(hex(id)), "{} is not asked", **master);
    token(&got.unwrap()).get()
}

/// One holds and others wait while the master is switched.
async fn followed(switch: impl AsyncFnOnce(&Sentinels) -> &Server) {
    let set = Sentinels::start().unwrap();
    let holder = client(&set.url(), 5 * SECOND).await;
    let engine = open(&set.url()).await;
    let old = set.master().unwrap().port();
    let before = next_token(&engine, "other", 1).await;
    let held = holder.mutex("r").unwrap().lock().await.unwrap();
    let line = Line::behind(&held, &set.url()).await;
    let new = switch(&set).await;
    let announced = BootClock.now();
    assert_ne!(new.port(), old);
    led_to(new, &engine).await;
    measured("from the announcement of the new master to a grant", announced);
    let after = granted_by(new, &engine, "other", 2).await;
    assert!(after > before, "{after} after {before}");
    drop(held.release().await);
    line.all_had_it().await;
    measured("to the last waiter", announced);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_planned_switch_is_followed() {
    followed(async |set| set.fail_over().unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_master_is_replaced() {
    followed(async |set| {
        let old = set.kill_master().unwrap();
        set.await_new_master(old).unwrap()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demoted_master_is_not_used_again() {
    let set = Sentinels::start().unwrap();
    // Longer than this test: it is not the time-out that ends a request to the old master.
    let engine = open(&format!("{}?timeout=5m", set.url())).await;
    let before = next_token(&engine, "r", 1).await;
    let old = set.master().unwrap();
    old.pause().unwrap();
    // On its way when it is paused: it may or may not be granted when that goes on, and nobody shall believe it.
    let under_way = tokio::spawn(engine.join(&[claim("lost", 2)]));
    let new = set.await_new_master(old).unwrap();
    let error = within("the request under way fails", under_way).await.unwrap().remove(0).unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::Unavailable, Outcome::Unknown), "{error}");
    let (mut last, mut id) = (before, 3);
    let mut rises = async || {
        id += 1;
        let next = granted_by(new, &engine, "r", id).await;
        engine.release(&key("r", id)).await;
        assert!(next > last, "{next} after {last}");
        last = next;
    };
    rises().await;
    old.resume().unwrap();
    // It thinks that it is the master until the Sentinels tell it otherwise.
    until("the old master is a replica", async || {
        rises().await;
        old.ask("ROLE").list()[0].text() == "slave"
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_fail_over_loses_is_reported_and_a_fence_refuses_it() {
    let set = Sentinels::start().unwrap();
    // The holder asks again after 10 s: it believes as long as that.
    let (first, second) = (client(&set.url(), 30 * SECOND).await, client(&set.url(), 30 * SECOND).await);
    // The Sentinels mend this, but not at once.
    for replica in set.replicas().unwrap() {
        replica.ask("REPLICAOF 127.0.0.1 1");
    }
    let forgotten = first.mutex("r").unwrap().lock().await.unwrap();
    let old = set.kill_master().unwrap();
    set.await_new_master(old).unwrap();
    let held = within("the second has it", second.mutex("r").unwrap().lock()).await.unwrap();
    // This is the failure that asynchronous replication allows: two hold.
    assert!(forgotten.is_valid() && held.is_valid());
    assert!(held.token() > forgotten.token(), "{:?} after {:?}", held.token(), forgotten.token());
    // And this is what the token is for: a storage that has seen the second refuses the first.
    let mut highest = Token::new(1).unwrap();
    let mut storage_accepts = |token: Token| {
        highest = highest.max(token);
        token == highest
    };
    assert!(storage_accepts(forgotten.token()));
    assert!(storage_accepts(held.token()));
    assert!(!storage_accepts(forgotten.token()));
    // The first learns of it when it asks next.
    within("the first knows that it is lost", forgotten.lost()).await;
    assert!(held.is_valid());
    held.release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_waits_for_replicas() {
    let set = Sentinels::start().unwrap();
    let url = format!("{}?wait_replicas=1", set.url());
    let (first, second) = (client(&url, 5 * SECOND).await, client(&url, 5 * SECOND).await);
    let replicas = set.replicas().unwrap();
    let at_a_replica = |guard: &Guard| {
        let held = Some(guard.id().to_string());
        assert!(replicas.iter().any(|replica| replica.get("lock:r") == held), "no replica has it");
    };
    let held = first.mutex("r").unwrap().lock().await.unwrap();
    at_a_replica(&held);
    let waiting = tokio::spawn(async move { (second.mutex("r").unwrap().lock().await.unwrap(), second) });
    let onlooker = open(&url).await;
    until("the second waits", async || {
        let page = onlooker.inspect(Query::exactly(held.name()));
        page.await.unwrap().queues[0].claims.len() == 2
    })
    .await;
    let before = held.token();
    held.release().await.unwrap();
    let (held, second) = within("the second has it", waiting).await.unwrap();
    at_a_replica(&held);
    assert!(held.token() > before);
    held.release().await.unwrap();

    for replica in &replicas {
        replica.pause().unwrap();
    }
    // Many at once wait together, and each is told why.
    let cut: Vec<_> = (0..20).map(|n| format!("cut{n}")).collect();
    let asked = cut.iter().map(|resource| onlooker.try_join(claim(resource, 1)));
    for answer in futures_util::future::join_all(asked).await {
        let error = answer.unwrap_err();
        assert_eq!((error.kind(), error.outcome()), (ErrorKind::Unavailable, Outcome::Unknown));
        assert!(
            error.to_string().contains("of the 1 replicas that `wait_replicas` asks for only 0 do"),
            "{error}"
        );
    }
    for resource in &cut {
        onlooker.release(&key(resource, 1)).await;
    }
    let refused = second.mutex("cut").unwrap().lock_timeout(2 * SECOND).await;
    assert!(!matches!(refused, Ok(Some(_))), "granted without a replica");
    let master = set.master().unwrap();
    until("nothing is left of it", async || master.keys().is_empty()).await;
    for replica in &replicas {
        replica.resume().unwrap();
    }
    let held = within("it can be had again", second.mutex("cut").unwrap().lock()).await.unwrap();
    held.release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn sentinels_that_are_not_there_and_masters_that_nobody_knows() {
    let set = Sentinels::start().unwrap();
    let (all, name) = (set.url(), set.master_name());
    let error = try_open(&all.replace(name, "mymaster")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("knows no master `mymaster`"), "{error}");
    let error = try_open("redis+sentinel://127.0.0.1:1,127.0.0.1:2/mymaster").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("Sentinel 127.0.0.1:"), "{error}");

    // Two of three are enough, to connect and to follow.
    let master = set.master().unwrap();
    set.sentinels()[0].kill().unwrap();
    let error = try_open(&all.replace(name, "mymaster")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    let engine = open(&all).await;
    granted_by(master, &engine, "r", 1).await;
    set.kill_master().unwrap();
    let new = set.await_new_master(master).unwrap();
    granted_by(new, &engine, "s", 2).await;
}
