//! The same requests to the ledger and to the engine, and the same answers.
//!
//! The server's clock is put where the ledger's stands before each request, and the ledger's moves by tens of seconds
//! while everything ends at odd fives: the time that requests take decides nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use leasehold_core::claim::{Leave, Manner, WAITING_TTL_MAX};
use leasehold_core::clock::BootClock;
use leasehold_core::ledger::Ledger;
use leasehold_core::{Claim, ClaimRef, Clock, Engine, Moment, Page, Query, Refresh, Standing};

use crate::requests::{One, key, share};

const STEPS: usize = 400;

/// An answer without what differs: the numbers of tokens, and when to look again.
fn shape(standing: &Standing) -> String {
    match standing {
        Standing::Held { ttl, .. } => format!("held for {ttl:?}"),
        Standing::Queued { ahead, ttl, .. } => format!("behind {ahead} for {ttl:?}"),
        other => format!("{other:?}"),
    }
}

fn shape_of_page(page: &Page) -> Vec<String> {
    let claims = page.queues.iter().flat_map(|queue| {
        queue.claims.iter().map(|c| {
            let (name, capacity, held) = (&queue.name, queue.capacity, c.token.is_some());
            format!("{name}: {:?} takes {} of {capacity}, held {held}, revoked {}", c.id, c.weight, c.revoked)
        })
    });
    claims.collect()
}

struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }

    /// So many seconds, or none.
    fn seconds(&mut self, choices: &[u64]) -> Duration {
        Duration::from_secs(self.of(choices))
    }
}

/// Both sides.
struct Pair<'a, E> {
    /// Each request goes to one of two, as if from two processes.
    engines: &'a [E; 2],
    ledger: Ledger,
    started: Moment,
    now: Moment,
    /// Which token of the engine a token of the ledger is, by resource.
    tokens: BTreeMap<(String, u64), u64>,
    random: Random,
    list: u64,
    hand_overs: u64,
    /// Which claims are spoken of, by resource.
    ids: [[u128; 6]; 3],
    /// What was asked so far, and how it was answered.
    history: Vec<String>,
}

