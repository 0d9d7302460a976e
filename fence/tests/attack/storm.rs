//! The attack. Tokens are handed out in order, and that is all that is orderly: writers enter late, write later, write
//! twice, and are killed with an order in their hands.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use leasehold_core::Mode;
use leasehold_fence::Sequencer;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::order::{Order, Reply, Value};
use crate::turn::Locks;
use crate::worker::Writer;
use crate::{Check, Failure, Target, runtime};

/// How many writes are ordered, where it is to be another number than a target has of itself.
const WRITES: &str = "LEASEHOLD_ATTACK_WRITES";
const WRITERS: u64 = 8;
/// One in so many orders is a writer's last.
const ORDERS_A_KILL: u64 = 400;
/// How much a writer keeps for later.
const BAG_MAX: usize = 6;

pub(crate) fn storm(target: fn() -> Result<Target, Failure>) -> Result<(), Failure> {
    let target = Arc::new(target()?);
    let writes = std::env::var(WRITES).map_or(Ok(target.writes), |writes| writes.parse())?;
    let fenced = runtime()?.block_on(Storm::run(&target, Check::Always, writes))?;
    println!("{}: {fenced}", target.name);
    fenced.must_be_clean()
}

/// The same without the fence, on a value of its own. A few hundred writes are enough to do harm.
pub(crate) fn bare(target: fn() -> Result<Target, Failure>) -> Result<(), Failure> {
    let target = Arc::new(target()?);
    let bare = runtime()?.block_on(Storm::run(&target, Check::Never, target.writes.min(2_000)))?;
    println!("{} without its fence: {bare}", target.name);
    if bare.violations.is_empty() {
        return Err("without the fence nothing was violated; the attack has no teeth".into());
    }
    Ok(())
}

/// What all writers of a run share.
struct Storm {
    target: Arc<Target>,
    check: Check,
    writes: u64,
    /// How many writes were ordered.
    ordered: AtomicU64,
    /// The highest tokens of which somebody knows that they were let in.
    exclusive: AtomicU64,
    shared: AtomicU64,
    over: AtomicBool,
    /// As a lock hands over: the next one gets its token when the last one is done, or is believed to be.
    locks: Locks,
    tally: Mutex<Tally>,
}

/// What came of it.
#[derive(Default)]
struct Tally {
    ordered: u64,
    kills: u64,
    failures: u64,
    refused: u64,
    readers: u64,
    /// Tokens under which a write was confirmed.
    written: BTreeSet<u64>,
    /// Tokens of writes of which nobody knows.
    unknown: BTreeSet<u64>,
    violations: Vec<String>,
    /// The first failures.
    why: Vec<String>,
}

/// Something that a writer has been given and has not done yet.
struct Late {
    who: Sequencer,
    /// What to write, once it has entered.
    value: Option<Value>,
}

impl Storm {
    async fn run(target: &Arc<Target>, check: Check, writes: u64) -> Result<Tally, Failure> {
        let storm = Arc::new(Self {
            target: Arc::clone(target),
            check,
            writes,
            ordered: AtomicU64::new(0),
            exclusive: AtomicU64::new(0),
            shared: AtomicU64::new(0),
            over: AtomicBool::new(false),
            locks: Locks::of(target).await?,
            tally: Mutex::default(),
        });
        let watching = tokio::spawn(Arc::clone(&storm).watch());
        let writers: Vec<_> = (0..WRITERS).map(|seed| tokio::spawn(Arc::clone(&storm).write(seed))).collect();
        for writer in writers {
            writer.await??;
        }
        storm.over.store(true, SeqCst);
        watching.await??;
        let last = storm.peek(&mut Writer::new(target, check)?).await?;
        let mut tally = std::mem::take(&mut *storm.tally());
        tally.ordered = storm.ordered.load(SeqCst);
        tally.close(last);
        Ok(tally)
    }

