//! What becomes of those who hold and those who wait when a leader goes.

use leasehold_core::ErrorKind;
use leasehold_core::clock::BootClock;
use leasehold_core::{Client, Clock, Guard};
use leasehold_testkit::etcd::{Cluster, Etcd as Node};

use crate::line::Line;
use crate::world::*;

/// The URL of a cluster, this member first: clients are connected to it.
fn through(first: &Node, cluster: &Cluster) -> String {
    let mut members: Vec<&Node> = cluster.nodes().iter().collect();
    members.sort_by_key(|member| member.port() != first.port());
    let addresses: Vec<String> = members.iter().map(|member| member.addr().to_string()).collect();
    format!("etcd://{}?timeout=1s", addresses.join(","))
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
        let cluster = Node::builder().divisible().start_cluster().unwrap();
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
        let old = &cluster.nodes()[old];
        cluster.leader_after(old).unwrap();
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

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_cut_off_takes_nobodys_place() {
    let scene = Scene::set().await;
    scene.cluster.cut_off(scene.old()).unwrap();
    scene.goes_on().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_leader_everybody_waits_until_their_deadline_and_hears_why() {
    let cluster = Cluster::start().unwrap();
    let (last, others) = cluster.nodes().split_first().unwrap();
    let client = client(&through(last, &cluster), 30 * SECOND).await;
    let held = client.mutex("held").unwrap().lock().await.unwrap();
    others.iter().for_each(|other| other.kill().unwrap());
    let asked = BootClock.now();
    let patience = 3 * SECOND;
    // Its patience may end in the middle of a request, of which nobody knows what it would have come to.
    match client.mutex("r").unwrap().lock_timeout(patience).await.map(|guard| guard.is_some()) {
        Ok(got_it) => assert!(!got_it, "nobody can have it without a leader"),
        Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}"),
    }
    assert!(BootClock.now().since(asked) >= patience, "it has not waited until its deadline");
    assert!(held.is_valid());
    let cannot = try_open(&format!("etcd://{}", last.addr())).await.map(drop).unwrap_err();
    assert_eq!(cannot.kind(), ErrorKind::Unavailable);
    let mut said = cannot.to_string();
    for (nth, node) in cluster.nodes().iter().enumerate() {
        said = said.replace(&node.addr().to_string(), &format!("NODE {nth}"));
    }
    insta::assert_snapshot!(said);
    others[0].launch().unwrap();
    within("there is a majority again", client.mutex("r").unwrap().lock())
        .await
        .unwrap()
        .release()
        .await
        .unwrap();
    held.release().await.unwrap();
}

/// Before it was mended (issue 15247 of etcd), a leader that stood still ended all leases when it went on, for by its
/// clock they were over, though its successor had kept them: then a holder is told that it has lost its lock, and
/// believes in it until then. `info()` says so of such versions.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_leader_does_that_stood_still_is_what_info_says() {
    let cluster = Cluster::start().unwrap();
    let leader = cluster.leader().unwrap();
    // Connected to another one, which is not paused.
    let url = through(cluster.followers().unwrap()[0], &cluster);
    let ttl = 3 * SECOND;
    let (holder, other) = (client(&url, ttl).await, client(&url, ttl).await);
    let held = holder.mutex("r").unwrap().lock().await.unwrap();
    let mut waiting = tokio::spawn({
        let mutex = other.mutex("r").unwrap();
        async move { mutex.lock().await.unwrap() }
    });
    until("one waits", async || standing(&**other.engine(), "r").await == 2).await;
    leader.pause().unwrap();
    cluster.leader_after(leader).unwrap();
    // By the old leader's clock its lease is over now.
    for _ in 0..4 {
        within("the hold is renewed", held.renewed(held.deadline())).await;
    }
    leader.resume().unwrap();
    until("the old leader follows", async || !leader.is_leader().unwrap_or(true)).await;
    let proven = holder.info().lacks(leasehold_core::Guarantee::ProvenValidity).is_none();
    let mut renewals = 0;
    loop {
        tokio::select! {
            biased;
            () = held.lost() => {
                assert!(!proven, "it was lost though this version has been mended");
                let next = within("the next one holds", &mut waiting).await.unwrap();
                // A storage that has seen the higher token refuses the lower one.
                assert!(next.token() > held.token());
                return;
            }
            () = within("the hold is renewed", held.renewed(held.deadline())) => renewals += 1,
        }
        if renewals == 3 {
            break;
        }
    }
    assert!(held.is_valid() && !waiting.is_finished());
    held.release().await.unwrap();
    within("the next one holds", waiting).await.unwrap().release().await.unwrap();
}
