//! What cannot be used is refused, with what to do about it.

use leasehold_core::{Engine, ErrorKind, Standing};
use leasehold_testkit::postgres::{Pooler, Postgres as Server};

use crate::world::{claim, key, share, token};
use crate::*;

async fn refused(server: &Server, url: &str) -> String {
    let error = try_open(&of(url)).await.expect_err("it is refused");
    error.to_string().replace(&server.port().to_string(), "PORT")
}

#[tokio::test]
async fn a_pooler_by_transactions_is_refused() {
    let server = Server::start().unwrap();
    let pooler = Pooler::before(&server).unwrap();
    let said = refused(&server, &pooler.url()).await;
    insta::assert_snapshot!(said.replace(&pooler.port().to_string(), "PORT"));
}

#[tokio::test]
async fn wrong_passwords_and_standbys_are_refused() {
    let server = Server::builder().access("host all guest all scram-sha-256").start().unwrap();
    server.sql("CREATE ROLE guest LOGIN PASSWORD 'sesame'").unwrap();
    insta::assert_snapshot!("password", refused(&server, &server.url_of("guest:wrong")).await);
    let primary = Server::start().unwrap();
    let standby = Server::builder().start_standby_of(&primary).unwrap();
    insta::assert_snapshot!("standby", refused(&standby, &standby.url()).await);
}

#[tokio::test]
async fn a_limit_of_connections_is_named() {
    let options =
        [("max_connections", "4"), ("superuser_reserved_connections", "0"), ("max_wal_senders", "0")];
    let builder = options.iter().fold(Server::builder(), |b, (name, value)| b.option(name, value));
    let server = builder.start().unwrap();
    let (one, two) = (open(&url(&server)).await, open(&url(&server)).await);
    let said = refused(&server, &server.url()).await;
    assert!(said.contains("the database takes no more connections"), "{said}");
    // None is left to wait with: those who wait look.
    token(&one.join_one(claim("m", 1)).await);
    let (mutex, waiting) = (key("m", 2), claim("m", 2));
    crate::world::ahead(&two.join_one(waiting).await);
    let hints = two.watch(&mutex);
    one.release(&key("m", 1)).await;
    crate::world::within("it looks", async {
        while !matches!(two.look(&mutex).await, Standing::Held { .. }) {}
    })
    .await;
    drop(hints);
}

#[tokio::test]
async fn semaphores_are_refused() {
    let server = Server::start().unwrap();
    let engine = open(&url(&server)).await;
    let error = engine.try_join(share("s", 1, (1, 3))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    insta::assert_snapshot!(error.to_string());
}

#[tokio::test]
async fn settings_of_the_database_and_a_strange_table_do_no_harm() {
    let server = Server::start().unwrap();
    server.sql("CREATE TABLE distributed_locks (id int)").unwrap();
    for set in ["statement_timeout = '1s'", "idle_session_timeout = '1s'", "lock_timeout = '1s'"] {
        server.sql(&format!("ALTER ROLE leasehold SET {set}")).unwrap();
    }
    let engine = open(&url(&server)).await;
    token(&engine.join_one(claim("m", 1)).await);
    engine.release(&key("m", 1)).await;
}
