//! Sessions that end, names that could lead astray, tokens that do not let in, and what is left behind.

use leasehold_core::{ErrorKind, Query, Standing};
use leasehold_testkit::consul::Consul as Server;

use crate::world::*;

#[tokio::test]
async fn a_session_that_an_operator_destroys_is_one_event_for_all_its_holds() {
    let server = Server::start().unwrap();
    let client = client(&format!("{}?lock_delay=0s", server.url()), LONG).await;
    let mut guards = Vec::new();
    for nth in 0..5 {
        guards.push(client.mutex(&format!("m{nth}")).unwrap().lock().await.unwrap());
    }
    let sessions = server.sessions().unwrap();
    assert_eq!(sessions.len(), 1, "one for all");
    server.api("PUT", &format!("/v1/session/destroy/{}", sessions[0]), "").unwrap().ok().unwrap();
    for guard in &guards {
        // Its renewal is due in twenty minutes.
        within("the holder hears of it", guard.lost()).await;
    }
    let again = within("another session", client.mutex("m0").unwrap().lock()).await.unwrap();
    assert!(again.is_valid() && again.token() > guards[4].token());
}

#[tokio::test]
async fn names_do_not_lead_astray() {
    let server = Server::start().unwrap();
    let engine = open(&server.url()).await;
    let long = "ü".repeat(127) + "x";
    let names =
        ["a", "a/b", "a/.lock", "/a", "a/", "a//b", ".", "..", "a/../b", "a%2Fb", "A", "a b", "ä", &long];
    let claims: Vec<_> = names.iter().zip(1..).map(|(name, id)| claim(name, id)).collect();
    for claim in &claims {
        token(&engine.join_one(claim).await);
    }
    let page = engine.page("").await;
    let mut shown: Vec<&str> = page.queues.iter().map(|queue| queue.name.as_str()).collect();
    let mut wanted = names.to_vec();
    shown.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(shown, wanted, "each is a lock of its own, and shown as it was given");
    for claim in &claims {
        engine.release(claim).await;
    }
    until("nothing is left", async || server.keys("").unwrap().iter().all(|key| !key.contains("lock"))).await;
}

#[tokio::test]
async fn a_ttl_outside_the_bounds_is_refused_with_them() {
    let server = Server::start().unwrap();
    for ttl in [SECOND, 25 * LONG] {
        let client = client(&server.url(), ttl).await;
        let error = client.mutex("m").unwrap().lock().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains("10s to 86400s"), "{error}");
    }
    assert!(server.sessions().unwrap().is_empty(), "nothing was sent");
}

#[tokio::test]
async fn a_thousand_holds_are_one_session() {
    let server = Server::start().unwrap();
    let engine = open(&server.url()).await;
    let claims: Vec<_> = (0..1000).map(|nth| claim(&format!("m{nth}"), 1 + nth)).collect();
    for standing in engine.join_all(&claims).await {
        token(&standing);
    }
    assert_eq!(server.sessions().unwrap().len(), 1);
    for claim in claims.chunks(100) {
        for standing in engine.look_all(claim).await {
            assert!(matches!(standing, Standing::Held { .. }));
        }
    }
    assert_eq!(engine.page("m99").await.queues.len(), 11);
}

#[tokio::test]
async fn a_client_that_is_dropped_leaves_nothing() {
    let server = Server::start().unwrap();
    let client = client(&server.url(), SHORT).await;
    let guard = client.rwlock("m").unwrap().write().await.unwrap();
    let query = || Query { prefix: String::new(), limit: 10, after: None };
    assert_eq!(client.inspect(query()).await.unwrap().queues.len(), 1);
    guard.release().await.unwrap();
    client.shutdown(BOUND).await.unwrap();
    drop(client);
    until("its session is closed", async || server.sessions().unwrap().is_empty()).await;
    assert!(server.keys("").unwrap().is_empty(), "{:?}", server.keys(""));
}
