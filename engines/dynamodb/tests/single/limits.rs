//! How long a queue may be, and when the dead are known to be dead.

use std::sync::Arc;
use std::time::Duration;

use leasehold_core::engine::Refusal;
use leasehold_core::{Claim, Engine, Env, Meta, Standing};
use leasehold_testkit::dynamodb::DynamoDb as Server;
use serde_json::json;

use crate::world::*;

#[tokio::test]
async fn a_queue_that_would_not_fit_into_an_item_is_full() {
    let server = Server::start().unwrap();
    let engine = open(&server.url()).await;
    let payload: Arc<str> = "x".repeat(1024).into();
    let full =
        |id| Claim { meta: Meta { payload: Some(payload.clone()), ..claim("m", id).meta }, ..claim("m", id) };
    let claims: Vec<_> = (1..=400).map(full).collect();
    let mut standings = Vec::new();
    for batch in claims.chunks(engine.info().batch_max) {
        standings.extend(engine.join(batch).await.into_iter().map(Result::unwrap));
    }
    let fit = standings.iter().take_while(|s| !matches!(s, Standing::Refused(_))).count();
    assert!((300..400).contains(&fit), "{fit} claims with the longest payload fit into 400 KB");
    assert_eq!(standings[399], Standing::Refused(Refusal::QueueFull { max: u32::try_from(fit).unwrap() }));
    // Those who are in it can do all that they could, with a token for each in turn.
    engine.release(&claims[0]).await;
    token(&engine.renew(&claims[1]).await);
    assert_eq!(ahead(&engine.join_one(&full(1000)).await), u32::try_from(fit).unwrap() - 1);
}

/// Whoever comes waits for a whole TTL of what it finds, however long that has been there.
#[tokio::test]
async fn who_comes_late_still_observes_for_a_whole_ttl() {
    let server = Server::start().unwrap();
    let holder = Claim { ttl: SHORT, ..claim("m", 1) };
    token(&open(&server.url()).await.join_one(&holder).await);
    let clock = Env::system().clock;
    // The holder is long dead, but nobody has seen that.
    clock.sleep_until(clock.now() + SHORT * 2).await;
    let (engine, next) = (open(&server.url()).await, claim("m", 2));
    let came = clock.now();
    let Standing::Queued { look_again, .. } = engine.join_one(&next).await else {
        panic!("nobody is known to be dead")
    };
    assert!(look_again <= SHORT && look_again > SHORT / 2, "{look_again:?}");
    while let Standing::Queued { look_again, .. } = engine.renew(&next).await {
        clock.sleep_until(clock.now() + look_again.max(Duration::from_millis(1))).await;
    }
    assert!(clock.now() >= came + SHORT);
    assert_eq!(engine.renew(&holder).await, Standing::Gone);
}

#[tokio::test]
async fn the_token_outlives_the_queue() {
    let server = Server::start().unwrap();
    for turn in 1..=3 {
        let (engine, claim) = (open(&server.url()).await, claim("m", turn));
        assert_eq!(u128::from(token(&engine.join_one(&claim).await).get()), turn);
        engine.release(&claim).await;
        assert_eq!(engine.standing_in(&claim).await, 0);
    }
}

/// What the documentation says breaks exclusion and the order of tokens does.
#[tokio::test]
async fn an_item_that_is_deleted_takes_its_holder_and_its_token_with_it() {
    let server = Server::start().unwrap();
    let (ours, theirs) = (open(&server.url()).await, open(&server.url()).await);
    let [earlier, holder, other] = [1, 2, 3].map(|id| claim("m", id));
    ours.join_one(&earlier).await;
    ours.release(&earlier).await;
    let held = token(&ours.join_one(&holder).await);
    let key = json!({ "lock_name": { "S": "m" } });
    server.ask("DeleteItem", &json!({ "TableName": server.table(), "Key": key })).unwrap();
    let second = token(&theirs.join_one(&other).await);
    assert!(second < held, "two hold it, and only a fence that has seen {held} refuses {second}");
    assert_eq!(ours.renew(&holder).await, Standing::Gone, "at its next renewal the first one hears of it");
    assert_eq!(token(&theirs.renew(&other).await), second);
}
