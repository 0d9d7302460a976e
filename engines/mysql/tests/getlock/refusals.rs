//! What is refused, and in which words.

use leasehold_core::clock::BootClock;
use leasehold_core::{Clock, Query};
use leasehold_testkit::mariadb::MariaDb as Server;

use crate::world::{claim, fixed, share, token};
use crate::*;

#[tokio::test]
async fn what_such_locks_cannot_be_is_refused() {
    let server = Server::start().unwrap();
    let engine = open(&url(&server)).await;
    let refused = engine.try_join(share("s", 1, (1, 3))).await.unwrap_err();
    insta::assert_snapshot!(refused.to_string());
    let longer = leasehold_core::Claim { at_least: SECOND, ..claim("m", 2) };
    insta::assert_snapshot!(engine.try_join(longer).await.unwrap_err().to_string());
}

#[tokio::test]
async fn who_is_not_let_in_is_told() {
    let server = Server::start().unwrap();
    server.run("CREATE USER guest IDENTIFIED BY 'sesame'").unwrap();
    let wrong = url(&server).replace("root@", "guest:wrong@");
    let error = try_open(&wrong).await.unwrap_err();
    assert_eq!(error.kind(), leasehold_core::ErrorKind::Denied);
    insta::assert_snapshot!(fixed(&server, &error.to_string()));
}

/// It takes no right but to connect, not even to the database's tables, nor a server that takes writes.
#[tokio::test]
async fn a_user_without_rights_locks_on_a_read_only_server_with_limits() {
    let server = Server::builder()
        .option("read-only", "1")
        .option("wait-timeout", "1")
        .option("max-statement-time", "1")
        .option("sql-mode", "ANSI_QUOTES,NO_BACKSLASH_ESCAPES")
        .option("character-set-server", "latin1")
        .start()
        .unwrap();
    server.run("CREATE USER guest; GRANT SELECT ON mysql.help_topic TO guest").unwrap();
    let theirs = url(&server).replace("root@", "guest@").replace("/leasehold", "/mysql");
    let (one, two) = (open(&theirs).await, client(&theirs).await);
    token(&one.join_one(claim("m", 1)).await);
    let mutex = two.mutex("m").unwrap();
    let waits = tokio::spawn(async move { mutex.lock().await.map(drop) });
    waiting(&server, "1").await;
    // Longer than all the server's limits.
    BootClock.sleep_until(BootClock.now() + 2 * SECOND).await;
    waiting(&server, "1").await;
    token(&one.look(&world::key("m", 1)).await);
    one.release(&world::key("m", 1)).await;
    within("it gets it", waits).await.unwrap().unwrap();
}

#[tokio::test]
async fn who_finds_no_connection_left_to_wait_with_looks() {
    let server = Server::start().unwrap();
    server
        .run("CREATE USER guest WITH MAX_USER_CONNECTIONS 2; GRANT SELECT ON leasehold.* TO guest")
        .unwrap();
    let one = open(&url(&server)).await;
    let two = client(&url(&server).replace("root@", "guest@")).await;
    token(&one.join_one(claim("m", 1)).await);
    let standing = async || {
        let page = two.engine().inspect(Query::exactly(&claim("m", 1).name)).await.unwrap();
        page.queues.iter().map(|queue| queue.claims.len()).sum::<usize>()
    };
    // Which takes its second connection.
    assert_eq!(standing().await, 1);
    let mutex = two.mutex("m").unwrap();
    let waits = tokio::spawn(async move { mutex.lock().await.map(drop) });
    within("it waits", async { while standing().await < 2 {} }).await;
    one.release(&world::key("m", 1)).await;
    within("it looks", waits).await.unwrap().unwrap();
}