impl<E: Engine> Pair<'_, E> {
    /// By how many seconds the server's clock must be ahead of the machine's.
    fn ahead(&self) -> f64 {
        self.now.since(Moment::BOOT).as_secs_f64() - BootClock.now().since(self.started).as_secs_f64()
    }

    fn compare(&mut self, what: &str, name: &str, ours: &Standing, theirs: &Standing) {
        let at = format!("list {}, {what}", self.list);
        self.history.push(format!("{:?} {at}: {}", self.now, shape(ours)));
        if shape(ours) != shape(theirs) {
            let history: Vec<&str> =
                self.history.iter().map(String::as_str).filter(|line| line.contains(name)).collect();
            panic!("the ledger says {}:\n{}", shape(theirs), history.join("\n"));
        }
        if let (Standing::Held { token: ours, .. }, Standing::Held { token: theirs, .. }) = (ours, theirs) {
            let known = *self.tokens.entry((name.to_owned(), theirs.get())).or_insert(ours.get());
            assert_eq!(ours.get(), known, "{at}: another token for the same hold");
        }
        self.hand_overs += self.ledger.hand_overs().count() as u64;
    }

    /// An id is one claim: joined again only while that is there.
    fn id_to_join(&mut self, slot: (usize, usize), claim: ClaimRef) -> u128 {
        let page = self.ledger.inspect(self.now, &Query::exactly(&claim.name));
        let there = page
            .queues
            .iter()
            .any(|queue| queue.name == claim.name && queue.claims.iter().any(|other| other.id == claim.id));
        if !there {
            // They are shown by their first digits.
            self.ids[slot.0][slot.1] += 0x10 << 96;
        }
        self.ids[slot.0][slot.1]
    }

    async fn step(&mut self, step: usize) {
        let resource = self.random.below(3) as usize;
        let name = format!("list {}/{resource}", self.list);
        let slot = (resource, self.random.below(6) as usize);
        let (claim, ttl) = (key(&name, self.ids[slot.0][slot.1]), self.random.seconds(&[5, 15, 25, 55]));
        let engine = &self.engines[self.random.below(2) as usize];
        match self.random.below(20) {
            0..=7 => {
                let id = self.id_to_join(slot, claim);
                let capacity = if self.random.below(20) == 0 { 2 } else { 3 };
                let weight = 1 + self.random.below(u64::from(capacity)) as u32;
                let at_least = self.random.seconds(&[0, 0, 0, 0, 15, 35]);
                let claim = Claim { ttl, at_least, ..share(&name, id, (weight, capacity)) };
                let theirs = self.ledger.join(self.now, &claim);
                let ours = engine.join_one(claim.clone()).await;
                self.compare(&format!("step {step}: {claim:?}"), &name, &ours, &theirs);
            }
            8..=13 => {
                let ask = Refresh { claim, ttl, raise: None };
                let theirs = self.ledger.refresh(self.now, &ask);
                let ours = engine.refresh(std::slice::from_ref(&ask)).await.remove(0).unwrap();
                self.compare(&format!("step {step}: {ask:?}"), &name, &ours, &theirs);
            }
            14..=17 => {
                let manner =
                    self.random.of(&[Manner::Release, Manner::Release, Manner::Revoke, Manner::Evict]);
                self.ledger.leave(self.now, &Leave { claim: claim.clone(), manner });
                engine.try_leave(&claim, manner).await.unwrap();
                self.history
                    .push(format!("{:?} list {}, step {step}: {manner:?} {claim:?}", self.now, self.list));
            }
            18 => self.now = self.now + self.random.seconds(&[10, 10, 20, 60]),
            _ => {
                let query = Query { prefix: format!("list {}/", self.list), after: None, limit: 10 };
                let (ours, theirs) =
                    (engine.inspect(query.clone()).await, self.ledger.inspect(self.now, &query));
                let at = format!("list {}, step {step}", self.list);
                assert_eq!(shape_of_page(&ours.unwrap()), shape_of_page(&theirs), "{at}");
            }
        }
    }
}

/// Compares so many lists of requests, each on engines that are opened for it and, each time, on data of its own.
///
/// `shift_clock` puts the server's wall clock so many seconds ahead of the machine's.
///
/// # Panics
/// Where the answers differ.
pub async fn compare<E: Engine>(lists: u64, shift_clock: impl Fn(f64), open: impl AsyncFn() -> E) {
    assert_eq!(WAITING_TTL_MAX, Duration::from_secs(5), "an odd five too");
    let (started, mut now, mut hand_overs) = (BootClock.now(), Moment::BOOT, 0);
    for list in 1..=lists {
        let engines = [open().await, open().await];
        let mut pair = Pair {
            engines: &engines,
            ledger: Ledger::new(0),
            started,
            now,
            tokens: BTreeMap::new(),
            random: Random(list.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            list,
            hand_overs: 0,
            ids: [std::array::from_fn(|slot| (slot as u128) << 96); 3],
            history: Vec::new(),
        };
        for step in 0..STEPS {
            shift_clock(pair.ahead());
            pair.step(step).await;
        }
        for name in 0..3 {
            let of = (format!("list {list}/{name}"), 0)..(format!("list {list}/{name}"), u64::MAX);
            let tokens: Vec<u64> = pair.tokens.range(of).map(|(_, token)| *token).collect();
            assert!(
                tokens.len() > 3 && tokens.is_sorted_by(|a, b| a < b),
                "in the order of holds: {tokens:?}"
            );
        }
        now = pair.now;
        hand_overs += pair.hand_overs;
    }
    assert!(hand_overs > 2 * lists, "only {hand_overs}");
}
