//! The engine over a store in memory.

mod fake;

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::*;
use crate::claim::{CAPACITY_MAX, ClaimId, Manner, Meta};
use crate::client::Client;
use crate::engine::{Hint, Refusal};
use crate::lock::Guard;
use crate::name::Name;
use fake::Fake;
use futures_util::{FutureExt, StreamExt};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(3600);

fn engine(fake: &Fake) -> Ordered<Fake> {
    Ordered::new(fake.connect(), Env::system())
}

fn claim(name: &str, nth: u128, ttl: Duration) -> Claim {
    Claim {
        name: Name::new(name).unwrap(),
        id: ClaimId(nth),
        capacity: 1,
        weight: 1,
        ttl,
        at_least: Duration::ZERO,
        raise: None,
        meta: Meta::default(),
    }
}

async fn join(engine: &Ordered<Fake>, claim: &Claim) -> Standing {
    engine.join(std::slice::from_ref(claim)).await.pop().unwrap().unwrap()
}

async fn refresh(engine: &Ordered<Fake>, claim: &Claim) -> Standing {
    let ask = Refresh { claim: claim.key(), ttl: claim.ttl, raise: None };
    engine.refresh(&[ask]).await.pop().unwrap().unwrap()
}

async fn end(engine: &Ordered<Fake>, claim: &Claim, manner: Manner) {
    engine.leave(&[Leave { claim: claim.key(), manner }]).await.pop().unwrap().unwrap();
}

