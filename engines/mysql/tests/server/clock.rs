//! The database's clock is set: what holds and what does not.

use leasehold_core::Standing;
use leasehold_testkit::mariadb::MariaDb as Server;

use crate::world::*;

const HOUR: f64 = 3600.0;

#[tokio::test]
async fn set_back_an_hour_nobody_is_let_in_twice_and_tokens_rise() {
    let server = Server::builder().fake_clock().start().unwrap();
    let engine = open(&server.url()).await;
    let first = token(&engine.join_one(claim("m", 1)).await);
    server.shift_clock(-HOUR).unwrap();
    ahead(&engine.join_one(claim("m", 2)).await);
    assert_eq!(token(&engine.look(&key("m", 1)).await), first, "who holds goes on");
    // Whoever dies now is followed after its TTL, not after an hour.
    let standing = engine.look(&key("m", 2)).await;
    let Standing::Queued { look_again, .. } = standing else { panic!("{standing:?}") };
    assert!(look_again <= 30 * SECOND, "{look_again:?}");
    server.shift_clock(-HOUR + 31.0).unwrap();
    let mut last = token(&engine.join_one(claim("m", 3)).await);
    assert!(last > first, "{last} after {first}");
    // Who connects now finds a clock that is behind the last token.
    let again = open(&server.url()).await;
    for id in 10..14 {
        let next = token(&again.join_one(claim("n", id)).await);
        assert!(next > last, "{next} after {last}");
        last = next;
        again.release(&key("n", id)).await;
    }
}

#[tokio::test]
async fn set_forward_an_hour_holds_end_early_and_the_next_token_is_higher() {
    let server = Server::builder().fake_clock().start().unwrap();
    let engine = open(&server.url()).await;
    let first = token(&engine.join_one(claim("m", 1)).await);
    server.shift_clock(HOUR).unwrap();
    // This is what a forward step breaks: the first holder believes for its TTL, and only a fence tells them apart.
    let second = token(&engine.join_one(claim("m", 2)).await);
    assert!(second > first, "{second} after {first}");
    assert_eq!(engine.look(&key("m", 1)).await, Standing::Gone);
}
