//! What cannot be used is refused, with what to do about it.

use leasehold_core::ErrorKind;
use leasehold_testkit::postgres::Postgres as Server;

use crate::world::*;

/// The error without what differs from run to run.
fn plain(server: &Server, said: &str) -> String {
    said.replace(&server.port().to_string(), "PORT")
}

#[tokio::test]
async fn a_table_of_another_shape_is_named_column_by_column_and_left_alone() {
    let server = Server::start().unwrap();
    let table = "CREATE TABLE distributed_locks (lock_name char(10), owner_id varchar(20), expires_at timestamp, \
                 region text NOT NULL)";
    server.sql(table).unwrap();
    insta::assert_snapshot!(plain(&server, &refused(&server.url()).await));
    assert_eq!(server.sql("SELECT count(*) FROM pg_class WHERE relname LIKE 'leasehold%'").unwrap(), "0");
    // The common recipe's own is fine, and keeps its limits.
    let table = "DROP TABLE distributed_locks; CREATE TABLE distributed_locks (lock_name varchar(10) PRIMARY KEY, \
                 owner_id varchar(255) NOT NULL, expires_at timestamptz NOT NULL, created_at timestamptz DEFAULT now())";
    server.sql(table).unwrap();
    let engine = open(&server.url()).await;
    token(&engine.join_one(claim("ten chars!", 1)).await);
    let error = engine.try_join(claim("eleven char", 2)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    insta::assert_snapshot!(error.to_string());
}

#[tokio::test]
async fn tables_of_a_later_release_are_refused() {
    let server = Server::start().unwrap();
    drop(open(&server.url()).await);
    server.sql("UPDATE leasehold_schema SET version = 99").unwrap();
    insta::assert_snapshot!(plain(&server, &refused(&server.url()).await));
}

#[tokio::test]
async fn a_standby_is_refused_and_the_primary_is_found_beside_it() {
    let primary = Server::start().unwrap();
    let standby = Server::builder().start_standby_of(&primary).unwrap();
    insta::assert_snapshot!(plain(&standby, &refused(&standby.url()).await));
    let both = primary.url().replace('@', &format!("@{},", standby.addr()));
    token(&open(&both).await.join_one(claim("m", 1)).await);
}

#[tokio::test]
async fn a_server_that_becomes_read_only_is_said_to_be_and_comes_back() {
    let server = Server::start().unwrap();
    let engine = open(&server.url()).await;
    token(&engine.join_one(claim("m", 1)).await);
    server.sql("ALTER SYSTEM SET default_transaction_read_only = on").unwrap();
    server.sql("SELECT pg_reload_conf()").unwrap();
    let error = within("it is noticed", async {
        let mut id = 100;
        loop {
            id += 1;
            if let Err(error) = engine.try_join(claim(&format!("n{id}"), id)).await {
                return error;
            }
        }
    })
    .await;
    insta::assert_snapshot!(plain(&server, &error.to_string()));
    server
        .sql("SET default_transaction_read_only = off; ALTER SYSTEM RESET default_transaction_read_only")
        .unwrap_err();
    server.sql("SET default_transaction_read_only = off; SELECT 1").unwrap();
    std::fs::write(server.folder().join("data/postgresql.auto.conf"), "").unwrap();
    server.sql("SELECT pg_reload_conf()").unwrap();
    let standing = ask(async || engine.try_join(claim("o", 1)).await).await;
    token(&standing);
}

#[tokio::test]
async fn a_limit_of_connections_is_named_and_one_connection_does() {
    let options =
        [("max_connections", "4"), ("superuser_reserved_connections", "0"), ("max_wal_senders", "0")];
    let builder = options.iter().fold(Server::builder(), |b, (name, value)| b.option(name, value));
    let server = builder.start().unwrap();
    let (one, two) = (open(&server.url()).await, open(&server.url()).await);
    insta::assert_snapshot!(plain(&server, &refused(&server.url()).await));
    drop(one);
    let first = ask(async || try_open(&server.url()).await).await;
    token(&first.join_one(claim("m", 1)).await);
    drop(two);
}

#[tokio::test]
async fn settings_of_the_database_do_no_harm() {
    let server = Server::start().unwrap();
    server
        .sql(
            "ALTER ROLE leasehold SET default_transaction_isolation = 'serializable'; \
             ALTER ROLE leasehold SET statement_timeout = '1ms'; ALTER ROLE leasehold SET TimeZone = 'Asia/Kolkata'; \
             ALTER ROLE leasehold SET synchronous_commit = 'off'; ALTER ROLE leasehold SET DateStyle = 'German'",
        )
        .ok();
    let engine = open(&server.url()).await;
    token(&engine.join_one(claim("m", 1)).await);
    ahead(&engine.join_one(claim("m", 2)).await);
    engine.release(&key("m", 1)).await;
    token(&engine.look(&key("m", 2)).await);
}

#[tokio::test]
async fn what_the_database_cannot_keep_fails_alone() {
    use leasehold_core::Engine;
    let server = Server::start().unwrap();
    let engine = open(&server.url()).await;
    let mut bad = claim("bad", 2);
    bad.meta.payload = Some("a\0b".into());
    let answers = engine.join(&[claim("a", 1), bad, claim("c", 3)]).await;
    token(answers[0].as_ref().unwrap());
    token(answers[2].as_ref().unwrap());
    let error = answers[1].as_ref().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    insta::assert_snapshot!(plain(&server, &error.to_string()));
}

#[tokio::test]
async fn nobody_there_is_said() {
    let server = Server::start().unwrap();
    server.stop().unwrap();
    insta::assert_snapshot!(plain(&server, &refused(&server.url()).await));
}