fn is_held(standing: &Standing) -> bool {
    matches!(standing, Standing::Held { .. })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_of_one_client_and_clients_take_turns() {
    let fake = Fake::new(&Env::system());
    let (inside, last) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU64::new(0)));
    let clients = [(); 3].map(|()| Client::new(engine(&fake)).unwrap());
    let tasks: Vec<_> = (0..30)
        .map(|nth: usize| {
            let (client, inside, last) = (clients[nth % 3].clone(), inside.clone(), last.clone());
            tokio::spawn(async move {
                for _ in 0..10 {
                    let guard = client.mutex("m").unwrap().lock().await.unwrap();
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                    assert!(last.swap(guard.token().get(), Ordering::SeqCst) < guard.token().get());
                    tokio::task::yield_now().await;
                    inside.fetch_sub(1, Ordering::SeqCst);
                    guard.release().await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(fake.contenders(), 0);
    assert_eq!(fake.world.opens.load(Ordering::Relaxed), 3, "one session a client");
}

#[tokio::test]
async fn a_lost_session_is_one_event_for_all_its_claims() {
    let fake = Fake::new(&Env::system());
    let client = Client::builder(engine(&fake)).ttl(LONG).spawn().unwrap();
    let mut guards: Vec<Guard> = Vec::new();
    for nth in 0..50 {
        guards.push(client.mutex(&format!("m{nth}")).unwrap().lock().await.unwrap());
    }
    fake.kill_sessions();
    // By its own clock each of them would be renewed in twenty minutes.
    for guard in &guards {
        guard.lost().await;
    }
    assert!(client.mutex("m0").unwrap().lock().await.unwrap().is_valid(), "under a new session");
}

#[tokio::test]
async fn claims_of_one_session_die_one_by_one() {
    let fake = Fake::new(&Env::system());
    let engine = engine(&fake);
    let ttl = Duration::from_millis(300);
    let (dies, lives) = (claim("a", 1, ttl), claim("b", 2, ttl));
    assert!(is_held(&join(&engine, &dies).await) && is_held(&join(&engine, &lives).await));
    while fake.contenders() == 2 {
        assert!(is_held(&refresh(&engine, &lives).await));
        tokio::task::yield_now().await;
    }
    assert_eq!(refresh(&engine, &dies).await, Standing::Gone);
    assert!(is_held(&refresh(&engine, &lives).await));
}

#[tokio::test]
async fn what_is_entered_late_is_found_and_removed() {
    let fake = Fake::new(&Env::system());
    let engine = engine(&fake);
    let ttl = Duration::from_millis(200);
    let (kept, late) = (claim("m", 1, ttl), claim("late", 2, LONG));
    join(&engine, &kept).await;
    // A request of long ago, of which nobody knows any more.
    fake.enter(&fake.a_session(), &late).await.unwrap();
    while fake.contenders() == 2 {
        refresh(&engine, &kept).await;
        tokio::task::yield_now().await;
    }
    assert!(is_held(&refresh(&engine, &kept).await));
}

#[tokio::test]
async fn a_claim_that_is_left_while_it_enters_does_not_stay() {
    let fake = Fake::new(&Env::system());
    let engine = engine(&fake);
    let gate = Arc::new(Notify::new());
    *fake.world.gate.lock().unwrap() = Some(Arc::clone(&gate));
    let claim = claim("m", 1, LONG);
    let joining = tokio::spawn(engine.join(std::slice::from_ref(&claim)));
    fake.world.at_gate.notified().await;
    end(&engine, &claim, Manner::Release).await;
    gate.notify_one();
    assert_eq!(joining.await.unwrap().pop().unwrap().unwrap(), Standing::Gone);
    fake.until(|fake| fake.contenders() == 0).await;
}

#[tokio::test]
async fn a_lost_answer_is_cured_by_asking_again() {
    let fake = Fake::new(&Env::system());
    let engine = engine(&fake);
    let claim = claim("m", 1, LONG);
    fake.world.lose_answers.store(1, Ordering::Relaxed);
    let error = engine.join(std::slice::from_ref(&claim)).await.pop().unwrap().unwrap_err();
    assert_eq!(error.outcome(), crate::error::Outcome::Unknown);
    assert!(is_held(&refresh(&engine, &claim).await), "a refresh finds it, too");
    assert!(is_held(&join(&engine, &claim).await));
    assert_eq!(fake.contenders(), 1);
}

#[tokio::test]
async fn heartbeats_do_not_depend_on_the_number_of_holds() {
    let fake = Fake::new(&Env::system());
    let engine = engine(&fake);
    let claims: Vec<_> = (0..1000).map(|nth| claim(&format!("m{nth}"), nth, LONG)).collect();
    for standing in engine.join(&claims).await {
        assert!(is_held(&standing.unwrap()));
    }
    let asks: Vec<_> = claims.iter().map(|c| Refresh { claim: c.key(), ttl: c.ttl, raise: None }).collect();
    for standing in engine.refresh(&asks).await {
        assert!(is_held(&standing.unwrap()));
    }
    assert_eq!(fake.world.beats.load(Ordering::Relaxed), 0, "it has just been opened");
    assert_eq!(fake.world.looks.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn one_release_wakes_one_of_two_hundred_waiters() {
    let fake = Fake::new(&Env::system());
    let engine = engine(&fake);
    let claims: Vec<_> = (0..201).map(|nth| claim("m", nth, LONG)).collect();
    for claim in &claims {
        join(&engine, claim).await;
    }
    let mut hints: Vec<_> = claims[1..].iter().map(|c| engine.watch(&c.key())).collect();
    for waiter in &mut hints {
        assert_eq!(waiter.next().now_or_never(), None);
    }
    let looks = fake.world.looks.load(Ordering::Relaxed);
    end(&engine, &claims[0], Manner::Release).await;
    assert!(matches!(hints[0].next().await, Some(Hint::Held(_))));
    for waiter in &mut hints[1..] {
        assert_eq!(waiter.next().now_or_never(), None);
    }
    assert_eq!(fake.world.looks.load(Ordering::Relaxed) - looks, 1);
}

#[tokio::test]
async fn an_operator_elsewhere_evicts_and_revokes() {
    let fake = Fake::new(&Env::system());
    let (engine, operator) = (engine(&fake), engine(&fake));
    let client = Client::builder(engine.clone()).ttl(Duration::from_secs(2)).spawn().unwrap();
    for manner in [Manner::Evict, Manner::Revoke] {
        let guard = client.mutex("m").unwrap().lock().await.unwrap();
        let page =
            operator.inspect(Query { prefix: "m".into(), limit: 1, ..Query::default() }).await.unwrap();
        let name = page.queues[0].name.clone();
        let id = page.queues[0].claims[0].id;
        operator.leave(&[Leave { claim: ClaimRef { name, id }, manner }]).await.pop().unwrap().unwrap();
        guard.lost().await;
        // The revoked one is in the way until nobody can believe in it.
        let next = client.mutex("m").unwrap().lock().await.unwrap();
        assert!(!guard.is_valid() && next.token() > guard.token());
    }
}

#[tokio::test]
async fn a_refused_claim_leaves_nothing_behind() {
    let fake = Fake::new(&Env::system());
    let engine = engine(&fake);
    join(&engine, &claim("m", 1, LONG)).await;
    let writer = Claim { capacity: CAPACITY_MAX, weight: CAPACITY_MAX, ..claim("m", 2, LONG) };
    assert_eq!(join(&engine, &writer).await, Standing::Refused(Refusal::Capacity { current: 1 }));
    fake.until(|fake| fake.contenders() == 1).await;
}

#[tokio::test]
async fn nothing_is_left_of_an_engine_that_is_dropped() {
    let fake = Fake::new(&Env::system());
    let engine = engine(&fake);
    join(&engine, &claim("m", 1, LONG)).await;
    drop(engine);
    fake.until(|fake| fake.contenders() == 0).await;
}
