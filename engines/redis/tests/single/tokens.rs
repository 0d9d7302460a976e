//! Tokens rise, whatever becomes of the data and of the clock, and are never rounded.

use std::fs;

use futures_util::StreamExt;
use leasehold_core::{Claim, Engine, ErrorKind, Hint, Name, Outcome, Query, Refresh, TOKEN_END, Token};
use leasehold_testkit::redis::Redis as Server;

use crate::world::*;

#[tokio::test]
async fn tokens_rise_over_flushall() {
    let server = Server::start().unwrap();
    let engine = open(&server.url()).await;
    let mut last = next_token(&engine, "r", 1).await;
    for id in 2..10 {
        server.ask("FLUSHALL");
        // Once over a connection that knew the counter, once over a new one.
        let engine = if id % 2 == 0 { engine.clone() } else { open(&server.url()).await };
        let next = next_token(&engine, "r", id).await;
        assert!(next > last, "{next} after {last}");
        last = next;
    }
}

#[tokio::test]
async fn tokens_rise_over_flushall_while_somebody_waits() {
    let server = Server::start().unwrap();
    let engine = open(&server.url()).await;
    let first = token(&engine.join_one(claim("r", 1)).await).get();
    engine.join_one(claim("r", 2)).await;
    server.ask("FLUSHALL");
    // All are gone, and say so; who comes is above who was.
    assert_eq!(engine.look(&key("r", 1)).await, leasehold_core::Standing::Gone);
    assert_eq!(engine.look(&key("r", 2)).await, leasehold_core::Standing::Gone);
    assert!(token(&engine.join_one(claim("r", 3)).await).get() > first);
}

#[tokio::test]
async fn tokens_rise_over_a_restart_from_an_older_file() {
    let server = Server::start().unwrap();
    let engine = open(&server.url()).await;
    let mut last = next_token(&engine, "r", 1).await;
    server.ask("SAVE");
    let older = fs::read(server.folder().join("dump.rdb")).unwrap();
    for id in 2..100 {
        last = next_token(&engine, "r", id).await;
    }
    server.ask("SAVE");
    server.kill().unwrap();
    fs::write(server.folder().join("dump.rdb"), older).unwrap();
    server.restart().unwrap();
    // The counter is behind, and this connection does not know that; then another does not.
    assert!(server.get(&server.counter()).unwrap().parse::<u64>().unwrap() < last);
    let mut next = None;
    until("the engine has connected again", async || {
        next = engine.try_join(claim("r", 100)).await.ok();
        next.is_some()
    })
    .await;
    let next = token(&next.unwrap()).get();
    assert!(next > last, "{next} after {last}");
    engine.release(&key("r", 100)).await;
    assert!(next_token(&open(&server.url()).await, "r", 101).await > next);
}

#[tokio::test]
async fn tokens_rise_when_the_clock_is_set_back_while_data_is_kept() {
    let server = Server::builder().fake_clock().start().unwrap();
    let engine = open(&server.url()).await;
    let first = next_token(&engine, "r", 1).await;
    server.shift_clock(-3600.0).unwrap();
    let second = next_token(&engine, "r", 2).await;
    let other = open(&server.url()).await;
    let third = next_token(&other, "r", 3).await;
    let held = token(&other.join_one(claim("r", 4)).await).get();
    engine.join_one(claim("r", 5)).await;
    other.release(&key("r", 4)).await;
    let handed = token(&engine.look(&key("r", 5)).await).get();
    let all = [first, second, third, held, handed];
    assert!(all.is_sorted_by(|a, b| a < b), "{all:?}");
}

#[tokio::test]
async fn tokens_rise_when_the_counter_is_deleted() {
    let server = Server::start().unwrap();
    let engine = open(&server.url()).await;
    let first = token(&engine.join_one(claim("r", 1)).await).get();
    server.ask(&format!("DEL {}", server.counter()));
    engine.join_one(claim("r", 2)).await;
    engine.release(&key("r", 1)).await;
    let second = token(&engine.look(&key("r", 2)).await).get();
    engine.release(&key("r", 2)).await;
    server.ask(&format!("DEL {}", server.counter()));
    let third = next_token(&engine, "r", 3).await;
    assert!(first < second && second < third, "{first} {second} {third}");
}

