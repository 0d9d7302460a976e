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
