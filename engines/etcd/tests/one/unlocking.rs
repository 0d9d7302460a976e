//! Locks that are ended by others: their holders hear of it at once.

use leasehold_core::Manner;
use leasehold_core::claim::ClaimRef;
use leasehold_core::{ErrorKind, Guard};
use leasehold_testkit::etcd::{Bare, Etcd as Node};

use crate::world::*;

fn claim_of(guard: &Guard) -> ClaimRef {
    ClaimRef { name: guard.name().clone(), id: guard.id() }
}

#[tokio::test]
async fn an_evicted_holder_hears_of_it_and_the_next_one_holds() {
    let node = Node::start().unwrap();
    let (holder, operator) = (client(&node.url(), LONG).await, client(&node.url(), LONG).await);
    let guard = holder.mutex("r").unwrap().lock().await.unwrap();
    let other = holder.mutex("other").unwrap().lock().await.unwrap();
    let waiting = tokio::spawn({
        let mutex = operator.mutex("r").unwrap();
        async move { mutex.lock().await.unwrap() }
    });
    until("one waits", async || standing(&**operator.engine(), "r").await == 2).await;
    operator.unlock(claim_of(&guard), Manner::Evict).await.unwrap();
    let next = within("the next one holds", waiting).await.unwrap();
    assert!(next.token() > guard.token());
    within("the evicted one hears of it", guard.lost()).await;
    assert!(other.is_valid());
    drop((next, guard, other));
    holder.shutdown(BOUND).await.unwrap();
    drop(holder);
    operator.shutdown(BOUND).await.unwrap();
    drop(operator);
    until("nothing is left", async || node.keys("").unwrap().is_empty()).await;
}

#[tokio::test]
async fn a_revoked_holder_is_not_renewed_and_keeps_its_place_until_then() {
    let node = Node::start().unwrap();
    let (holder, operator) = (client(&node.url(), 3 * SECOND).await, client(&node.url(), 3 * SECOND).await);
    let guard = holder.mutex("r").unwrap().lock().await.unwrap();
    operator.unlock(claim_of(&guard), Manner::Revoke).await.unwrap();
    let query = leasehold_core::Query::exactly(guard.name());
    let page = operator.inspect(query).await.unwrap();
    assert!(page.queues[0].claims[0].revoked);
    let next = within("the next one holds", operator.mutex("r").unwrap().lock()).await.unwrap();
    assert!(!guard.is_valid(), "two hold");
    assert!(next.token() > guard.token());
    within("the revoked one hears of it", guard.lost()).await;
}

#[tokio::test]
async fn a_lease_that_an_operator_ends_is_one_loss_for_all_its_claims() {
    let node = Node::start().unwrap();
    let client = client(&node.url(), LONG).await;
    let mut guards = Vec::new();
    for name in ["a", "b", "c"] {
        guards.push(client.mutex(name).unwrap().lock().await.unwrap());
    }
    let keys = node.keys("lock/%session/").unwrap();
    let lease = keys[0].rsplit('/').next().unwrap();
    node.ctl(["lease", "revoke", lease]).unwrap();
    for guard in &guards {
        within("it is lost", guard.lost()).await;
    }
    // The next lock is under a new session.
    drop(client.mutex("a").unwrap().lock().await.unwrap());
}

#[tokio::test]
async fn another_programs_lock_can_only_be_ended_by_force() {
    let node = Node::start().unwrap();
    let operator = client(&node.url(), 30 * SECOND).await;
    let bare = Bare::connect(&node.addr().to_string()).await.unwrap();
    let lease = bare.grant(600).await.unwrap();
    bare.lock("lock/r", lease).await.unwrap();
    assert!(operator.mutex("r").unwrap().try_lock().await.unwrap().is_none());
    let page = operator.inspect(leasehold_core::Query { limit: 1, ..Default::default() }).await.unwrap();
    let claim = ClaimRef { name: page.queues[0].name.clone(), id: page.queues[0].claims[0].id };
    let error = operator.unlock(claim, Manner::Evict).await;
    assert!(error.is_ok() || error.unwrap_err().kind() == ErrorKind::Denied);
    assert_eq!(lock_keys(&node), [format!("lock/r/{lease:x}")], "it is not ours to end");
}
