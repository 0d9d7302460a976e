//! What `shutdown` waits for.

mod common;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use common::{Told, queue_lengths};
use futures_util::FutureExt;
use leasehold_core::{Client, Env, ErrorKind, Memory, Outcome};
use tokio::sync::Semaphore;

const LONG: Duration = Duration::from_secs(3600);

/// An engine that answers as often as it is allowed to, and a client of it.
fn slow() -> (Told, Arc<Semaphore>, Client) {
    let answers = Arc::new(Semaphore::new(0));
    let told = Told { answers: Some(Arc::clone(&answers)), ..Told::default() };
    let client = Client::new(told.clone()).unwrap();
    (told, answers, client)
}

#[tokio::test]
async fn shutdown_lets_go_of_everything() {
    let engine = Memory::new(Env::system());
    let (client, other) = (Client::new(engine.clone()).unwrap(), Client::new(engine).unwrap());
    let guard = client.mutex("held").unwrap().lock().await.unwrap();
    let waiting = tokio::spawn({
        let lock = other.mutex("held").unwrap();
        async move { lock.lock().await.unwrap() }
    });
    client.shutdown(Duration::from_secs(5)).await.unwrap();
    guard.lost().await;
    assert_eq!(client.mutex("x").unwrap().lock().await.unwrap_err().kind(), ErrorKind::Closed);
    let _theirs = waiting.await.unwrap();
}

#[tokio::test]
async fn shutdown_waits_for_a_join_in_flight_and_for_its_undoing() {
    let (engine, answers, client) = slow();
    let lock = client.mutex("m").unwrap();
    let mut locking = pin!(lock.lock());
    assert!(locking.as_mut().now_or_never().is_none());
    assert_eq!(queue_lengths(&engine).await, [1], "the engine has it and has not said so");
    let mut closing = pin!(client.shutdown(LONG));
    assert!(closing.as_mut().now_or_never().is_none());
    answers.add_permits(1);
    assert_eq!(locking.await.unwrap_err().kind(), ErrorKind::Closed);
    assert!(closing.as_mut().now_or_never().is_none(), "the release is not confirmed");
    answers.add_permits(1);
    closing.await.unwrap();
    assert!(queue_lengths(&engine).await.is_empty());
}

#[tokio::test]
async fn shutdown_waits_for_a_join_that_nobody_awaits_any_more() {
    let (engine, answers, client) = slow();
    let lock = client.mutex("m").unwrap();
    {
        let mut locking = pin!(lock.lock());
        assert!(locking.as_mut().now_or_never().is_none());
    }
    let mut closing = pin!(client.shutdown(LONG));
    assert!(closing.as_mut().now_or_never().is_none());
    answers.add_permits(2);
    closing.await.unwrap();
    assert!(queue_lengths(&engine).await.is_empty());
}

#[tokio::test]
async fn shutdown_waits_for_a_release_in_flight() {
    let (_engine, answers, client) = slow();
    answers.add_permits(1);
    let guard = client.mutex("m").unwrap().lock().await.unwrap();
    let mut releasing = pin!(guard.release());
    assert!(releasing.as_mut().now_or_never().is_none());
    let mut closing = pin!(client.shutdown(LONG));
    assert!(closing.as_mut().now_or_never().is_none());
    answers.add_permits(1);
    releasing.await.unwrap();
    closing.await.unwrap();
}

#[tokio::test]
async fn shutdown_says_what_was_not_confirmed_in_time() {
    let (_engine, _answers, client) = slow();
    let lock = client.mutex("m").unwrap();
    let mut locking = pin!(lock.lock());
    assert!(locking.as_mut().now_or_never().is_none());
    let error = client.shutdown(Duration::from_millis(20)).await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::Unavailable, Outcome::Unknown));
    insta::assert_snapshot!(error);
}
