//! Other programs that lock the same keys, and other clients of ours.

use leasehold_core::engine::Query;
use leasehold_core::{Engine, Name};
use leasehold_testkit::postgres::Postgres as Server;
use sqlx::Connection;
use sqlx::postgres::{PgAdvisoryLock, PgConnection};

use crate::world::{ahead, claim, key, share, token, within};
use crate::*;

const ALL: u32 = leasehold_core::claim::CAPACITY_MAX;

#[tokio::test]
async fn sqlx_is_kept_out_and_keeps_out() {
    let server = Server::start().unwrap();
    let engine = open(&url(&server)).await;
    let mut theirs = PgConnection::connect(&server.url()).await.unwrap();
    for name in ["m", "a longer name, with Ünïcode", ""] {
        let lock = PgAdvisoryLock::new(name);
        let Ok(ours) = Name::new(name) else { continue };
        let guard = lock.acquire(&mut theirs).await.unwrap();
        ahead(&engine.join_one(claim(name, 1)).await);
        // It says by itself when it is its turn.
        let mut hints = engine.watch(&key(name, 1));
        guard.release_now().await.unwrap();
        within("we are told", futures_util::StreamExt::next(&mut hints)).await;
        token(&engine.look(&key(name, 1)).await);
        assert!(lock.try_acquire(&mut theirs).await.unwrap().is_right(), "{ours} is ours");
        engine.release(&key(name, 1)).await;
        let guard = lock.try_acquire(&mut theirs).await.unwrap().left().expect("it is free");
        guard.release_now().await.unwrap();
    }
}

#[tokio::test]
async fn madelsons_keys_are_locked() {
    let server = Server::start().unwrap();
    let engine = open(&format!("{}?keys=madelson", url(&server))).await;
    // `a` and a zero, and ones behind it; a number; two numbers; the SHA-1 of the name.
    let locked = "SELECT string_agg(concat_ws(' ', classid, objid, objsubid), ', ') FROM pg_locks WHERE locktype = 'advisory'";
    for (nth, (name, key_of_it)) in [
        ("a", "3271557119 4294967295 2"),
        ("00000000000000ff", "0 255 1"),
        ("00000001,ffffffff", "1 4294967295 2"),
        ("abcdefghij", "3937879459 2686029014 1"),
    ]
    .into_iter()
    .enumerate()
    {
        token(&engine.join_one(claim(name, nth as u128 + 1)).await);
        assert_eq!(server.sql(locked).unwrap(), key_of_it, "{name}");
        engine.release(&key(name, nth as u128 + 1)).await;
    }
    // Two names of one number are one lock.
    token(&engine.join_one(claim("00000000000000ff", 10)).await);
    ahead(&engine.join_one(claim("00000000000000FF", 11)).await);
}

#[tokio::test]
async fn readers_of_several_clients_share_and_a_writer_comes_between() {
    let server = Server::start().unwrap();
    let (one, two) = (open(&url(&server)).await, open(&url(&server)).await);
    let reader = |id| share("rw", id, (1, ALL));
    let first = token(&one.join_one(reader(1)).await);
    token(&two.join_one(reader(2)).await);
    token(&one.join_one(reader(3)).await);
    // A writer of another client waits in the server, and from then on no reader joins those of ours.
    ahead(&two.join_one(share("rw", 4, (ALL, ALL))).await);
    two.release(&key("rw", 2)).await;
    let mut hints = two.watch(&key("rw", 4));
    let waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
    within("it waits in the server", async {
        while server.sql(waiting).unwrap() != "1" {
            tokio::task::yield_now().await;
        }
    })
    .await;
    ahead(&one.join_one(reader(5)).await);
    one.release(&key("rw", 1)).await;
    one.release(&key("rw", 3)).await;
    within("the writer is told", futures_util::StreamExt::next(&mut hints)).await;
    let writes = token(&two.look(&key("rw", 4)).await);
    assert!(writes > first);
    ahead(&one.look(&key("rw", 5)).await);
    two.release(&key("rw", 4)).await;
    within("the reader gets in", async {
        loop {
            if let leasehold_core::Standing::Held { token, .. } = one.look(&key("rw", 5)).await {
                assert!(token > writes);
                break;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_client_that_hands_over_within_itself_lets_others_in() {
    let server = Server::start().unwrap();
    let (one, two) = (client(&url(&server)).await, client(&url(&server)).await);
    let mutex = one.mutex("m").unwrap();
    let tasks: Vec<_> = (0..4)
        .map(|_| {
            let mutex = mutex.clone();
            tokio::spawn(async move {
                loop {
                    mutex.lock().await.unwrap().release().await.unwrap();
                }
            })
        })
        .collect();
    for _ in 0..20 {
        let guard = within("the other client gets it", two.mutex("m").unwrap().lock()).await.unwrap();
        guard.release().await.unwrap();
    }
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn what_others_hold_is_shown_by_key_or_by_the_name_that_is_asked_for() {
    let server = Server::start().unwrap();
    let (one, two) = (open(&url(&server)).await, open(&url(&server)).await);
    token(&one.join_one(claim("m", 1)).await);
    let shown = two.inspect(Query::exactly(&Name::new("m").unwrap())).await.unwrap();
    assert!(shown.queues[0].claims[0].is_foreign());
    assert!(shown.queues[0].claims[0].meta.owner.starts_with("leasehold pid "), "{shown:?}");
    let all = two.inspect(Query { prefix: String::new(), after: None, limit: 10 }).await.unwrap();
    assert!(all.queues.len() == 1 && all.queues[0].name.as_str().starts_with('#'), "{all:?}");
    let own = one.inspect(Query { prefix: String::new(), after: None, limit: 10 }).await.unwrap();
    assert_eq!((own.queues.len(), own.queues[0].name.as_str()), (1, "m"));
}
