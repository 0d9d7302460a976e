//! How many requests what takes; and what becomes of those whose answers are lost. Both servers.

use leasehold_core::Standing;
use leasehold_testkit::dynamodb::{DynamoDb as Server, Kind};

use crate::relay::Relay;
use crate::world::*;

#[tokio::test]
async fn a_lock_that_nobody_else_wants_is_one_request_to_take_to_renew_and_to_release() {
    for kind in [Kind::Dynalite, Kind::Moto] {
        let server = Server::start_kind(kind).unwrap();
        let relay = Relay::before(server.addr());
        let engine = open(&server.url_of(server.table(), relay.addr())).await;
        assert_eq!(relay.asked(), ["DescribeTable"], "once, for all locks");
        let mut last = None;
        // First when there is no item, then when it is there with the last token; then as another process.
        for turn in 0..3 {
            let other = open(&server.url_of(server.table(), relay.addr())).await;
            relay.asked();
            let (engine, claim) = (if turn == 2 { &other } else { &engine }, claim("m", turn + 1));
            let taken = token(&engine.join_one(&claim).await);
            assert_eq!(relay.asked(), ["UpdateItem"], "{kind:?}: to take it");
            assert!(last < Some(taken), "{kind:?}: {taken:?} after {last:?}");
            for _ in 0..3 {
                assert_eq!(token(&engine.renew(&claim).await), taken);
                assert_eq!(relay.asked(), ["UpdateItem"], "{kind:?}: to renew it");
            }
            engine.release(&claim).await;
            assert_eq!(relay.asked(), ["UpdateItem"], "{kind:?}: to release it");
            last = Some(taken);
        }
    }
}

#[tokio::test]
async fn what_comes_together_for_one_lock_is_one_write() {
    let server = Server::start().unwrap();
    let relay = Relay::before(server.addr());
    let engine = open(&server.url_of(server.table(), relay.addr())).await;
    let claims: Vec<_> = (1..=50).map(|id| claim("m", id)).collect();
    relay.asked();
    let standings = engine_join(&engine, &claims).await;
    assert_eq!(ahead(&standings[49]), 49);
    assert_eq!(relay.asked(), ["GetItem", "UpdateItem"]);
}

async fn engine_join(engine: &impl One, claims: &[leasehold_core::Claim]) -> Vec<Standing> {
    engine.join(claims).await.into_iter().map(Result::unwrap).collect()
}

#[tokio::test]
async fn a_request_that_is_repeated_and_had_succeeded_is_recognised() {
    for kind in [Kind::Dynalite, Kind::Moto] {
        let server = Server::start_kind(kind).unwrap();
        let relay = Relay::before(server.addr());
        let engine = open(&server.url_of(server.table(), relay.addr())).await;
        let (holder, next) = (claim("m", 1), claim("m", 2));
        relay.lose_answer_to("UpdateItem");
        let first = token(&engine.join_one(&holder).await);
        assert_eq!(first.get(), 1, "{kind:?}: the token was given once");
        relay.lose_answer_to("UpdateItem");
        assert_eq!(ahead(&engine.join_one(&next).await), 1, "{kind:?}");
        assert_eq!(engine.standing_in(&next).await, 2, "{kind:?}: nobody stands there twice");
        relay.lose_answer_to("UpdateItem");
        assert_eq!(token(&engine.renew(&holder).await), first, "{kind:?}: what was renewed is not gone");
        relay.lose_answer_to("UpdateItem");
        engine.release(&holder).await;
        let second = token(&engine.renew(&next).await);
        assert_eq!(second.get(), 2, "{kind:?}: it was handed over once");
    }
}
