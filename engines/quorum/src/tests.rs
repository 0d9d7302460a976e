use std::slice;
use std::sync::Mutex;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use leasehold_core::claim::{CAPACITY_MAX, Manner, Meta};
use leasehold_core::engine::{Alarms, Hint, Hints, Page, Query, Refusal, Standing};
use leasehold_core::*;

use super::*;
use crate::roll::id_of;

const TTL: Duration = Duration::from_secs(30);

/// What a node does with requests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mood {
    Well,
    /// It refuses connections.
    Down,
    /// Requests do not arrive, and no answer comes.
    CutOff,
    /// Requests arrive, and no answer comes.
    Mute,
}

/// A node that can be cut off.
#[derive(Debug)]
struct Part {
    memory: Mutex<Memory>,
    mood: Mutex<Mood>,
}

impl Part {
    fn memory(&self) -> Memory {
        self.memory.lock().unwrap().clone()
    }

    fn reply<T: Send + 'static>(&self, items: usize, call: impl FnOnce(Memory) -> Reply<T>) -> Reply<T> {
        match *self.mood.lock().unwrap() {
            Mood::Well => call(self.memory()),
            Mood::Down => {
                let down = || Err(Error::new(ErrorKind::Unavailable, "request", "connection refused"));
                Reply::ready((0..items).map(|_| down()).collect())
            }
            Mood::CutOff => Reply::later(std::future::pending()),
            Mood::Mute => {
                drop(call(self.memory()).now_or_never());
                Reply::later(std::future::pending())
            }
        }
    }
}

impl Engine for Part {
    fn info(&self) -> &EngineInfo {
        // That of a memory engine is the same for all.
        Box::leak(Box::new(self.memory().info().clone()))
    }
    fn join(&self, claims: &[Claim]) -> Reply<Standing> {
        self.reply(claims.len(), |memory| memory.join(claims))
    }
    fn refresh(&self, claims: &[Refresh]) -> Reply<Standing> {
        self.reply(claims.len(), |memory| memory.refresh(claims))
    }
    fn leave(&self, claims: &[Leave]) -> Reply<()> {
        self.reply(claims.len(), |memory| memory.leave(claims))
    }
    fn watch(&self, claim: &ClaimRef) -> Hints {
        self.memory().watch(claim)
    }
    fn inspect(&self, query: Query) -> std::pin::Pin<Box<dyn Future<Output = Result<Page>> + Send>> {
        self.memory().inspect(query)
    }
    fn alarms(&self) -> Alarms {
        self.memory().alarms()
    }
    fn lifeline(&self) -> Option<std::os::fd::BorrowedFd<'_>> {
        None
    }
}

struct Nodes {
    parts: Vec<std::sync::Arc<Part>>,
    quorum: Quorum,
}

impl Nodes {
    fn new(count: usize) -> Self {
        Self::asked(count, Order::Together)
    }

    fn asked(count: usize, order: Order) -> Self {
        let part = || Part { memory: Mutex::new(Memory::new(Env::system())), mood: Mutex::new(Mood::Well) };
        let parts: Vec<_> = (0..count).map(|_| std::sync::Arc::new(part())).collect();
        let quorum = Self::quorum(&parts, order);
        Self { parts, quorum }
    }

    /// Another process on the same nodes.
    fn another(&self) -> Self {
        Self { parts: self.parts.clone(), quorum: Self::quorum(&self.parts, Order::Together) }
    }

    fn quorum(parts: &[std::sync::Arc<Part>], order: Order) -> Quorum {
        let named = parts.iter().enumerate().map(|(at, part)| {
            let engine: std::sync::Arc<dyn Engine> = part.clone();
            (format!("n{at}"), engine)
        });
        let config = Config::default().timeout(Duration::from_millis(30)).order(order);
        Quorum::spawn(named.collect(), config, Env::system()).unwrap()
    }

    fn mood(&self, nodes: impl IntoIterator<Item = usize>, mood: Mood) {
        nodes.into_iter().for_each(|node| *self.parts[node].mood.lock().unwrap() = mood);
    }