#[tokio::test]
async fn big_tokens_are_exact_on_every_way() {
    let server = Server::start().unwrap();
    let engine = open(&server.url()).await;
    next_token(&engine, "r", 1).await;
    let counter = server.counter();
    // Odd numbers that a `double` has and that 14 digits do not.
    let mut expected = (1 << 52) + 12_345;
    server.ask(&format!("SET {counter} {expected}"));
    for engine in [engine.clone(), open(&server.url()).await] {
        for weight in [1, 3] {
            // Alone, then handed over: in the answer, in the hint, at the next look, to onlookers.
            expected += 1;
            assert_eq!(token(&engine.join_one(share("r", 2, (weight, 3))).await).get(), expected);
            assert_eq!(token(&engine.look(&key("r", 2)).await).get(), expected);
            let mut hints = engine.watch(&key("r", 3));
            assert_eq!(ahead(&engine.join_one(share("r", 3, (3, 3))).await), 1);
            assert_eq!(token(&engine.look(&key("r", 2)).await).get(), expected);
            engine.release(&key("r", 2)).await;
            expected += 1;
            let hint = within("the hint comes", hints.next()).await;
            assert_eq!(hint, Some(Hint::Held(Token::new(expected).unwrap())));
            assert_eq!(token(&engine.look(&key("r", 3)).await).get(), expected);
            let page = engine.inspect(Query::exactly(&Name::new("r").unwrap())).await.unwrap();
            assert_eq!(page.queues[0].claims[0].token, Token::new(expected));
            engine.release(&key("r", 3)).await;
            assert_eq!(server.get(&counter), Some(expected.to_string()));
        }
    }
    // Proposed ones too.
    expected += 2_000_001;
    let raised = Claim { raise: Token::new(expected), ..claim("r", 4) };
    assert_eq!(token(&engine.join_one(raised).await).get(), expected);
    expected += 2;
    let ask = Refresh { claim: key("r", 4), ttl: LONG, raise: Token::new(expected) };
    let answer = engine.refresh(&[ask]).await.remove(0).unwrap();
    assert_eq!(token(&answer).get(), expected);
    assert_eq!(server.get(&counter), Some(expected.to_string()));
}

#[tokio::test]
async fn tokens_end_loudly() {
    let server = Server::start().unwrap();
    let engine = open(&server.url()).await;
    next_token(&engine, "r", 1).await;
    let counter = server.counter();
    server.ask(&format!("SET {counter} {}", TOKEN_END - 3));
    let last = token(&engine.join_one(claim("r", 2)).await).get();
    engine.join_one(claim("r", 3)).await;
    engine.release(&key("r", 2)).await;
    assert_eq!([last, token(&engine.look(&key("r", 3)).await).get()], [TOKEN_END - 2, TOKEN_END - 1]);
    // Nobody can be let in any more, which is told to whoever asks; the others can go.
    assert_eq!(ahead(&engine.join_one(claim("r", 4)).await), 1);
    engine.release(&key("r", 3)).await;
    let refused = engine.try_refresh(&key("r", 4), SECOND).await.unwrap_err();
    assert_eq!((refused.kind(), refused.outcome()), (ErrorKind::Corrupt, Outcome::NotApplied));
    engine.release(&key("r", 4)).await;
    for id in 5..9 {
        // Small and large requests, over a connection that knows the counter and one that does not.
        let engine = if id % 2 == 0 { engine.clone() } else { open(&server.url()).await };
        let refused = engine.try_join(share("r", id, (1 + id as u32 / 7, 2))).await.unwrap_err();
        assert_eq!((refused.kind(), refused.outcome()), (ErrorKind::Corrupt, Outcome::NotApplied));
        assert!(refused.to_string().contains("2^53"), "{refused}");
    }
    let refused = engine.try_join(claim("r", 9)).await.unwrap_err();
    insta::assert_snapshot!(refused.to_string().replace(&server.addr().to_string(), "SERVER"));
    assert_eq!(server.keys(), [""; 0]);
}
