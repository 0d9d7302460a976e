//! The engine on three servers, while the leader is killed, stands still, or is cut off, and while there is no majority.

mod common;

use leasehold_core::{Client, ErrorKind, Guard, Token};
use leasehold_testkit::zookeeper::{Ensemble, Mode, ZooKeeper as Server};
use tokio::task::JoinHandle;

use common::*;

/// How long sessions last here: longer than any election.
const TTL: std::time::Duration = std::time::Duration::from_secs(60);

/// Of two clients, one holds and the other waits.
struct Scene {
    holder: Client,
    guard: Guard,
    waiting: JoinHandle<Guard>,
}

impl Scene {
    async fn set(url: &str) -> Self {
        let (holder, waiter) = (client(url, TTL).await, client(url, TTL).await);
        let guard = holder.mutex("m").unwrap().lock().await.unwrap();
        let bare = bare(url).await;
        let waiting = tokio::spawn(async move { waiter.mutex("m").unwrap().lock().await.unwrap() });
        within("the other waits", async {
            while children(&bare, "/m").await.len() < 2 {
                pause().await;
            }
        })
        .await;
        Self { holder, guard, waiting }
    }

    /// All goes on as if nothing had happened; the next one's token.
    async fn goes_on(self) -> Token {
        // Whoever locks anew, in the same session, needs the leader.
        let other = within("the session lives on", self.holder.mutex("other").unwrap().lock()).await.unwrap();
        assert!(self.guard.is_valid() && !self.waiting.is_finished());
        let before = self.guard.token();
        self.guard.release().await.unwrap();
        let next = within("the next one is let in", self.waiting).await.unwrap();
        assert!(next.is_valid() && next.token() > before && other.token() > before);
        next.release().await.unwrap();
        other.token()
    }
}

fn kind() -> leasehold_testkit::zookeeper::Builder {
    Server::builder().option("maxSessionTimeout", "60000")
}

fn url(ensemble: &Ensemble) -> String {
    format!("{}?tick=500ms", ensemble.url())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_killed_or_stands_still_is_not_missed() {
    let ensemble = Ensemble::start_with(&kind()).unwrap();
    let url = url(&ensemble);
    let mut last = None;
    for fault in ["kill", "pause"] {
        let scene = Scene::set(&url).await;
        let (old, leader) = ensemble.leader().unwrap();
        match fault {
            "kill" => leader.kill().unwrap(),
            _ => leader.pause().unwrap(),
        }
        ensemble.await_leader_other_than(old).unwrap();
        let token = scene.goes_on().await;
        assert!(last.is_none_or(|last| last < token));
        last = Some(token);
        match fault {
            "kill" => leader.restart().unwrap(),
            _ => leader.resume().unwrap(),
        }
        ensemble.await_serving().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_cut_off_lets_nobody_in_any_more() {
    let (ensemble, partition) = Ensemble::start_partitionable_with(kind()).unwrap();
    let (old, leader) = ensemble.leader().unwrap();
    // A client that knows nobody else, and does not hear that there is another leader.
    let alone = client(&format!("{}?tick=500ms", leader.url()), 3 * SECOND).await;
    let believed = alone.mutex("alone").unwrap().lock().await.unwrap();
    let scene = Scene::set(&url(&ensemble)).await;
    partition.cut_off(old).unwrap();
    // It can confirm nothing, although its server answers: that takes a majority.
    within("it stops believing", believed.lost()).await;
    ensemble.await_leader_other_than(old).unwrap();
    let all = client(&url(&ensemble), TTL).await;
    let next = within("the others can have it", all.mutex("alone").unwrap().lock()).await.unwrap();
    assert!(!believed.is_valid() && next.token() > believed.token());
    scene.goes_on().await;
    partition.heal(old).unwrap();
    ensemble.await_serving().unwrap();
    next.release().await.unwrap();
    let again = within("it is let in again", alone.mutex("alone").unwrap().lock()).await.unwrap();
    assert!(again.is_valid());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_majority_nobody_is_let_in_and_that_is_said() {
    let ensemble = Ensemble::start_with(&kind().property("readonlymode.enabled", "true")).unwrap();
    let url = url(&ensemble);
    let client = client(&url, 3 * SECOND).await;
    let guard = client.mutex("m").unwrap().lock().await.unwrap();
    let (first, second) = (&ensemble.members()[0], &ensemble.members()[1]);
    first.kill().unwrap();
    second.kill().unwrap();
    within("it ends by its own deadline", guard.lost()).await;
    assert!(!guard.is_valid());
    let left = &ensemble.members()[2];
    within("the last one serves those who read", async {
        while !left.mode().is_ok_and(|mode| mode == Mode::ReadOnly) {
            pause().await;
        }
    })
    .await;
    // Whether its patience ends before the connection does is chance.
    match client.mutex("m").unwrap().lock_timeout(2 * SECOND).await.map(|guard| guard.is_some()) {
        Ok(got_it) => assert!(!got_it, "nobody can have it without a majority"),
        Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}"),
    }
    let error = within("it gives up", client.mutex("m").unwrap().lock()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    // Whoever comes now is told at once.
    let error = try_open(&format!("{url}&timeout=1s")).await.unwrap_err();
    let servers = ensemble.url();
    insta::assert_snapshot!(error.to_string().replace(servers.trim_start_matches("zookeeper://"), "SERVERS"));
    first.restart().unwrap();
    second.restart().unwrap();
    ensemble.await_serving().unwrap();
    let next = within("it goes on", client.mutex("m").unwrap().lock()).await.unwrap();
    assert!(next.token() > guard.token());
}