    /// It is started again, and knows nothing.
    fn wipe(&self, node: usize) {
        *self.parts[node].memory.lock().unwrap() = Memory::new(Env::system());
    }

    async fn join(&self, claim: &Claim) -> Result<Standing> {
        self.quorum.join(slice::from_ref(claim)).await.pop().unwrap()
    }

    async fn refresh(&self, claim: &Claim) -> Result<Standing> {
        let ask = Refresh { claim: claim.key(), ttl: claim.ttl, raise: None };
        self.quorum.refresh(&[ask]).await.pop().unwrap()
    }

    async fn leave(&self, claim: &Claim) -> Result<()> {
        let leave = Leave { claim: claim.key(), manner: Manner::Release };
        self.quorum.leave(&[leave]).await.pop().unwrap()
    }

    /// How many claims stand at a node.
    async fn standing_at(&self, node: usize) -> usize {
        let page = self.parts[node].memory().inspect(Query { limit: 9, ..Query::default() }).await.unwrap();
        page.queues.iter().map(|queue| queue.claims.len()).sum()
    }

    /// Until nothing stands at a node.
    async fn emptied(&self, node: usize) {
        while self.standing_at(node).await > 0 {
            tokio::task::yield_now().await;
        }
    }
}

fn claim(id: u128) -> Claim {
    Claim {
        name: Name::new("m").unwrap(),
        id: ClaimId(id << 64),
        capacity: 1,
        weight: 1,
        ttl: TTL,
        at_least: Duration::ZERO,
        raise: None,
        meta: Meta::default(),
    }
}

fn token(standing: &Result<Standing>) -> Token {
    match standing {
        Ok(Standing::Held { token, .. }) => *token,
        other => panic!("it is held, not {other:?}"),
    }
}

fn waits(standing: &Result<Standing>) -> u32 {
    match standing {
        Ok(Standing::Queued { ahead, .. }) => *ahead,
        other => panic!("it waits, and is not {other:?}"),
    }
}

#[tokio::test]
async fn one_round_trip_when_alone() {
    let nodes = Nodes::new(5);
    let joined = nodes.quorum.join(&[claim(1)]).now_or_never().expect("memory answers at once");
    let first = token(&joined[0]);
    for part in &nodes.parts {
        let page = part.memory().inspect(Query { limit: 1, ..Query::default() }).await.unwrap();
        assert_eq!(page.queues[0].claims[0].token, Some(first), "all nodes have accepted it");
    }
    assert_eq!(token(&nodes.refresh(&claim(1)).await), first);
    assert_eq!(token(&nodes.join(&claim(1)).await), first);
    nodes.leave(&claim(1)).await.unwrap();
    assert!(token(&nodes.join(&claim(2)).await) > first);
}

#[tokio::test]
async fn one_by_one_the_next_is_asked_when_the_one_before_has_answered() {
    let nodes = Nodes::asked(5, Order::OneByOne);
    let mut first = nodes.quorum.join(&[claim(1)]).now_or_never().expect("memory answers at once");
    let first = token(&first.pop().unwrap());
    for node in 0..5 {
        assert_eq!(nodes.standing_at(node).await, 1, "also the last one is asked");
    }
    assert_eq!(token(&nodes.refresh(&claim(1)).await), first);
    nodes.leave(&claim(1)).await.unwrap();

    nodes.mood([1], Mood::CutOff);
    let mut joining = nodes.quorum.join(&[claim(2)]);
    assert!((&mut joining).now_or_never().is_none());
    assert_eq!((nodes.standing_at(0).await, nodes.standing_at(2).await), (1, 0), "the second is waited for");
    assert!(token(&joining.await.pop().unwrap()) > first);
    assert_eq!(nodes.standing_at(4).await, 1);
    assert_eq!(waits(&nodes.join(&claim(3)).await), 1);
    nodes.leave(&claim(2)).await.unwrap();
    token(&nodes.refresh(&claim(3)).await);
}

