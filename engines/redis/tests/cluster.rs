//! The engine over a cluster: slots that move and nodes that go, while locks are held in them and waited for.
//!
//! Every test has six nodes of its own.

use std::collections::BTreeSet;

use futures_util::StreamExt;
use futures_util::future::{join_all, try_join_all};
use leasehold_core::clock::BootClock;
use leasehold_core::{ClaimRef, Client, Clock, Engine, Guard, Hint, Token};
use leasehold_redis::Redis;
use leasehold_testkit::redis::{Cluster, Redis as Server, Reply};

mod line;
#[allow(dead_code, reason = "what one test does not need, another does")]
#[path = "single/world.rs"]
mod world;

use line::{Line, measured};
use world::*;

/// The keys in a slot, at the node that serves it.
fn keys_in(cluster: &Cluster, slot: u16) -> Vec<String> {
    let keys = cluster.master_of(slot).unwrap().ask(&format!("CLUSTER GETKEYSINSLOT {slot} 100"));
    keys.list().iter().map(|key| key.text().to_owned()).collect()
}

fn slot_of(cluster: &Cluster, resource: &str) -> u16 {
    cluster.slot_of(&format!("lock:{resource}")).unwrap()
}

/// The token of a hand-over that was told.
async fn told(hints: &mut leasehold_core::engine::Hints) -> Token {
    loop {
        if let Hint::Held(token) = within("it is told", hints.next()).await.unwrap() {
            return token;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hand_over_is_told_and_follows_the_slot() {
    let cluster = Cluster::start().unwrap();
    let (holder, waiter) = (open(&cluster.url()).await, open(&cluster.url()).await);
    let all = (0..20).flat_map(|n| (1..5).map(move |k| key(&format!("r{n}"), 10 * n + k))).collect();
    let alive = tokio::spawn(keep_alive(holder.clone(), all));
    // Several slots of each node: the inbox is in all.
    let resources: Vec<_> = (0..20).map(|n| (format!("r{n}"), 10 * n)).collect();
    let mut watched = Vec::new();
    for (resource, id) in &resources {
        token(&holder.join_one(claim(resource, id + 1)).await);
        for ahead_of in 1..4 {
            let next = waiter.join_one(claim(resource, id + 1 + u128::from(ahead_of))).await;
            assert_eq!(ahead(&next), ahead_of);
        }
        let mut hints = waiter.watch(&key(resource, id + 2));
        // The first says that the inbox is subscribed.
        assert_eq!(within("it is subscribed", hints.next()).await, Some(Hint::Look));
        watched.push(hints);
    }
    for ((resource, id), hints) in resources.iter().zip(&mut watched) {
        holder.release(&key(resource, id + 1)).await;
        // Nothing but the message of the node says that it is held.
        assert_eq!(told(hints).await, token(&waiter.look(&key(resource, id + 2)).await));
        *hints = waiter.watch(&key(resource, id + 3));
    }
    // A slot moves: the node ends the subscription, and it is made anew at the other.
    let (resource, id) = &resources[0];
    let slot = slot_of(&cluster, resource);
    cluster.move_slot(slot, cluster.other_master(slot).unwrap()).unwrap();
    assert_eq!(within("it is subscribed again", watched[0].next()).await, Some(Hint::Look));
    waiter.release(&key(resource, id + 2)).await;
    assert_eq!(told(&mut watched[0]).await, token(&waiter.look(&key(resource, id + 3)).await));
    // The nodes end their connections, with several subscriptions on each.
    let kill = |node: &Server| node.ask("CLIENT KILL TYPE pubsub").int();
    assert!(cluster.nodes().iter().map(kill).sum::<i64>() >= 3);
    until("the inbox is subscribed in all slots again", async || {
        let channels = cluster.nodes().iter().map(|node| node.ask("PUBSUB SHARDCHANNELS"));
        let of =
            |reply: &Reply| reply.list().iter().map(|channel| channel.text().to_owned()).collect::<Vec<_>>();
        channels.flat_map(|reply| of(&reply)).collect::<BTreeSet<_>>().len() == resources.len()
    })
    .await;
    for ((resource, id), hints) in resources.iter().zip(&mut watched).skip(1) {
        let before = token(&waiter.look(&key(resource, id + 2)).await);
        waiter.release(&key(resource, id + 2)).await;
        assert!(told(hints).await > before);
    }
    alive.abort();
}

/// A claim that waits dies unless it is renewed.
async fn keep_alive(engine: Redis, claims: Vec<ClaimRef>) {
    loop {
        join_all(claims.iter().map(|claim| engine.try_refresh(claim, 30 * SECOND))).await;
        BootClock.sleep_until(BootClock.now() + SECOND).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_of_a_lock_is_in_one_slot_whatever_its_name() {
    let cluster = Cluster::start().unwrap();
    let engine = open(&cluster.url()).await;
    for (n, resource) in
        (1..).zip(["a", "{", "}", "{}", "{}a", "a{b", "a}b{c", "{a}", "{a}b", "x{{y}}z", "leasehold:{000}"])
    {
        let slot = slot_of(&cluster, resource);
        token(&engine.join_one(claim(resource, n)).await);
        assert_eq!(ahead(&engine.join_one(claim(resource, 1000 + n)).await), 1);
        let keys = keys_in(&cluster, slot);
        assert_eq!(keys.len(), 3, "the key, the queue and the counter: {keys:?}");
        for key in &keys {
            assert_eq!(cluster.slot_of(key).unwrap(), slot, "{key}");
        }
        // A node that has forgotten the scripts is given them again.
        for node in cluster.nodes() {
            node.ask("SCRIPT FLUSH");
        }
        token(&engine.look(&key(resource, n)).await);
        engine.release(&key(resource, n)).await;
        token(&engine.look(&key(resource, 1000 + n)).await);
        assert_eq!(engine.names("", 100).await, [resource]);
        engine.release(&key(resource, 1000 + n)).await;
        assert_eq!(keys_in(&cluster, slot).len(), 1, "only the counter stays");
    }
}

/// At which point of the move of its slot a lock is released.
#[derive(PartialEq)]
enum Point {
    Begun,
    KeysMoved,
    Ended,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_moves_while_its_lock_is_held_and_waited_for() {
    let cluster = Cluster::start().unwrap();
    let (client, engine) = (client(&cluster.url(), 3 * SECOND).await, open(&cluster.url()).await);
    let slot = slot_of(&cluster, "r");
    let mut last = next_token(&engine, "r", 1).await;
    for point in [Point::Begun, Point::KeysMoved, Point::Ended] {
        let mut held = Some(within("it is held", client.mutex("r").unwrap().lock()).await.unwrap());
        let mut line = Some(Line::behind(held.as_ref().unwrap(), &cluster.url()).await);
        assert!(held.as_ref().unwrap().token().get() > last);
        let mut now = async |here: Point| {
            if let Some(guard) = &held {
                within("it is renewed", guard.renewed(guard.deadline())).await;
            }
            if here == point {
                held.take().unwrap().release().await.unwrap();
                line.take().unwrap().all_had_it().await;
            }
        };
        let to = cluster.other_master(slot).unwrap();
        cluster.begin_move(slot, to).unwrap();
        now(Point::Begun).await;
        if held_by_nobody(&cluster, slot) {
            // Neither node may grant it for sure: it is not granted, and it is not half granted.
            let error = engine.try_join(claim("r", 2)).await.unwrap_err();
            assert!(error.is_transient(), "{error}");
            assert!(held_by_nobody(&cluster, slot), "{:?}", keys_in(&cluster, slot));
        }
        cluster.move_keys(slot, to).unwrap();
        now(Point::KeysMoved).await;
        cluster.end_move(slot, to).unwrap();
        now(Point::Ended).await;
        let next = within("it can be had", until_granted(&engine, "r", 3)).await;
        engine.release(&key("r", 3)).await;
        assert!(next > last);
        last = next;
    }
}

fn held_by_nobody(cluster: &Cluster, slot: u16) -> bool {
    keys_in(cluster, slot).len() == 1
}

/// Asks until it is granted.
async fn until_granted(engine: &Redis, resource: &str, id: u128) -> u64 {
    let mut got = None;
    until("it is granted", async || {
        got = engine.try_join(claim(resource, id)).await.ok();
        got.is_some()
    })
    .await;
    token(&got.unwrap()).get()
}

async fn lock_all(client: &Client, names: &[String]) -> Vec<Guard> {
    let locks = names.iter().map(|name| async { client.mutex(name).unwrap().lock().await });
    try_join_all(locks).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_is_killed_while_200_locks_are_held() {
    let cluster = Cluster::start().unwrap();
    let client = client(&cluster.url(), 10 * SECOND).await;
    let names: Vec<_> = (0..200).map(|n| format!("r{n}")).collect();
    let guards = lock_all(&client, &names).await;
    let slot = slot_of(&cluster, "r0");
    let killed = BootClock.now();
    let old = cluster.kill_master(slot).unwrap();
    cluster.await_takeover(slot, old).unwrap();
    measured("from the death of a master to the take-over", killed);
    let taken_over = BootClock.now();
    // Every hold is renewed, or reported lost.
    let fates = guards.iter().map(|guard| async {
        let deadline = guard.deadline();
        within("its holder knows", async {
            tokio::select! {
                () = guard.renewed(deadline) => guard.is_valid(),
                () = guard.lost() => false,
            }
        })
        .await
    });
    let survived = join_all(fates).await.into_iter().filter(|survived| *survived).count();
    measured(&format!("until {survived} holds of 200 were renewed and the others reported lost"), taken_over);
    let tokens: Vec<_> = guards.iter().map(|guard| guard.token()).collect();
    for guard in guards {
        // Lost or not: it is free after that, or by the end of its time.
        drop(guard.release().await);
    }
    let again = within("all can be had again", lock_all(&client, &names)).await;
    for (guard, before) in again.iter().zip(tokens) {
        assert!(guard.token() > before, "{:?} after {before:?}", guard.token());
    }
    // Others than those, in the slots of all nodes.
    let others: Vec<_> = (0..100).map(|n| format!("s{n}")).collect();
    within("others can be had", lock_all(&client, &others)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_hangs_is_left_for_the_one_that_takes_its_place() {
    let cluster = Cluster::start().unwrap();
    let engine = open(&cluster.url()).await;
    let of_node = |node: &Server| {
        let served =
            |n: &u32| cluster.master_of(slot_of(&cluster, &format!("r{n}"))).unwrap().port() == node.port();
        format!("r{}", (0..).find(served).unwrap())
    };
    // The replica of each master is three further on.
    let (old, new) = (&cluster.nodes()[1], &cluster.nodes()[4]);
    let (here, there) = (of_node(old), of_node(&cluster.nodes()[0]));
    let before = next_token(&engine, &here, 1).await;
    next_token(&engine, &there, 1).await;
    old.pause().unwrap();
    let paused = BootClock.now();
    let error = within("a request ends", engine.try_join(claim(&here, 2))).await.unwrap_err();
    measured("until a request to the node that hangs failed", paused);
    let began = BootClock.now();
    within(
        "the others can be had over a new connection",
        until_granted(&open(&cluster.url()).await, &there, 5),
    )
    .await;
    engine.release(&key(&there, 5)).await;
    measured("to connect while a node hangs", began);
    assert!(error.is_transient(), "{error}");
    until("the replica has taken over", async || new.ask("ROLE").list()[0].text() == "master").await;
    measured("until the take-over", paused);
    let after = until_granted(&engine, &here, 3).await;
    measured("until the new master granted", paused);
    assert!(after > before);
    until_granted(&engine, &there, 2).await;
    old.resume().unwrap();
    engine.release(&key(&here, 3)).await;
    assert!(next_token(&engine, &here, 4).await > after);
}