    /// Looks at the value all the time: it must never go back.
    async fn watch(self: Arc<Self>) -> Result<(), Failure> {
        let mut eye = Writer::new(&self.target, self.check)?;
        let mut before = Value::default();
        while !self.over.load(SeqCst) {
            let now = self.peek(&mut eye).await?;
            if now.token < before.token {
                self.violated(format!("the stored token fell from {} to {}", before.token, now.token));
            }
            before = now;
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    async fn peek(&self, eye: &mut Writer) -> Result<Value, Failure> {
        match eye.ask(Order::Peek).await? {
            Reply::Value(value) => Ok(value),
            other => Err(format!("a look was answered {other:?}").into()),
        }
    }

    async fn write(self: Arc<Self>, seed: u64) -> Result<(), Failure> {
        let mut rng = SmallRng::seed_from_u64(seed);
        let mut writer = Writer::new(&self.target, self.check)?;
        let mut bag: Vec<Late> = Vec::new();
        while self.ordered.load(SeqCst) < self.writes {
            let fresh = bag.is_empty() || (bag.len() < BAG_MAX && rng.random_bool(0.5));
            let mut turn = None;
            let mut job = if fresh {
                // One in six is a reader.
                let mode = if rng.random_ratio(1, 6) { Mode::Shared } else { Mode::Exclusive };
                let (own, who) = self.locks.next(mode).await?;
                turn = Some(own);
                Late { who, value: None }
            } else {
                bag.swap_remove(rng.random_range(0..bag.len()))
            };
            if fresh && rng.random_bool(0.2) {
                bag.push(job);
                continue;
            }
            if job.value.is_none() {
                job.value = self.enter(&mut writer, &job.who).await?;
            }
            if fresh && rng.random_bool(0.6) {
                // It believes that it holds the lock, and does not any more.
                turn = None;
                if rng.random_bool(0.5) {
                    bag.push(job);
                    continue;
                }
            }
            let Some(value) = job.value else { continue };
            self.ordered.fetch_add(1, SeqCst);
            let order = Order::Write(job.who.clone(), value);
            if rng.random_ratio(1, ORDERS_A_KILL as u32) {
                self.tally().unknown.insert(value.token);
                self.tally().kills += 1;
                writer.ask_and_kill(order).await?;
                writer = Writer::new(&self.target, self.check)?;
                continue;
            }
            if self.deliver(&mut writer, &job.who, order).await? && rng.random_bool(0.2) {
                bag.push(job);
            }
            drop(turn);
        }
        Ok(())
    }

    /// Enters, and says what to write afterwards: nothing for a reader, or if it was refused.
    async fn enter(&self, writer: &mut Writer, who: &Sequencer) -> Result<Option<Value>, Failure> {
        let barrier = self.barrier(who);
        match writer.ask(Order::Enter(who.clone())).await {
            Ok(Reply::Value(found)) => {
                self.admitted(who, barrier, "was let in");
                if who.mode() == Mode::Shared {
                    self.tally().readers += 1;
                    return Ok(None);
                }
                Ok(Some(Value { token: who.token().get(), count: found.count + 1 }))
            }
            Ok(_) => {
                self.tally().refused += 1;
                Ok(None)
            }
            Err(why) => self.failed(why).map(|()| None),
        }
    }

    /// Writes; whether it was done.
    async fn deliver(&self, writer: &mut Writer, who: &Sequencer, order: Order) -> Result<bool, Failure> {
        let barrier = self.barrier(who);
        match writer.ask(order).await {
            Ok(Reply::Done) => {
                self.admitted(who, barrier, "wrote");
                self.tally().written.insert(who.token().get());
                Ok(true)
            }
            Ok(_) => {
                self.tally().refused += 1;
                Ok(false)
            }
            Err(why) => {
                self.tally().unknown.insert(who.token().get());
                self.failed(why).map(|()| false)
            }
        }
    }

    /// What is known to have been let in: nothing below it may be, from now on.
    fn barrier(&self, who: &Sequencer) -> u64 {
        let exclusive = self.exclusive.load(SeqCst);
        match who.mode() {
            Mode::Exclusive => exclusive.max(self.shared.load(SeqCst)),
            Mode::Shared => exclusive,
        }
    }

    fn admitted(&self, who: &Sequencer, barrier: u64, what: &str) {
        let token = who.token().get();
        if token < barrier {
            self.violated(format!("{who} {what} though {barrier} had been let in before it asked"));
        }
        let register = match who.mode() {
            Mode::Exclusive => &self.exclusive,
            Mode::Shared => &self.shared,
        };
        register.fetch_max(token, SeqCst);
    }

    fn violated(&self, what: String) {
        self.tally().violations.push(what);
    }

    /// A storage may fail now and then, as with two transactions that wait for each other; not as a rule.
    fn failed(&self, why: Failure) -> Result<(), Failure> {
        let mut tally = self.tally();
        tally.failures += 1;
        tally.why.push(why.to_string());
        if tally.failures > 10 + self.ordered.load(SeqCst) / 10 {
            return Err(format!("{} of the orders failed, the last one so: {why}", tally.failures).into());
        }
        Ok(())
    }

    fn tally(&self) -> std::sync::MutexGuard<'_, Tally> {
        self.tally.lock().expect("nobody panics under it")
    }
}

impl Tally {
    /// The value that is left must be the last one, and count every write once.
    fn close(&mut self, last: Value) {
        let newest = self.written.last().copied().unwrap_or(0);
        if last.token < newest {
            self.violations.push(format!("{} is the last value, though {newest} was written", last.token));
        }
        let (least, most) = (self.written.len() as u64, self.written.union(&self.unknown).count() as u64);
        if !(least..=most).contains(&last.count) {
            self.violations
                .push(format!("{least} to {most} writes were accepted, and {} are left", last.count));
        }
    }

    fn must_be_clean(&self) -> Result<(), Failure> {
        if let Some(first) = self.violations.first() {
            return Err(format!("{} violations, the first: {first}", self.violations.len()).into());
        }
        // Else it was no contest.
        for (what, count) in [("written", self.written.len() as u64), ("refused", self.refused)] {
            if count < self.ordered / 500 {
                return Err(format!("only {count} of {} were {what}", self.ordered).into());
            }
        }
        Ok(())
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} writes by {WRITERS} writers, {} kills, {} failures: under {} tokens something was written, {} \
             orders were refused, {} readers came in, {} violations",
            self.ordered,
            self.kills,
            self.failures,
            self.written.len(),
            self.refused,
            self.readers,
            self.violations.len()
        )?;
        self.why.first().map_or(Ok(()), |why| write!(f, " (a failure: {why})"))
    }
}
