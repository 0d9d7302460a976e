//! A connection that breaks, a session that ends, a server that dies, stands still, or has its nodes changed by hand.

use futures_util::FutureExt;
use futures_util::future::join_all;
use leasehold_core::{ErrorKind, Outcome, Standing};
use leasehold_testkit::proxy::{Proxy, Way};

use crate::common::*;
use crate::world::{self, Place, url};

/// The URL of a place, with a proxy before its server.
fn through(proxy: &Proxy, place: &Place) -> String {
    place.url().replace(&place.server.addr().to_string(), &proxy.addr().to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contender_whose_answer_was_lost_is_found_again() {
    let place = Place::new();
    let proxy = Proxy::before(place.server.addr(), 1).unwrap();
    let (engine, bare) = (open(&through(&proxy, &place)).await, bare(&place.url()).await);
    let (first, before, claim) = (claim("other", 1), claim("m", 2), claim("m", 3));
    token(&engine.join_one(&first).await);
    // So that nothing need be looked at before.
    token(&engine.join_one(&before).await);
    engine.release(&before).await;
    proxy.drop_way(Way::ToClient);
    let joining = tokio::spawn(engine.try_join(&claim));
    let path = format!("{}/m", place.chroot);
    within("the request has arrived", async {
        while children(&bare, &path).await.is_empty() {
            pause().await;
        }
    })
    .await;
    proxy.await_loss().unwrap();
    proxy.heal().unwrap();
    let error = within("the loss is noticed", joining).await.unwrap().unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::Unavailable, Outcome::Unknown), "{error}");
    let held = token(&within("it is found", engine.join_one(&claim)).await);
    assert_eq!(children(&bare, &path).await.len(), 1);
    // It is as good as any other.
    assert_eq!(token(&engine.look(&claim).await), held);
    engine.release(&claim).await;
    assert_eq!(children(&bare, &path).await, [""; 0]);
    assert!(matches!(engine.look(&first).await, Standing::Held { .. }), "the session has lived on");
}

#[tokio::test(flavor = "multi_thread")]
async fn asked_twice_at_once_it_stands_in_line_once() {
    let place = Place::new();
    let (engine, bare) = (open(&place.url()).await, bare(&place.url()).await);
    token(&engine.join_one(&claim("other", 1)).await);
    for id in 2..20 {
        let claim = claim(&format!("m{id}"), id);
        drop(engine.try_join(&claim).now_or_never());
        token(&engine.join_one(&claim).await);
        assert_eq!(children(&bare, &format!("{}/m{id}", place.chroot)).await.len(), 1);
        engine.release(&claim).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn asked_many_times_at_once_it_stands_in_line_once() {
    let place = Place::new();
    let (engine, bare) = (open(&place.url()).await, bare(&place.url()).await);
    token(&engine.join_one(&claim("other", 1)).await);
    for id in 2..20 {
        let claim = claim(&format!("m{id}"), id);
        let path = format!("{}/m{id}", place.chroot);
        // Nothing is known of the lock, so they look, and make its node.
        let answers = within("all are answered", join_all((0..8).map(|_| engine.join_one(&claim)))).await;
        let tokens: Vec<_> = answers.iter().map(token).collect();
        assert_eq!(children(&bare, &path).await.len(), 1);
        assert!(tokens.iter().all(|one| *one == tokens[0]), "{tokens:?}");
        engine.release(&claim).await;
        assert_eq!(children(&bare, &path).await, [""; 0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_has_ended_is_the_end_of_all_it_held() {
    let place = Place::new();
    let proxy = Proxy::before(place.server.addr(), 1).unwrap();
    let cut = client(&through(&proxy, &place), SECOND).await;
    let other = client(&place.url(), SECOND).await;
    let mut guards = Vec::new();
    for nth in 0..20 {
        guards.push(cut.mutex(&format!("m{nth}")).unwrap().lock().await.unwrap());
    }
    proxy.black_hole();
    for (nth, guard) in guards.iter().enumerate() {
        let next =
            within("the next one gets it", other.mutex(&format!("m{nth}")).unwrap().lock()).await.unwrap();
        assert!(!guard.is_valid(), "both believe that they hold it");
        assert!(next.token() > guard.token());
        within("it is known to be lost", guard.lost()).await;
    }
    proxy.heal().unwrap();
    let again = within("it goes on under a new session", cut.mutex("m0").unwrap().lock()).await.unwrap();
    assert!(again.token() > guards[0].token());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_is_not_longer_than_what_was_confirmed() {
    let server = world::start();
    let client = client(&url(&server, ""), 2 * SECOND).await;
    let guard = client.mutex("m").unwrap().lock().await.unwrap();
    server.pause().unwrap();
    within("it ends by its own deadline", guard.lost()).await;
    assert!(!guard.is_valid());
    server.resume().unwrap();
    let next = within("it can be had again", client.mutex("m").unwrap().lock()).await.unwrap();
    assert!(next.token() > guard.token());
}

#[tokio::test(flavor = "multi_thread")]
async fn holds_outlive_a_server_that_is_killed_and_comes_back() {
    let server = world::start();
    let client = client(&url(&server, ""), 20 * SECOND).await;
    let guard = client.mutex("m").unwrap().lock().await.unwrap();
    let waiting = tokio::spawn({
        let lock = client.mutex("m").unwrap();
        async move { lock.lock().await }
    });
    server.kill().unwrap();
    server.restart().unwrap();
    // Confirmed anew, by the same session.
    let other = within("another can be had", client.mutex("other").unwrap().lock()).await.unwrap();
    assert!(guard.is_valid() && other.token() > guard.token());
    guard.release().await.unwrap();
    let next = within("the next one is let in", waiting).await.unwrap().unwrap();
    next.release().await.unwrap();
    other.release().await.unwrap();
    let bare = bare(&server.url()).await;
    within("nothing is left behind", async {
        while children(&bare, "/").await != ["zookeeper"] {
            pause().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_is_lost_on_the_way_is_sent_again() {
    let place = Place::new();
    let proxy = Proxy::before(place.server.addr(), 1).unwrap();
    let (client, bare) = (client(&through(&proxy, &place), 20 * SECOND).await, bare(&place.url()).await);
    let guard = client.mutex("m").unwrap().lock().await.unwrap();
    proxy.drop_way(Way::ToServer);
    drop(guard);
    proxy.await_loss().unwrap();
    assert_eq!(children(&bare, &format!("{}/m", place.chroot)).await.len(), 1);
    proxy.heal().unwrap();
    within("it is gone, long before the session", async {
        while !children(&bare, &format!("{}/m", place.chroot)).await.is_empty() {
            pause().await;
        }
    })
    .await;
    assert!(client.mutex("m").unwrap().lock().await.unwrap().is_valid());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contender_that_is_deleted_or_revoked_by_hand_is_lost() {
    let place = Place::new();
    let (client, bare) = (client(&place.url(), 2 * SECOND).await, bare(&place.url()).await);
    for by_hand in ["delete", "__REVOKE__"] {
        let guard = client.mutex("m").unwrap().lock().await.unwrap();
        let path = format!("{}/m", place.chroot);
        let node = format!("{path}/{}", children(&bare, &path).await[0]);
        match by_hand {
            "delete" => bare.delete(&node, None).await.unwrap(),
            data => drop(bare.set_data(&node, data.as_bytes(), None).await.unwrap()),
        }
        within("it is known to be lost", guard.lost()).await;
        let next = within("it can be had again", client.mutex("m").unwrap().lock()).await.unwrap();
        assert!(!guard.is_valid() && next.token() > guard.token());
        next.release().await.unwrap();
    }
}
