use std::time::Duration;

use super::*;
use crate::claim::{ClaimId, ClaimRef, Manner, Meta};
use crate::engine::Refusal;

const TTL: Duration = Duration::from_secs(30);

fn at(seconds: u64) -> Moment {
    Moment::BOOT + Duration::from_secs(seconds)
}

fn claim(id: u128, weight: u32, capacity: u32) -> Claim {
    Claim {
        name: Name::new("r").unwrap(),
        id: ClaimId(id),
        capacity,
        weight,
        ttl: TTL,
        at_least: Duration::ZERO,
        raise: None,
        meta: Meta::default(),
    }
}

fn key(id: u128) -> ClaimRef {
    claim(id, 1, 1).key()
}

fn refresh(ledger: &mut Ledger, now: Moment, id: u128) -> Standing {
    ledger.refresh(now, &Refresh { claim: key(id), ttl: TTL, raise: None })
}

fn leave(ledger: &mut Ledger, now: Moment, id: u128, manner: Manner) {
    ledger.leave(now, &Leave { claim: key(id), manner });
}

fn token(standing: &Standing) -> u64 {
    match standing {
        Standing::Held { token, .. } => token.get(),
        other => panic!("not held: {other:?}"),
    }
}

fn ahead(standing: &Standing) -> u32 {
    match standing {
        Standing::Queued { ahead, .. } => *ahead,
        other => panic!("not queued: {other:?}"),
    }
}

#[test]
fn a_mutex_is_handed_over_in_order_with_rising_tokens() {
    let mut l = Ledger::new(100);
    assert_eq!(token(&l.join(at(0), &claim(1, 1, 1))), 101);
    assert_eq!(ahead(&l.join(at(0), &claim(2, 1, 1))), 1);
    assert_eq!(ahead(&l.join(at(0), &claim(3, 1, 1))), 2);
    leave(&mut l, at(1), 1, Manner::Release);
    let told: Vec<_> = l.hand_overs().map(|h| (h.id.0, h.token.get())).collect();
    assert_eq!(told, [(2, 102)]);
    assert_eq!(token(&refresh(&mut l, at(1), 2)), 102);
    assert_eq!(ahead(&refresh(&mut l, at(1), 3)), 1);
}

#[test]
fn joining_again_renews_and_keeps_the_token() {
    let mut l = Ledger::new(0);
    let first = token(&l.join(at(0), &claim(1, 1, 1)));
    assert_eq!(token(&l.join(at(20), &claim(1, 1, 1))), first);
    assert_eq!(token(&refresh(&mut l, at(49), 1)), first);
    assert_eq!(l.inspect(at(49), &Query { limit: 9, ..Query::default() }).queues[0].claims.len(), 1);
}

#[test]
fn the_dead_stay_dead() {
    let mut l = Ledger::new(0);
    l.join(at(0), &claim(1, 1, 1));
    assert_eq!(refresh(&mut l, at(30), 1), Standing::Gone);
    assert_eq!(refresh(&mut l, at(31), 1), Standing::Gone);
    l.join(at(31), &claim(2, 1, 1));
    // Its record still stands when it is asked for again: the answer is the same.
    assert_eq!(l.join(at(61), &claim(2, 1, 1)), Standing::Gone);
}

#[test]
fn a_waiter_lives_five_seconds_and_looks_when_the_holder_can_die() {
    let mut l = Ledger::new(0);
    l.join(at(0), &claim(1, 1, 1));
    let standing = l.join(at(10), &claim(2, 1, 1));
    let Standing::Queued { ttl, look_again, .. } = standing else { panic!("{standing:?}") };
    assert_eq!((ttl, look_again), (Duration::from_secs(5), Duration::from_secs(20)));
    assert_eq!(refresh(&mut l, at(15), 2), Standing::Gone);
}

#[test]
fn readers_share_and_a_waiting_writer_stops_later_readers() {
    const RW: u32 = crate::claim::CAPACITY_MAX;
    let mut l = Ledger::new(0);
    token(&l.join(at(0), &claim(1, 1, RW)));
    token(&l.join(at(0), &claim(2, 1, RW)));
    assert_eq!(ahead(&l.join(at(0), &claim(3, RW, RW))), 2);
    assert_eq!(ahead(&l.join(at(0), &claim(4, 1, RW))), 3);
    leave(&mut l, at(1), 1, Manner::Release);
    leave(&mut l, at(1), 2, Manner::Release);
    let writer = token(&refresh(&mut l, at(1), 3));
    assert_eq!(ahead(&refresh(&mut l, at(1), 4)), 1);
    leave(&mut l, at(2), 3, Manner::Release);
    assert!(token(&refresh(&mut l, at(2), 4)) > writer);
}

