use std::sync::Mutex;

use futures_util::FutureExt;
use leasehold_core::claim::{ClaimId, Manner, Meta};
use leasehold_core::engine::{Alarms, Hint};
use leasehold_core::{Memory, Name};

use super::*;
use crate::plan::Dice;

fn claim(id: u128) -> Claim {
    Claim {
        name: Name::new("m").unwrap(),
        id: ClaimId(id),
        capacity: 1,
        weight: 1,
        ttl: Duration::from_secs(30),
        at_least: Duration::ZERO,
        raise: None,
        meta: Meta::default(),
    }
}

/// An engine that counts the joins that reach it.
#[derive(Debug)]
struct Counting {
    inner: Memory,
    joins: Mutex<u32>,
}

impl Engine for Counting {
    fn info(&self) -> &EngineInfo {
        self.inner.info()
    }
    fn join(&self, claims: &[Claim]) -> Reply<Standing> {
        *self.joins.lock().unwrap() += 1;
        self.inner.join(claims)
    }
    fn refresh(&self, claims: &[Refresh]) -> Reply<Standing> {
        self.inner.refresh(claims)
    }
    fn leave(&self, claims: &[Leave]) -> Reply<()> {
        self.inner.leave(claims)
    }
    fn watch(&self, claim: &ClaimRef) -> Hints {
        self.inner.watch(claim)
    }
    fn inspect(&self, query: Query) -> Pin<Box<dyn Future<Output = Result<Page>> + Send>> {
        self.inner.inspect(query)
    }
    fn alarms(&self) -> Alarms {
        self.inner.alarms()
    }

    fn lifeline(&self) -> Option<BorrowedFd<'_>> {
        self.inner.lifeline()
    }
}

fn layered(plan: Plan) -> (Chaos, Arc<Counting>) {
    let inner = Arc::new(Counting { inner: Memory::new(Env::system()), joins: Mutex::new(0) });
    (Chaos::new(inner.clone(), Env::system(), plan), inner)
}

#[tokio::test]
async fn a_lost_request_has_no_effect_and_a_lost_reply_has_one() {
    for (plan, reached) in
        [(Plan { request_lost: 1000, ..Plan::calm(1) }, 0), (Plan { reply_lost: 1000, ..Plan::calm(1) }, 1)]
    {
        let (chaos, inner) = layered(plan);
        let error = chaos.join(&[claim(1)]).await.pop().unwrap().unwrap_err();
        assert_eq!((error.kind(), error.outcome()), (ErrorKind::Unavailable, Outcome::Unknown));
        assert_eq!(*inner.joins.lock().unwrap(), reached);
        let page = inner.inspect(Query { limit: 9, ..Query::default() }).await.unwrap();
        assert_eq!(page.queues.len(), reached as usize);
    }
}

#[tokio::test]
async fn a_doubled_request_arrives_twice() {
    for (plan, copies) in [
        (Plan { doubled: 1000, ..Plan::calm(1) }, 2),
        (Plan { doubled_late: 1000, ..Plan::calm(1) }, 2),
        (Plan { doubled: 1000, doubled_late: 1000, ..Plan::calm(1) }, 3),
    ] {
        let (chaos, inner) = layered(plan);
        let standing = chaos.join(&[claim(1)]).await.pop().unwrap().unwrap();
        assert!(matches!(standing, Standing::Held { .. }));
        while *inner.joins.lock().unwrap() < copies {
            tokio::task::yield_now().await;
        }
        let page = inner.inspect(Query { limit: 9, ..Query::default() }).await.unwrap();
        assert_eq!(page.queues[0].claims.len(), 1);
    }
}

#[tokio::test]
async fn a_reply_that_nobody_waits_for_does_not_stop_the_request() {
    let (chaos, inner) = layered(Plan { delayed: 1000, ..Plan::calm(1) });
    drop(chaos.join(&[claim(1)]));
    while *inner.joins.lock().unwrap() < 1 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn hints_are_lost_and_doubled() {
    for (plan, copies) in [
        (Plan { hint_lost: 1000, ..Plan::calm(1) }, 0),
        (Plan::calm(1), 1),
        (Plan { hint_doubled: 1000, ..Plan::calm(1) }, 2),
    ] {
        let (chaos, inner) = layered(plan);
        for id in [1, 2] {
            inner.join(&[claim(id)]).await.pop().unwrap().unwrap();
        }
        let mut hints = chaos.watch(&claim(2).key());
        inner.leave(&[Leave { claim: claim(1).key(), manner: Manner::Release }]).await;
        for _ in 0..copies {
            assert!(matches!(hints.next().now_or_never(), Some(Some(Hint::Held(_)))));
        }
        assert_eq!(hints.next().now_or_never(), None);
        assert_eq!(chaos.info().wakeups == Wakeups::Poll, copies == 0);
    }
}

#[test]
fn the_same_seed_deals_the_same_fates() {
    let deal = |seed| {
        let dice = Dice::new(Plan::seeded(seed));
        (0..200).map(|_| format!("{:?} {:?}", dice.fate(), dice.hint())).collect::<Vec<_>>()
    };
    assert_eq!(deal(3), deal(3));
    assert_ne!(deal(3), deal(4));
}