#[tokio::test]
async fn one_by_one_nothing_is_left_behind_either() {
    for mood in [Mood::CutOff, Mood::Mute] {
        let nodes = Nodes::asked(5, Order::OneByOne);
        nodes.mood(1..4, mood);
        assert_eq!(nodes.join(&claim(1)).await.unwrap_err().kind(), ErrorKind::Unavailable);
        // Dropped while the second node is waited for.
        let mut joining = nodes.quorum.join(&[claim(2)]);
        assert!((&mut joining).now_or_never().is_none());
        drop(joining);
        nodes.mood(1..4, Mood::Well);
        nodes.leave(&claim(2)).await.unwrap();
        for node in 0..5 {
            nodes.emptied(node).await;
        }
    }
}

#[tokio::test]
async fn registers_that_differ_are_raised_to_one_token() {
    let nodes = Nodes::new(3);
    // Two nodes are ahead of any clock, by different tokens.
    for (node, above) in [(0, 5_000_000_000_000_000), (1, 6_000_000_000_000_000)] {
        let other = Claim { raise: Token::new(above), name: Name::new("other").unwrap(), ..claim(9) };
        nodes.parts[node].memory().join(&[other]).await.pop().unwrap().unwrap();
    }
    let held = token(&nodes.join(&claim(1)).await);
    assert!(held.get() > 6_000_000_000_000_000);
    assert_eq!(token(&nodes.refresh(&claim(1)).await), held);
}

#[tokio::test]
async fn a_minority_may_be_missing() {
    for mood in [Mood::Down, Mood::CutOff, Mood::Mute] {
        let nodes = Nodes::new(5);
        nodes.mood([0, 4], mood);
        let first = token(&nodes.join(&claim(1)).await);
        assert_eq!(waits(&nodes.join(&claim(2)).await), 1);
        assert_eq!(token(&nodes.refresh(&claim(1)).await), first);
        nodes.leave(&claim(1)).await.unwrap();
        assert!(token(&nodes.refresh(&claim(2)).await) > first, "{mood:?}");
    }
}

#[tokio::test]
async fn without_a_majority_nothing_is_held_and_nothing_is_left_behind() {
    for mood in [Mood::Down, Mood::CutOff, Mood::Mute] {
        let nodes = Nodes::new(5);
        nodes.mood(2..5, mood);
        let error = nodes.join(&claim(1)).await.unwrap_err();
        assert_eq!((error.kind(), error.outcome()), (ErrorKind::Unavailable, Outcome::Unknown));
        nodes.mood(2..5, Mood::Well);
        // Also at those whose answer is unknown: the tail repeats the leave.
        for node in 0..5 {
            nodes.emptied(node).await;
        }
    }
}

#[tokio::test]
async fn a_hold_lives_on_the_majority_and_is_gone_without_one() {
    let nodes = Nodes::new(5);
    let first = token(&nodes.join(&claim(1)).await);
    nodes.wipe(0);
    nodes.wipe(3);
    assert_eq!(token(&nodes.refresh(&claim(1)).await), first);
    nodes.mood([1], Mood::Down);
    let error = nodes.refresh(&claim(1)).await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::Unknown, "the node that is down may still have it");
    nodes.mood([1], Mood::Well);
    assert_eq!(token(&nodes.refresh(&claim(1)).await), first);
    nodes.wipe(4);
    assert_eq!(nodes.refresh(&claim(1)).await.unwrap(), Standing::Gone);
    for node in 0..5 {
        nodes.emptied(node).await;
    }
}

#[tokio::test]
async fn who_holds_a_minority_does_not_hold_and_tells_so() {
    let nodes = Nodes::new(5);
    let other = nodes.another();
    // One is cut off from three nodes when it lets go, so their queues still have it.
    let first = token(&nodes.join(&claim(1)).await);
    nodes.mood(0..3, Mood::Down);
    assert!(nodes.leave(&claim(1)).await.is_err(), "no majority has confirmed");
    nodes.mood(0..3, Mood::Well);
    let mut standing = other.join(&claim(2)).await;
    while !matches!(standing, Ok(Standing::Held { .. })) {
        waits(&standing);
        tokio::task::yield_now().await;
        standing = other.refresh(&claim(2)).await;
    }
    assert!(token(&standing) > first);
}

