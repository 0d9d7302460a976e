//! What cannot be used is refused, with what to do about it.

use leasehold_core::{Engine, ErrorKind};
use leasehold_testkit::mariadb::MariaDb as Server;

use crate::world::*;

#[tokio::test]
async fn a_table_of_another_shape_is_named_column_by_column_and_left_alone() {
    let server = Server::start().unwrap();
    let table = "CREATE TABLE distributed_locks (lock_name varchar(100), owner_id varchar(20), expires_at datetime, \
                 region text NOT NULL) ENGINE = MyISAM";
    server.run(table).unwrap();
    insta::assert_snapshot!(fixed(&server, &refused(&server.url()).await));
    assert_eq!(server.run("SHOW TABLES").unwrap(), "distributed_locks");
    let rounded = "DROP TABLE distributed_locks; CREATE TABLE distributed_locks (lock_name varbinary(10) PRIMARY KEY, \
                   owner_id varchar(255) NOT NULL, created_at timestamp NOT NULL DEFAULT now(), \
                   expires_at timestamp NOT NULL DEFAULT now() ON UPDATE now())";
    server.run(rounded).unwrap();
    insta::assert_snapshot!(fixed(&server, &refused(&server.url()).await));
    // One whose columns fit is used, and keeps its limits.
    server
        .run("ALTER TABLE distributed_locks MODIFY expires_at timestamp(6) NOT NULL DEFAULT now(6)")
        .unwrap();
    let engine = open(&server.url()).await;
    token(&engine.join_one(claim("ten bytes!", 1)).await);
    let error = engine.try_join(claim("eleven byte", 2)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    insta::assert_snapshot!(error.to_string());
}

#[tokio::test]
async fn tables_of_a_later_release_are_refused() {
    let server = Server::start().unwrap();
    drop(open(&server.url()).await);
    server.run("UPDATE leasehold_schema SET version = 99").unwrap();
    insta::assert_snapshot!(fixed(&server, &refused(&server.url()).await));
}

#[tokio::test]
async fn tables_that_go_meanwhile_are_named() {
    let server = Server::start().unwrap();
    let engine = open(&server.url()).await;
    server.run("DROP TABLE leasehold_claim").unwrap();
    let error = engine.try_join(claim("m", 1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    insta::assert_snapshot!(fixed(&server, &error.to_string()));
    server.run("DROP TABLE distributed_locks").unwrap();
    insta::assert_snapshot!(fixed(&server, &refused(&server.url()).await));
}

#[tokio::test]
async fn a_server_that_becomes_read_only_is_said_to_be_and_comes_back() {
    let server = Server::start().unwrap();
    drop(open(&server.url()).await);
    server.run("CREATE USER guest; GRANT ALL ON leasehold.* TO guest").unwrap();
    let engine = open(&url_of(&server, "guest")).await;
    token(&engine.join_one(claim("m", 1)).await);
    server.run("SET GLOBAL read_only = 1").unwrap();
    let error = engine.try_join(claim("n", 2)).await.unwrap_err();
    assert!(error.is_transient());
    insta::assert_snapshot!(fixed(&server, &error.to_string()));
    insta::assert_snapshot!(fixed(&server, &refused(&server.url()).await));
    server.run("SET GLOBAL read_only = 0").unwrap();
    let standing = ask(async || engine.try_join(claim("o", 3)).await).await;
    token(&standing);
}

#[tokio::test]
async fn a_limit_of_connections_is_named_and_one_connection_does() {
    let server = Server::start().unwrap();
    drop(open(&server.url()).await);
    server
        .run("CREATE USER guest; GRANT ALL ON leasehold.* TO guest; ALTER USER guest WITH MAX_USER_CONNECTIONS 1")
        .unwrap();
    let locks = client(&url_of(&server, "guest"), 5 * SECOND).await;
    insta::assert_snapshot!(fixed(&server, &refused(&url_of(&server, "guest")).await));
    let guard = locks.mutex("m").unwrap().lock().await.unwrap();
    let mutex = locks.mutex("m").unwrap();
    let waits = tokio::spawn(async move { mutex.lock().await });
    guard.release().await.unwrap();
    within("the next one gets it", waits).await.unwrap().unwrap().release().await.unwrap();
}

#[tokio::test]
async fn settings_of_the_server_do_no_harm() {
    let server = Server::builder()
        .option("transaction-isolation", "SERIALIZABLE")
        .option("sql-mode", "ORACLE,NO_AUTO_VALUE_ON_ZERO,NO_BACKSLASH_ESCAPES")
        .option("default-time-zone", "+05:30")
        .option("explicit-defaults-for-timestamp", "0")
        .option("innodb-rollback-on-timeout", "1")
        .option("max-statement-time", "0.1")
        .option("character-set-server", "latin1")
        .option("auto-increment-increment", "7")
        .start()
        .unwrap();
    let engine = open(&server.url()).await;
    assert!(engine.info().warnings.iter().any(|w| w.contains("`auto_increment_increment`")));
    let first = token(&engine.join_one(claim("m", 1)).await);
    ahead(&engine.join_one(claim("m", 2)).await);
    engine.release(&key("m", 1)).await;
    assert!(token(&engine.look(&key("m", 2)).await) > first);
}

#[tokio::test]
async fn what_the_server_risks_is_said() {
    let server = Server::builder().durable().start().unwrap();
    assert_eq!(open(&server.url()).await.info().warnings, [""; 0]);
    server.run("SET GLOBAL innodb_flush_log_at_trx_commit = 0").unwrap();
    insta::assert_debug_snapshot!(open(&server.url()).await.info().warnings);
}

#[tokio::test]
async fn replication_by_statements_is_named() {
    let server =
        Server::builder().option("log-bin", "log-bin").option("binlog-format", "STATEMENT").start().unwrap();
    insta::assert_snapshot!(fixed(&server, &refused(&server.url()).await));
    server.run("SET GLOBAL binlog_format = 'MIXED'").unwrap();
    token(&open(&server.url()).await.join_one(claim("m", 1)).await);
}

#[tokio::test]
async fn what_the_database_cannot_keep_fails_alone() {
    let server = Server::start().unwrap();
    let engine = open(&server.url()).await;
    let mut bad = claim("bad", 2);
    bad.meta.owner = "x".repeat(70_000).into();
    let answers = engine.join(&[claim("a", 1), bad, claim("c", 3)]).await;
    token(answers[0].as_ref().unwrap());
    token(answers[2].as_ref().unwrap());
    let error = answers[1].as_ref().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    insta::assert_snapshot!(fixed(&server, &error.to_string()));
}

#[tokio::test]
async fn nobody_there_is_said() {
    let server = Server::start().unwrap();
    server.stop().unwrap();
    insta::assert_snapshot!(fixed(&server, &refused(&server.url()).await));
}
