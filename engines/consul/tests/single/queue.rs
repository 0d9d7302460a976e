//! Hand-overs within a client and between clients.

use leasehold_core::Hint;
use leasehold_testkit::consul::Consul as Server;

use crate::world::*;

#[tokio::test]
async fn a_release_tells_the_next_one_of_another_client() {
    let server = Server::start().unwrap();
    let (one, other) = (open(&server.url()).await, open(&server.url()).await);
    let (holder, next) = (claim("m", 1), claim("m", 2));
    let first = token(&one.join_one(&holder).await);
    assert_eq!(ahead(&other.join_one(&next).await), 1);
    let hint = other.hint(&next);
    one.release(&holder).await;
    let Hint::Held(second) = hint.await else { panic!("it is only told to look") };
    assert!(second > first);
    assert_eq!(token(&other.look(&next).await), second);
}

#[tokio::test]
async fn a_join_that_comes_many_times_at_once_is_one_place_in_the_line() {
    let server = Server::start().unwrap();
    let (one, other) = (open(&server.url()).await, open(&server.url()).await);
    let (writer, reader) = (share("m", 1, (9, 9)), share("m", 2, (1, 9)));
    token(&one.join_one(&writer).await);
    let joins = (0..32).map(|_| other.join_one(&reader));
    for standing in futures_util::future::join_all(joins).await {
        assert_eq!(ahead(&standing), 1);
    }
    assert_eq!(server.keys("m/.leasehold/").unwrap().len(), 1);
    one.release(&writer).await;
    let given = within("it is held", other.hint(&reader)).await;
    assert!(matches!(given, Hint::Held(_)));
    other.release(&reader).await;
    let next = share("m", 3, (9, 9));
    token(&within("nobody is left", one.join_one(&next)).await);
}