#[tokio::test]
async fn waiters_stand_in_one_queue_and_come_in_its_order() {
    let nodes = Nodes::new(5);
    let last = (1..=4).map(claim).collect::<Vec<_>>();
    for claim in &last {
        nodes.join(claim).await.unwrap();
    }
    assert_eq!(nodes.standing_at(0).await, 4);
    assert_eq!(nodes.standing_at(1).await, 1, "waiters have withdrawn from the other nodes");
    for pair in last.windows(2) {
        let mut hints = nodes.quorum.watch(&pair[1].key());
        let before = token(&nodes.refresh(&pair[0]).await);
        nodes.leave(&pair[0]).await.unwrap();
        assert_eq!(hints.next().now_or_never(), Some(Some(Hint::Look)));
        assert!(token(&nodes.refresh(&pair[1]).await) > before);
    }
}

#[tokio::test]
async fn a_majority_elsewhere_does_not_pass_the_queue() {
    let nodes = Nodes::new(3);
    nodes.join(&claim(1)).await.unwrap();
    nodes.join(&claim(2)).await.unwrap();
    // The holder's leave has arrived at two nodes, not yet at the one where the next one waits.
    for node in [1, 2] {
        let leave = Leave { claim: claim(1).key(), manner: Manner::Release };
        nodes.parts[node].memory().leave(&[leave]).await;
    }
    assert_eq!(waits(&nodes.another().join(&claim(3)).await), 2);
}

#[tokio::test]
async fn a_late_leave_does_not_end_what_was_joined_after_it() {
    let nodes = Nodes::new(3);
    nodes.join(&claim(1)).await.unwrap();
    assert_eq!(waits(&nodes.join(&claim(2)).await), 1);
    nodes.leave(&claim(1)).await.unwrap();
    let held = token(&nodes.refresh(&claim(2)).await);
    // The leaves of its first try at the other nodes arrive once more.
    for node in [1, 2] {
        let key = ClaimRef { id: id_of(claim(2).id, 0), ..claim(2).key() };
        nodes.parts[node].memory().leave(&[Leave { claim: key, manner: Manner::Evict }]).await;
    }
    assert_eq!(token(&nodes.refresh(&claim(2)).await), held);
}

#[tokio::test]
async fn two_who_each_hold_a_part_do_not_block_each_other() {
    let nodes = Nodes::new(3);
    let other = nodes.another();
    // Each is the head at a node that the other cannot reach at first.
    nodes.mood([1, 2], Mood::Down);
    assert!(nodes.join(&claim(1)).await.is_err());
    nodes.mood([1, 2], Mood::Well);
    nodes.mood([0], Mood::Down);
    nodes.parts[1].memory().join(&[claim(7)]).await;
    nodes.parts[2].memory().join(&[claim(8)]).await;
    assert_eq!(waits(&other.join(&claim(2)).await), 1);
    nodes.mood([0], Mood::Well);
    assert!(nodes.join(&claim(3)).await.is_ok());
    for (node, gone) in [(1, 7), (2, 8)] {
        let leave = Leave { claim: claim(gone).key(), manner: Manner::Release };
        nodes.parts[node].memory().leave(&[leave]).await;
    }
    let (mut held, mut turn) = (0, 0);
    while held < 2 {
        let (who, claim) = if turn % 2 == 0 { (&nodes, claim(3)) } else { (&other, claim(2)) };
        turn += 1;
        if let Ok(Standing::Held { .. }) = who.refresh(&claim).await {
            held += 1;
            who.leave(&claim).await.unwrap();
        }
        assert!(turn < 1000, "they block each other");
    }
}