#[test]
fn a_waiter_that_gives_up_lets_those_behind_it_fit() {
    let mut l = Ledger::new(0);
    token(&l.join(at(0), &claim(1, 1, 3)));
    ahead(&l.join(at(0), &claim(2, 3, 3)));
    ahead(&l.join(at(0), &claim(3, 2, 3)));
    leave(&mut l, at(1), 2, Manner::Release);
    assert_eq!(l.hand_overs().map(|h| h.id.0).collect::<Vec<_>>(), [3]);
}

#[test]
fn at_least_outlives_a_release_but_not_an_eviction() {
    let mut l = Ledger::new(0);
    let mut first = claim(1, 1, 1);
    first.at_least = Duration::from_secs(10);
    l.join(at(0), &first);
    ahead(&l.join(at(0), &claim(2, 1, 1)));
    leave(&mut l, at(2), 1, Manner::Release);
    let standing = refresh(&mut l, at(4), 2);
    let Standing::Queued { look_again, .. } = standing else { panic!("{standing:?}") };
    assert_eq!(look_again, Duration::from_secs(6));
    assert_eq!(refresh(&mut l, at(4), 1), Standing::Gone, "released is released");
    refresh(&mut l, at(8), 2);
    leave(&mut l, at(9), 1, Manner::Evict);
    token(&refresh(&mut l, at(9), 2));
}

#[test]
fn a_revoked_claim_is_not_renewed_and_keeps_others_out_until_its_ttl_ends() {
    let mut l = Ledger::new(0);
    l.join(at(0), &claim(1, 1, 1));
    leave(&mut l, at(1), 1, Manner::Revoke);
    assert_eq!(refresh(&mut l, at(2), 1), Standing::Gone);
    assert_eq!(l.join(at(2), &claim(1, 1, 1)), Standing::Gone);
    ahead(&l.join(at(28), &claim(2, 1, 1)));
    token(&refresh(&mut l, at(30), 2));
}

#[test]
fn a_revoked_waiter_leaves_at_once() {
    let mut l = Ledger::new(0);
    l.join(at(0), &claim(1, 1, 1));
    l.join(at(0), &claim(2, 1, 1));
    leave(&mut l, at(1), 2, Manner::Revoke);
    leave(&mut l, at(1), 1, Manner::Release);
    assert_eq!(refresh(&mut l, at(1), 2), Standing::Gone);
    assert!(l.queues.is_empty());
}

#[test]
fn another_capacity_is_refused_while_somebody_is_there() {
    let mut l = Ledger::new(0);
    l.join(at(0), &claim(1, 1, 5));
    assert_eq!(l.join(at(0), &claim(2, 1, 3)), Standing::Refused(Refusal::Capacity { current: 5 }));
    token(&l.join(at(30), &claim(3, 1, 3)));
}

#[test]
fn queues_of_the_dead_are_forgotten() {
    let mut l = Ledger::new(0);
    for i in 0..10_000u128 {
        let mut c = claim(i, 1, 1);
        c.name = Name::new(&format!("r{i}")).unwrap();
        l.join(at(u64::try_from(i).unwrap()), &c);
    }
    assert!(l.queues.len() <= SWEEP_QUEUES_MIN + 1, "{}", l.queues.len());
}

#[test]
fn pages_follow_the_order_of_names() {
    let mut l = Ledger::new(0);
    for (i, n) in ["b/1", "a", "b/2", "b/3", "c"].into_iter().enumerate() {
        let mut c = claim(i as u128, 1, 1);
        c.name = Name::new(n).unwrap();
        l.join(at(0), &c);
    }
    let first = l.inspect(at(1), &Query { prefix: "b/".into(), after: None, limit: 2 });
    assert_eq!(first.queues.iter().map(|q| q.name.as_str()).collect::<Vec<_>>(), ["b/1", "b/2"]);
    let second = l.inspect(at(1), &Query { prefix: "b/".into(), after: first.next, limit: 2 });
    assert_eq!(second.queues.iter().map(|q| q.name.as_str()).collect::<Vec<_>>(), ["b/3"]);
    assert_eq!(second.next, None);
}
