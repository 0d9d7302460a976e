//! What is stored, under which names, in which order, and that it goes away.

use std::collections::BTreeSet;
use std::process::Command;

use leasehold_core::claim::CAPACITY_MAX;
use leasehold_core::{Claim, Engine, Query, Standing};
use leasehold_testkit::zookeeper::{Java, ZooKeeper as Server};
use zookeeper_client::{Acls, CreateMode};

use crate::common::*;
use crate::world::{self, Place, url};

#[tokio::test]
async fn contenders_are_named_as_curator_names_them() {
    let (server, chroot) = (world::start(), "/a/b");
    let (engine, bare) = (open(&url(&server, chroot)).await, bare(&server.url()).await);
    let uuid = "00000000-0000-0000-0000-0000000000ff";
    for (resource, shares, base) in [
        ("mutex", (1, 1), "lock-"),
        ("reader", (1, CAPACITY_MAX), "__READ__"),
        ("writer", (CAPACITY_MAX, CAPACITY_MAX), "__WRIT__"),
        ("permits", (2, 5), "permits-2-of-5-lock-"),
    ] {
        let claim = share(resource, 255, shares);
        let held = token(&engine.join_one(&claim).await);
        let path = format!("{chroot}/{resource}");
        assert_eq!(children(&bare, &path).await, [format!("_c_{uuid}-{base}0000000000")]);
        let node = format!("{path}/_c_{uuid}-{base}0000000000");
        let (data, stat) = bare.get_data(&node).await.unwrap();
        assert_eq!(String::from_utf8(data).unwrap(), r#"{"leasehold":1,"owner":"test","ttl_ms":10000}"#);
        assert_eq!(held.get(), u64::try_from(stat.czxid).unwrap());
        assert_ne!(stat.ephemeral_owner, 0, "it ends with its session");
        engine.release(&claim).await;
    }
    // The parents go by themselves, up to the chroot, which we have made too.
    within("nothing is left behind", async {
        while bare.check_stat("/a").await.unwrap().is_some() {
            pause().await;
        }
    })
    .await;
}

#[tokio::test]
async fn any_name_can_be_locked_and_is_shown_as_given() {
    let place = Place::new();
    let (engine, bare) = (open(&place.url()).await, bare(&place.url()).await);
    let long = "/".repeat(255);
    let mut names =
        vec!["plain", "a/b/c", "/", ".", "..", "../x", "50%", "größe", "😀", "\u{fffd}", "zookeeper", &long];
    let mut claims = Vec::new();
    for (nth, name) in names.iter().enumerate() {
        let claim = claim(name, nth as u128 + 1);
        token(&engine.join_one(&claim).await);
        claims.push(claim);
    }
    names.sort_unstable();
    assert_eq!(engine.names("", 100).await, names);
    assert_eq!(engine.names("a/", 100).await, ["a/b/c"]);
    let page = engine.inspect(Query { limit: 5, ..Query::default() }).await.unwrap();
    assert_eq!(page.queues.len(), 5);
    let rest = Query { after: page.next, limit: 100, ..Query::default() };
    assert_eq!(engine.inspect(rest).await.unwrap().queues.len(), names.len() - 5);
    // One level each, and what needs no spelling is spelled as it is.
    let nodes = children(&bare, &place.chroot).await;
    assert_eq!(nodes.len(), names.len());
    assert!(nodes.contains(&"plain".to_owned()) && nodes.contains(&"größe".to_owned()));
    assert!(nodes.contains(&"a%2Fb%2Fc".to_owned()));
    for claim in &claims {
        engine.release(claim).await;
    }
    assert_eq!(engine.names("", 100).await, [""; 0]);
}

#[tokio::test]
async fn at_the_root_zookeepers_own_node_is_not_a_lock() {
    let server = world::start();
    let (engine, bare) = (open(&server.url()).await, bare(&server.url()).await);
    let claim = claim("zookeeper", 1);
    token(&engine.join_one(&claim).await);
    assert!(children(&bare, "/").await.contains(&"%7Aookeeper".to_owned()));
    assert_eq!(engine.names("", 10).await, ["zookeeper"]);
    engine.release(&claim).await;
    let mut reserved = children(&bare, "/zookeeper").await;
    reserved.retain(|child| child != "config" && child != "quota");
    assert_eq!(reserved, [""; 0]);
}

#[tokio::test]
async fn onlookers_see_who_holds_who_waits_and_others() {
    let place = Place::new();
    let (one, two) = (open(&place.url()).await, open(&place.url()).await);
    let (first, second) = (claim("m", 1), claim("m", 2));
    let held = token(&one.join_one(&first).await);
    assert_eq!(ahead(&two.join_one(&second).await), 1);
    let bare = bare(&place.url()).await;
    let kazoo = format!("{}/m/92f1b4b6e4a84e0d8d2a1c2d3e4f5a6b__lock__", place.chroot);
    let ephemeral = CreateMode::EphemeralSequential.with_acls(Acls::anyone_all());
    bare.create(&kazoo, b"10.0.0.1", &ephemeral).await.unwrap();
    let page = two.inspect(Query { limit: 1, ..Query::default() }).await.unwrap();
    let [a, b, c] = &page.queues[0].claims[..] else { panic!("{page:?}") };
    assert_eq!((a.id, a.token, &*a.meta.owner), (first.id, Some(held), "test"));
    assert_eq!((b.id, b.token, b.ttl_left), (second.id, None, 10 * SECOND));
    assert!(c.is_foreign() && c.token.is_none());
    assert_eq!(&*c.meta.owner, "another client: 10.0.0.1");
}

/// Where the server's count of a node's children ends, numbers tell no order any more.
#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_the_servers_numbers_does_not_matter() {
    // One that looks for what is empty only once a minute.
    let server = Server::start().unwrap();
    let (url, parent) = (format!("{}/locks", server.url()), "/locks/m");
    let first = open(&url).await;
    token(&first.join_one(&claim("m", 1)).await);
    first.release(&claim("m", 1)).await;
    drop(first);
    server.stop().unwrap();
    set_counter(&server, parent, i32::MAX - 2);
    server.restart().unwrap();

    let bare = bare(&server.url()).await;
    let engines = [open(&url).await, open(&url).await];
    let of = |claim: &Claim| &engines[usize::from(claim.id.0.is_multiple_of(2))];
    let claims: Vec<_> = (1..=8).map(|id| claim("m", id)).collect();
    for (at, claim) in claims.iter().enumerate() {
        match of(claim).join_one(claim).await {
            Standing::Held { .. } => assert_eq!(at, 0),
            queued => assert_eq!(ahead(&queued) as usize, at),
        }
    }
    let nodes = children(&bare, parent).await;
    let numbers: Vec<_> = nodes.iter().map(|child| child.rsplit_once("lock-").unwrap().1).collect();
    assert!(numbers.contains(&"2147483645") && numbers.contains(&"2147483647"), "{numbers:?}");
    let distinct: BTreeSet<_> = numbers.iter().collect();
    assert!(
        distinct.len() < numbers.len(),
        "the server goes on with new numbers, so what is this test for? {numbers:?}"
    );

    let mut last = 0;
    for (at, claim) in claims.iter().enumerate() {
        let held = token(&of(claim).look(claim).await).get();
        assert!(held > last);
        last = held;
        for later in &claims[at + 1..] {
            let standing = of(later).look(later).await;
            assert!(matches!(standing, Standing::Queued { .. }), "{later:?}: {standing:?}, {claim:?} holds");
        }
        of(claim).release(claim).await;
    }
}

/// Has a server that is stopped believe that a node has had so many children.
fn set_counter(server: &Server, path: &str, count: i32) {
    let java = Java::compile(&[Java::COUNTER]).unwrap();
    let (program, words) = java.command("Counter").unwrap();
    let mut command = Command::new(program);
    let output = command.args(words).arg(server.folder()).args([path, &count.to_string()]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
