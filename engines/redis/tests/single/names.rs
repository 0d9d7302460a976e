//! Names: whatever they have in them, and whoever looks for them.

use leasehold_core::{Engine, Name, Query};
use leasehold_testkit::redis::Redis as Server;

use crate::world::*;

#[tokio::test]
async fn any_name_is_a_name() {
    let server = Server::start().unwrap();
    let engine = open(&server.url()).await;
    let (long, wide) = ("x".repeat(255), "\u{e9}".repeat(127));
    let names = [
        "a b",
        " ",
        "{",
        "}",
        "{}",
        "{}a",
        "a{b",
        "a}b{c",
        "{a}",
        "{a}b",
        "{a}c",
        "x{{y}}z",
        "*",
        "?",
        "[",
        "]",
        "\\",
        "[a-z]",
        "[^a]",
        "^",
        "a*",
        "\\*",
        "'",
        "\"",
        "%s",
        "%",
        "leasehold:{000}:lock:a",
        ":",
        "-",
        "ü/\u{1F600}",
        &long,
        &wide,
    ];
    for (n, name) in (1..).zip(names) {
        // Held by one with a waiter; on the way the queue takes both of its forms.
        token(&engine.join_one(claim(name, n)).await);
        assert_eq!(server.get(&format!("lock:{name}")), Some(hex(n)), "{name:?}");
        assert_eq!(ahead(&engine.join_one(claim(name, 1000 + n)).await), 1, "{name:?}");
        token(&engine.look(&key(name, n)).await);
        engine.release(&key(name, n)).await;
        token(&engine.look(&key(name, 1000 + n)).await);
    }
    let mut sorted = names.map(str::to_owned);
    sorted.sort();
    assert_eq!(engine.names("", 100).await, sorted);
    for name in names {
        let exactly = engine.inspect(Query::exactly(&Name::new(name).unwrap())).await.unwrap();
        assert_eq!(exactly.queues[0].name.as_str(), name);
        // As a prefix it is a text, not a pattern.
        let starting: Vec<String> = sorted.iter().filter(|other| other.starts_with(name)).cloned().collect();
        assert_eq!(engine.names(name, 100).await, starting, "{name:?}");
    }
    for (n, name) in (1001..).zip(names) {
        engine.release(&key(name, n)).await;
    }
    assert_eq!(server.keys(), [""; 0]);
}

#[tokio::test]
async fn a_name_that_others_start_with_is_found_by_itself() {
    let server = Server::start().unwrap();
    let engine = open(&server.url()).await;
    for (id, name) in (1..).zip(["a/b", "ab", "b"]) {
        engine.join_one(claim(name, id)).await;
    }
    let exactly = Query::exactly(&Name::new("a").unwrap());
    let others = engine.inspect(exactly.clone()).await.unwrap();
    assert!(others.queues.iter().all(|queue| queue.name.as_str() != "a"), "it is free: {others:?}");
    engine.join_one(claim("a", 9)).await;
    let found = engine.inspect(exactly).await.unwrap();
    assert_eq!((found.queues.len(), found.queues[0].name.as_str()), (1, "a"));
    assert_eq!(engine.names("a", 10).await, ["a", "a/b", "ab"]);
}

#[tokio::test]
async fn pages_follow_each_other_without_gaps() {
    let server = Server::start().unwrap();
    let engine = open(&server.url()).await;
    let names: Vec<String> = (0..250).map(|n| format!("p/{n:03}")).collect();
    let claims: Vec<_> = (1..).zip(&names).map(|(id, name)| claim(name, id)).collect();
    assert!(engine.join(&claims).await.iter().all(Result::is_ok));
    engine.join_one(claim("q", 1)).await;
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = engine.inspect(Query { prefix: "p/".into(), after, limit: 60 }).await.unwrap();
        assert!(page.queues.len() <= 60);
        seen.extend(page.queues.iter().map(|queue| queue.name.to_string()));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(seen, names);
}

#[tokio::test]
async fn an_onlooker_sees_who_holds_and_who_waits() {
    let server = Server::start().unwrap();
    let engine = open(&server.url()).await;
    let mut writer = share("r", 1, (3, 3));
    writer.meta.payload = Some("a \u{1F600}".into());
    let held = token(&engine.join_one(writer.clone()).await);
    for id in [2, 3] {
        engine.join_one(share("r", id, (1, 3))).await;
    }
    let page = engine.inspect(Query { limit: 10, ..Query::default() }).await.unwrap();
    let queue = &page.queues[0];
    assert_eq!((queue.capacity, queue.claims.len(), page.queues.len()), (3, 3, 1));
    assert_eq!((queue.claims[0].token, &queue.claims[0].meta), (Some(held), &writer.meta));
    assert!(queue.claims[1].token.is_none() && queue.claims[1].id.0 == 2 && queue.claims[2].id.0 == 3);
    assert!(
        queue.claims[0].ttl_left <= 30 * SECOND + SECOND / 500 && queue.claims[1].ttl_left <= 5 * SECOND * 2
    );
    engine.try_leave(&key("r", 1), leasehold_core::Manner::Revoke).await.unwrap();
    let page = engine.inspect(Query { limit: 10, ..Query::default() }).await.unwrap();
    assert!(page.queues[0].claims[0].revoked);
}

#[tokio::test]
async fn a_lock_of_another_client_is_shown() {
    let server = Server::start().unwrap();
    let engine = open(&server.url()).await;
    server.ask("SET lock:r some-\\xff PX 100000");
    let page = engine.inspect(Query::exactly(&Name::new("r").unwrap())).await.unwrap();
    let other = &page.queues[0].claims[0];
    insta::assert_snapshot!(other.meta.owner, @r"another client (`lock:r` is `some-\\xff`)");
    assert!(other.ttl_left <= 100 * SECOND && other.token.is_none());
    // Also to those who wait for it.
    assert_eq!(ahead(&engine.join_one(claim("r", 1)).await), 1);
    let page = engine.inspect(Query::exactly(&Name::new("r").unwrap())).await.unwrap();
    let owners: Vec<&str> = page.queues[0].claims.iter().map(|claim| &*claim.meta.owner).collect();
    assert_eq!(owners.len(), 2, "{owners:?}");
    assert!(owners[0].starts_with("another client"));
}
