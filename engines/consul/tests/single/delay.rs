//! The time in which Consul gives a lock to nobody, because the session that had it ended without letting go.

use leasehold_core::Clock;
use leasehold_core::clock::BootClock;
use leasehold_testkit::consul::Consul as Server;

use crate::world::*;

/// What Consul knows of the only session that there is.
fn session(server: &Server) -> serde_json::Value {
    let all = server.api("GET", "/v1/session/list", "").unwrap().ok().unwrap();
    let mut all: Vec<serde_json::Value> = serde_json::from_str(&all).unwrap();
    assert_eq!(all.len(), 1);
    all.remove(0)
}

#[tokio::test]
async fn it_is_fifteen_seconds_unless_the_url_says_otherwise() {
    for (options, nanos) in [("", 15_000_000_000_u64), ("?lock_delay=2500ms", 2_500_000_000)] {
        let server = Server::start().unwrap();
        let engine = open(&format!("{}{options}", server.url())).await;
        token(&engine.join_one(&claim("m", 1)).await);
        let session = session(&server);
        assert_eq!(session["LockDelay"], nanos);
        assert_eq!((&session["Behavior"], &session["TTL"]), (&"delete".into(), &"3600000ms".into()));
    }
}

#[tokio::test]
async fn whoever_is_first_waits_for_it_and_is_shown_why() {
    let server = Server::start().unwrap();
    let url = format!("{}?lock_delay=2s", server.url());
    let (one, other) = (open(&url).await, open(&url).await);
    let (holder, next) = (claim("m", 1), claim("m", 2));
    let first = token(&one.join_one(&holder).await);
    let lost = session(&server)["ID"].as_str().unwrap().to_owned();
    assert_eq!(ahead(&other.join_one(&next).await), 1);
    let hint = other.hint(&next);
    let ended = BootClock.now();
    server.api("PUT", &format!("/v1/session/destroy/{lost}"), "").unwrap().ok().unwrap();
    until("it is in the way", async || {
        let page = other.page("m").await;
        page.queues[0].claims[0].meta.owner.contains("lock-delay")
    })
    .await;
    other.look(&next).await;
    within("it is over", hint).await;
    assert!(BootClock.now().since(ended) >= 2 * SECOND, "Consul has not kept it from anybody");
    assert!(token(&other.look(&next).await) > first);
    assert_eq!(standing(&other, "m").await, 1);
}

#[tokio::test]
async fn without_it_the_next_one_follows_at_once() {
    let server = Server::start().unwrap();
    let url = format!("{}?lock_delay=0s", server.url());
    let (one, other) = (open(&url).await, open(&url).await);
    let (holder, next) = (claim("m", 1), claim("m", 2));
    let first = token(&one.join_one(&holder).await);
    let lost = session(&server)["ID"].as_str().unwrap().to_owned();
    assert_eq!(ahead(&other.join_one(&next).await), 1);
    let hint = other.hint(&next);
    server.api("PUT", &format!("/v1/session/destroy/{lost}"), "").unwrap().ok().unwrap();
    within("it holds", hint).await;
    assert!(token(&other.look(&next).await) > first);
}
