//! What becomes of those who hold and those who wait when a leader goes, or cannot be reached.

use futures_util::future::join_all;
use leasehold_core::clock::BootClock;
use leasehold_core::{Client, Clock, ErrorKind, Guard};
use leasehold_testkit::consul::{Cluster, Consul as Node};
use leasehold_testkit::proxy::Proxy;

use crate::line::Line;
use crate::world::*;

/// The URL of a cluster, this server first: that is where clients go as long as it answers.
fn through(first: &Node, cluster: &Cluster) -> String {
    let mut nodes: Vec<&Node> = cluster.nodes().iter().collect();
    nodes.sort_by_key(|node| node.port() != first.port());
    let addresses: Vec<String> = nodes.iter().map(|node| node.addr().to_string()).collect();
    format!("consul://{}?timeout=1s", addresses.join(","))
}

/// Somebody holds, through the leader, and others wait, while the leader is taken away.
struct Scene {
    cluster: Cluster,
    old: usize,
    holder: Client,
    held: Guard,
    line: Line,
}

impl Scene {
    async fn set() -> Self {
        let cluster = Cluster::start().unwrap();
        let leader = cluster.leader().unwrap();
        let url = through(leader, &cluster);
        let holder = client(&url, 30 * SECOND).await;
        let held = holder.mutex("r").unwrap().lock().await.unwrap();
        let line = Line::behind(&held, &url).await;
        let old = cluster.nodes().iter().position(|node| node.port() == leader.port()).unwrap();
        Self { cluster, old, holder, held, line }
    }

    fn old(&self) -> &Node {
        &self.cluster.nodes()[self.old]
    }

    /// Under the new leader all is as it was.
    async fn goes_on(self) {
        let Self { cluster, old, holder, held, line } = self;
        cluster.leader_after(&cluster.nodes()[old]).unwrap();
        within("the hold is renewed", held.renewed(held.deadline())).await;
        let other = within("another lock is had", holder.mutex("other").unwrap().lock()).await.unwrap();
        assert!(held.is_valid() && other.token() > held.token());
        other.release().await.unwrap();
        held.release().await.unwrap();
        line.all_had_it().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_leader_takes_nobodys_place() {
    let scene = Scene::set().await;
    scene.old().kill().unwrap();
    scene.goes_on().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_leader_takes_nobodys_place() {
    let scene = Scene::set().await;
    scene.old().pause().unwrap();
    scene.goes_on().await;
}

/// One that stood still believes for a moment that it still leads.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_goes_on_after_it_was_replaced_ends_nobodys_hold() {
    let Scene { cluster, old, holder: _holder, held, line } = Scene::set().await;
    let leader = &cluster.nodes()[old];
    leader.pause().unwrap();
    cluster.leader_after(leader).unwrap();
    within("the hold is renewed", held.renewed(held.deadline())).await;
    leader.resume().unwrap();
    until("the old leader follows", async || !leader.is_leader().unwrap_or(true)).await;
    within("the hold is renewed again", held.renewed(held.deadline())).await;
    assert!(held.is_valid());
    held.release().await.unwrap();
    line.all_had_it().await;
}

/// What it knows then is what was: whoever believed it would take for gone who stands in line.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_goes_on_after_it_was_replaced_tells_nobody_what_was() {
    let cluster = Cluster::start().unwrap();
    let leader = cluster.leader().unwrap();
    let alone = open(&format!("consul://{}?timeout=60s", leader.addr())).await;
    assert_eq!(standing(&alone, "r").await, 0);
    leader.pause().unwrap();
    let new = cluster.leader_after(leader).unwrap();
    let holder = client(&through(new, &cluster), 30 * SECOND).await;
    let _held = holder.mutex("r").unwrap().lock().await.unwrap();
    // Asked while it stands still, and so the first thing that it answers.
    let looks = join_all((0..64).map(|_| try_standing(&alone, "r")));
    let (seen, ()) = tokio::join!(looks, async { leader.resume().unwrap() });
    // It may say that it cannot tell.
    assert!(seen.iter().all(|seen| matches!(seen, Ok(1) | Err(_))), "{seen:?}");
    until("it follows", async || try_standing(&alone, "r").await.is_ok_and(|standing| standing == 1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_cut_off_from_its_server_goes_to_the_next() {
    let cluster = Cluster::start().unwrap();
    let leader = cluster.leader().unwrap();
    let proxy = Proxy::before(leader.addr(), 1).unwrap();
    let url = through(leader, &cluster).replace(&leader.addr().to_string(), &proxy.addr().to_string());
    let holder = client(&url, 30 * SECOND).await;
    let held = holder.mutex("r").unwrap().lock().await.unwrap();
    let line = Line::behind(&held, &url).await;
    proxy.black_hole();
    within("the hold is renewed", held.renewed(held.deadline())).await;
    held.release().await.unwrap();
    line.all_had_it().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_leader_everybody_waits_until_their_deadline_and_hears_why() {
    let cluster = Cluster::start().unwrap();
    let (last, others) = cluster.nodes().split_first().unwrap();
    let client = client(&through(last, &cluster), 60 * SECOND).await;
    let held = client.mutex("held").unwrap().lock().await.unwrap();
    others.iter().for_each(|other| other.kill().unwrap());
    let alone = open(&format!("consul://{}?timeout=1s", last.addr())).await;
    until("it knows of no leader", async || {
        last.api("GET", "/v1/status/leader", "").is_ok_and(|answer| answer.body.trim() == "\"\"")
    })
    .await;
    let asked = BootClock.now();
    let patience = 3 * SECOND;
    // Its patience may end in the middle of a request, of which nobody knows what it would have come to.
    match client.mutex("r").unwrap().lock_timeout(patience).await.map(|guard| guard.is_some()) {
        Ok(got_it) => assert!(!got_it, "nobody can have it without a leader"),
        Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}"),
    }
    assert!(BootClock.now().since(asked) >= patience, "it has not waited until its deadline");
    assert!(held.is_valid());
    let cannot = alone.try_join(&claim("r", 1)).await.unwrap_err();
    assert_eq!(cannot.kind(), ErrorKind::Unavailable);
    assert!(cannot.to_string().contains("the cluster has no leader"), "{cannot}");
    others[0].launch().unwrap();
    within("there is a majority again", client.mutex("r").unwrap().lock())
        .await
        .unwrap()
        .release()
        .await
        .unwrap();
    held.release().await.unwrap();
}