#[tokio::test]
async fn a_waiter_moves_on_when_its_node_is_gone() {
    let nodes = Nodes::new(3);
    nodes.join(&claim(1)).await.unwrap();
    assert_eq!(waits(&nodes.join(&claim(2)).await), 1);
    nodes.mood([0], Mood::Down);
    assert!(nodes.refresh(&claim(2)).await.is_err(), "once is no reason");
    assert_eq!(waits(&nodes.refresh(&claim(2)).await), 1);
    assert_eq!(nodes.standing_at(1).await, 2);
    nodes.leave(&claim(1)).await.unwrap();
    token(&nodes.refresh(&claim(2)).await);
}

#[tokio::test]
async fn readers_share_and_a_writer_excludes() {
    let nodes = Nodes::new(5);
    let reader = |id| Claim { capacity: CAPACITY_MAX, ..claim(id) };
    let writer = Claim { weight: CAPACITY_MAX, ..reader(3) };
    let highest = token(&nodes.join(&reader(1)).await).max(token(&nodes.join(&reader(2)).await));
    assert_eq!(waits(&nodes.join(&writer).await), 2);
    assert_eq!(waits(&nodes.join(&reader(4)).await), 3, "a writer that waits is not passed");
    nodes.leave(&reader(1)).await.unwrap();
    nodes.leave(&reader(2)).await.unwrap();
    assert!(token(&nodes.refresh(&writer).await) > highest);
    assert_eq!(
        nodes.join(&claim(5)).await.unwrap(),
        Standing::Refused(Refusal::Capacity { current: CAPACITY_MAX })
    );
}

#[tokio::test]
async fn what_a_majority_cannot_keep_is_refused_before_anything_is_sent() {
    let nodes = Nodes::new(3);
    let refused = [
        Claim { capacity: 2, ..claim(1) },
        Claim { capacity: CAPACITY_MAX, weight: 2, ..claim(2) },
        Claim { at_least: TTL, ..claim(3) },
    ];
    let mut said = Vec::new();
    for claim in &refused {
        let error = nodes.join(claim).await.unwrap_err();
        assert_eq!((error.kind(), error.outcome()), (ErrorKind::Unsupported, Outcome::NotApplied));
        said.push(error.to_string());
    }
    insta::assert_debug_snapshot!(said);
    assert_eq!(nodes.standing_at(0).await, 0);
}

#[tokio::test]
async fn onlookers_are_shown_what_a_majority_has() {
    let nodes = Nodes::new(3);
    let held = token(&nodes.join(&claim(1)).await);
    nodes.join(&claim(2)).await.unwrap();
    // Who holds one node of three does not hold.
    nodes.parts[2].memory().join(&[Claim { name: Name::new("a").unwrap(), ..claim(3) }]).await;
    let page = nodes.quorum.inspect(Query { limit: 9, ..Query::default() }).await.unwrap();
    let shown: Vec<_> =
        page.queues.iter().flat_map(|q| &q.claims).map(|claim| (claim.id.0 >> 64, claim.token)).collect();
    assert_eq!(shown, [(3, None), (1, Some(held)), (2, None)]);
    // An operator in another process ends what it sees.
    let leave = Leave { claim: claim(1).key(), manner: Manner::Evict };
    nodes.another().quorum.leave(&[leave]).await.pop().unwrap().unwrap();
    assert_eq!(nodes.refresh(&claim(1)).await.unwrap(), Standing::Gone);
    token(&nodes.refresh(&claim(2)).await);
    nodes.mood(0..3, Mood::Well);
}

#[tokio::test]
async fn the_tail_ends_with_the_last_quorum() {
    let nodes = Nodes::new(3);
    let named = nodes.parts.iter().enumerate().map(|(at, part)| {
        let engine: std::sync::Arc<dyn Engine> = part.clone();
        (format!("n{at}"), engine)
    });
    let (quorum, tail) = Quorum::new(named.collect(), Config::default(), Env::system()).unwrap();
    let running = tokio::spawn(tail.run());
    quorum.join(&[claim(1)]).await;
    quorum.leave(&[Leave { claim: claim(1).key(), manner: Manner::Release }]).await;
    drop(quorum);
    running.await.unwrap();
}
