//! Many at a time: who wakes, and what it costs the server.

use std::collections::HashSet;

use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt, stream};
use leasehold_core::{Engine, Hint, Standing};
use leasehold_testkit::zookeeper::ZooKeeper as Server;

use crate::common::*;
use crate::world::{self, Place, url};

/// The transaction that the server has done last.
fn last_transaction(server: &Server) -> u64 {
    let answer = server.ask("srvr").unwrap();
    let zxid = answer.lines().find_map(|line| line.strip_prefix("Zxid: 0x")).unwrap();
    u64::from_str_radix(zxid, 16).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_200_waiters_a_release_wakes_the_next_one() {
    // Alone, for requests are counted.
    let server = world::start();
    let mut engines = Vec::new();
    for _ in 0..10 {
        engines.push(open(&url(&server, "")).await);
    }
    let claims: Vec<_> = (1..=201).map(|id| claim("m", id)).collect();
    let engine = |nth: usize| &engines[nth % engines.len()];
    for (nth, claim) in claims.iter().enumerate() {
        engine(nth).join_one(claim).await;
    }
    let mut waiting: FuturesUnordered<_> = (1..claims.len())
        .map(|nth| {
            let mut hints = engine(nth).watch(&claims[nth].key());
            async move { (nth, hints.next().await) }
        })
        .collect();
    // Each has its watch: of the one just ahead of it, and of nobody else.
    within("all watch", async {
        loop {
            assert!(waiting.next().now_or_never().is_none(), "nobody has been let in");
            let watches = server.ask("wchp").unwrap();
            let paths: HashSet<_> = watches.lines().filter(|line| line.contains("-lock-")).collect();
            if paths.len() == claims.len() - 1 {
                return;
            }
            pause().await;
        }
    })
    .await;
    for next in 1..=3 {
        let before = server.packets_received().unwrap();
        engine(next - 1).release(&claims[next - 1]).await;
        let (who, hint) = within("the next one is let in", waiting.next()).await.unwrap();
        assert!(who == next && matches!(hint, Some(Hint::Held(_))), "{who} was told {hint:?}");
        assert!(waiting.next().now_or_never().is_none(), "somebody else was told something");
        // The release, one look, a few heartbeats and pings: whoever else had woken would have looked too.
        let packets = server.packets_received().unwrap() - before;
        assert!(packets < 40, "a release cost {packets} requests");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn heartbeats_do_not_depend_on_how_much_is_held() {
    let server = world::start();
    let client = client(&url(&server, ""), 3 * SECOND).await;
    let mut guards = Vec::new();
    for many in [10, 1_000, 10_000] {
        let more: Vec<_> = stream::iter(guards.len()..many)
            .map(async |nth| client.mutex(&format!("held/{nth}")).unwrap().lock().await.unwrap())
            .buffer_unordered(200)
            .collect()
            .await;
        guards.extend(more);
        // The first list of what is ours has each of them watched, once.
        within("all are watched", async {
            while server
                .ask("wchs")
                .unwrap()
                .lines()
                .next()
                .is_none_or(|line| !line.contains(&format!("watching {many} paths")))
            {
                pause().await;
            }
        })
        .await;
        let (transactions, packets) = (last_transaction(&server), server.packets_received().unwrap());
        let mut own = 0;
        within("four heartbeats have come", async {
            while last_transaction(&server) < transactions + 4 {
                own += 1;
                pause().await;
            }
        })
        .await;
        // Heartbeats, pings, lists of what is ours.
        let requests = server.packets_received().unwrap() - packets - own;
        assert!(requests < 40, "with {many} locks, four heartbeats came with {requests} requests");
    }
    for guard in &guards {
        assert!(guard.is_valid());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_that_arrive_together_keep_their_order_and_their_own_tokens() {
    let place = Place::new();
    let engine = open(&place.url()).await;
    let claims: Vec<_> = (0..60).map(|id| claim(&format!("m{}", id % 3), id + 1)).collect();
    let replies = claims.iter().map(|claim| engine.join_one(claim));
    within("all are in line", join_all(replies)).await;
    for lock in ["m0", "m1", "m2"] {
        let mut line: Vec<_> = claims.iter().filter(|claim| claim.name.as_str() == lock).collect();
        let mut last = 0;
        while !line.is_empty() {
            let mut held = Vec::new();
            for (at, claim) in line.iter().enumerate() {
                if let Standing::Held { token, .. } = engine.look(claim).await {
                    held.push((at, token.get()));
                }
            }
            let [(at, token)] = held[..] else { panic!("{held:?} are held at once") };
            assert!(token > last);
            last = token;
            engine.release(line.remove(at)).await;
        }
    }
}
