//! Clients of the common recipe exclude us, and we exclude them.

use leasehold_testkit::postgres::Postgres as Server;

use crate::world::*;

/// The recipe: deletes what has expired, and puts a row if there is none. Whether that succeeded.
fn plain_lock(server: &Server, name: &str, owner: &str, span: &str) -> bool {
    server.sql("DELETE FROM distributed_locks WHERE expires_at < now()").unwrap();
    let put = format!(
        "INSERT INTO distributed_locks (lock_name, owner_id, expires_at) VALUES ('{name}', '{owner}', now() + '{span}') \
         ON CONFLICT DO NOTHING RETURNING 1"
    );
    server.sql(&put).unwrap() == "1"
}

fn plain_unlock(server: &Server, name: &str, owner: &str) -> bool {
    let end = format!(
        "DELETE FROM distributed_locks WHERE lock_name = '{name}' AND owner_id = '{owner}' RETURNING 1"
    );
    server.sql(&end).unwrap() == "1"
}

#[tokio::test]
async fn a_plain_client_is_kept_out_by_us() {
    let server = Server::start().unwrap();
    let engine = open(&server.url()).await;
    token(&engine.join_one(claim("m", 1)).await);
    assert!(!plain_lock(&server, "m", "plain", "1 hour"));
    assert!(!plain_unlock(&server, "m", "plain"));
    // The hand-over leaves no gap.
    ahead(&engine.join_one(claim("m", 2)).await);
    engine.release(&key("m", 1)).await;
    assert!(!plain_lock(&server, "m", "plain", "1 hour"));
    engine.release(&key("m", 2)).await;
    assert!(plain_lock(&server, "m", "plain", "1 hour"));
    // So do readers and permits, until the last has gone.
    for id in 1..=2 {
        token(&engine.join_one(share("s", id, (1, 3))).await);
    }
    engine.release(&key("s", 1)).await;
    assert!(!plain_lock(&server, "s", "plain", "1 hour"));
    engine.release(&key("s", 2)).await;
    assert!(plain_lock(&server, "s", "plain", "1 hour"));
}

#[tokio::test]
async fn we_are_kept_out_by_a_plain_client_and_follow_it() {
    let server = Server::start().unwrap();
    let locks = client(&server.url(), 10 * SECOND).await;
    assert!(plain_lock(&server, "m", "plain", "1 hour"));
    let mutex = locks.mutex("m").unwrap();
    assert!(mutex.try_lock().await.unwrap().is_none());
    let shown = locks.engine().inspect(leasehold_core::Query::exactly(&claim("m", 0).name)).await.unwrap();
    assert!(shown.queues[0].claims[0].is_foreign());
    assert_eq!(&*shown.queues[0].claims[0].meta.owner, "plain");
    let waits = tokio::spawn(async move { mutex.lock().await });
    assert!(plain_unlock(&server, "m", "plain"));
    let guard = within("the plain client is followed", waits).await.unwrap().unwrap();
    assert!(!plain_lock(&server, "m", "plain", "1 hour"));
    guard.release().await.unwrap();
    // One that has expired and is still there is taken over.
    assert!(plain_lock(&server, "m", "plain", "1 millisecond"));
    let guard = within("what has expired is taken over", locks.mutex("m").unwrap().lock()).await.unwrap();
    assert!(!plain_unlock(&server, "m", "plain"));
    guard.release().await.unwrap();
}

#[tokio::test]
async fn whose_row_was_deleted_holds_no_more() {
    let server = Server::start().unwrap();
    let engine = open(&server.url()).await;
    let first = token(&engine.join_one(claim("m", 1)).await);
    server.sql("DELETE FROM distributed_locks").unwrap();
    assert!(plain_lock(&server, "m", "plain", "1 hour"));
    assert_eq!(engine.look(&key("m", 1)).await, leasehold_core::Standing::Gone);
    assert_eq!(ahead(&engine.join_one(claim("m", 2)).await), 1);
    assert!(plain_unlock(&server, "m", "plain"));
    let second = token(&engine.look(&key("m", 2)).await);
    assert!(second > first, "{second} after {first}");
    server.sql("DELETE FROM distributed_locks").unwrap();
    assert!(token(&engine.join_one(claim("m", 3)).await) > second);
    assert_eq!(engine.look(&key("m", 2)).await, leasehold_core::Standing::Gone);
}
