//! Behind a pooler that hands out the database by transactions.

use leasehold_core::Engine;
use leasehold_core::engine::Wakeups;
use leasehold_testkit::postgres::{Pooler, Postgres as Server};

use crate::world::*;

#[tokio::test]
async fn a_pooler_by_transactions_is_noticed_and_those_who_wait_look() {
    let server = Server::start().unwrap();
    let pooler = Pooler::before(&server).unwrap();
    let engine = open(&pooler.url()).await;
    assert_eq!(engine.info().wakeups, Wakeups::Poll);
    insta::assert_snapshot!(engine.info().warnings.join("\n"));
    let (one, two) = (client(&pooler.url(), 30 * SECOND).await, client(&pooler.url(), 30 * SECOND).await);
    let guard = one.mutex("m").unwrap().lock().await.unwrap();
    let mutex = two.mutex("m").unwrap();
    let waits = tokio::spawn(async move { mutex.lock().await });
    while server.sql("SELECT count(*) FROM leasehold_claim").unwrap() != "2" {
        tokio::task::yield_now().await;
    }
    guard.release().await.unwrap();
    within("it looks", waits).await.unwrap().unwrap().release().await.unwrap();
}

#[tokio::test]
async fn a_pooler_with_another_isolation_is_refused() {
    let server = Server::start().unwrap();
    server.sql("ALTER ROLE leasehold SET default_transaction_isolation = 'serializable'").unwrap();
    let pooler = Pooler::before(&server).unwrap();
    let engine = open(&pooler.url()).await;
    let error = engine.try_join(claim("m", 1)).await.unwrap_err();
    insta::assert_snapshot!(error.to_string().replace(&pooler.port().to_string(), "PORT"));
}
