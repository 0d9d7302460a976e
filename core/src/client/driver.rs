//! The keeper: one task a client, which renews what is held and what waits in batches, tells holders when a hold
//! is at risk or over, and ends what dropped futures and guards left behind.
//!
//! It starts requests and hears answers, and never waits for one: a request that hangs delays nobody's deadline.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use crate::claim::{ClaimId, Refresh};
use crate::client::Shared;
use crate::client::hold::{Heard, Hold};
use crate::client::race::race;
use crate::client::roll::{Leaving, Orphan};
use crate::clock::Moment;
use crate::engine::{Alarms, Batch, Standing, no_alarms};
use crate::error::Result;
use crate::observe::What;

/// How far ahead the driver looks for renewals that may go together with one that is due.
const HORIZON: Duration = Duration::from_millis(2500);
/// The first and the longest pause between two tries to leave.
const LEAVE_PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));
/// A `leave` without an answer is repeated after this long.
const LEAVE_REPEAT: Duration = Duration::from_secs(2);

/// The client's own task. Whoever builds a client runs this; [`Client::new`](super::Client::new) spawns it on tokio.
pub struct Driver {
    pub(super) shared: Arc<Shared>,
    calls: FuturesUnordered<Pin<Box<dyn Future<Output = Done> + Send>>>,
    alarms: Alarms,
    /// Leaves that failed, by when to try again.
    again: BTreeMap<(Moment, ClaimId), Leaving>,
}

impl std::fmt::Debug for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driver").field("calls", &self.calls.len()).field("again", &self.again.len()).finish()
    }
}

/// A call of the driver that has ended.
enum Done {
    Refreshed { sent: Moment, asked: Vec<Arc<Hold>>, answers: Option<Batch<Result<Standing>>> },
    Left { asked: Vec<Leaving>, answers: Option<Batch<Result<()>>> },
    Completed(Leaving),
}

impl Driver {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let alarms = shared.engine.alarms();
        Self { shared, calls: FuturesUnordered::new(), alarms, again: BTreeMap::new() }
    }

    /// Runs until the last client and the last guard are gone and everything has been left.
    pub async fn run(mut self) {
        let mut finished = 0;
        loop {
            let now = self.shared.env.now();
            let work = self.shared.roll.take(now, HORIZON, finished);
            self.renew(now, work.due);
            self.complete(work.orphans);
            let mut leaving = work.leaving;
            while let Some(entry) = self.again.first_entry().filter(|e| e.key().0 <= now) {
                leaving.push(entry.remove());
            }
            self.leave(now, leaving);
            let own = self.again.first_key_value().map_or(Moment::NEVER, |((at, _), _)| *at);
            let Some(until) = self.shared.roll.rest(own) else { return };
            finished = self.sleep(until).await;
        }
    }

    /// Sleeps until something happens; says how many leaves are finished.
    async fn sleep(&mut self, until: Moment) -> usize {
        let shared = Arc::clone(&self.shared);
        tokio::select! {
            biased;
            () = shared.roll.wake.notified() => 0,
            Some(done) = self.calls.next(), if !self.calls.is_empty() => self.finish(done),
            alarm = self.alarms.next() => {
                match alarm {
                    Some(()) => shared.roll.hasten(shared.env.now()),
                    None => self.alarms = no_alarms(),
                }
                0
            }
            () = shared.env.clock.sleep_until(until), if until != Moment::NEVER => 0,
        }
    }

    /// Asks for what is due, and tells the holders what they must know.
    fn renew(&mut self, now: Moment, due: Vec<Arc<Hold>>) {
        let shared = &self.shared;
        let mut asking: Vec<(Arc<Hold>, Refresh)> = Vec::new();
        for hold in due {
            let due = hold.due(now, shared.info.ttl_min);
            if let Some(remaining) = due.at_risk {
                shared.tell(hold.key(), What::AtRisk { remaining });
            }
            if let Some(held) = due.ran_out {
                shared.over(&hold, held, now);
            }
            if due.over {
                shared.roll.strike(&hold);
            } else {
                shared.roll.place(&hold, hold.next());
            }
            if let Some(refresh) = due.refresh {
                asking.push((hold, refresh));
            }
        }
        while !asking.is_empty() {
            let rest = asking.split_off(asking.len().min(shared.info.batch_max));
            let (asked, batch): (Vec<_>, Vec<_>) = std::mem::replace(&mut asking, rest).into_iter().unzip();
            let longest = batch.iter().map(|r| r.ttl).max().unwrap_or_default();
            let clock = Arc::clone(&shared.env.clock);
            // Read before the call: some engines send when called, not when polled.
            let sent = clock.now();
            let mut call = shared.engine.refresh(&batch);
            self.calls.push(Box::pin(async move {
                let answers = race(&mut call, &*clock, sent + longest).await;
                Done::Refreshed { sent, asked, answers }
            }));
        }
    }

    /// Completes calls whose futures were dropped.
    fn complete(&mut self, orphans: Vec<Orphan>) {
        for Orphan { mut call, leaving } in orphans {
            let clock = Arc::clone(&self.shared.env.clock);
            self.calls.push(Box::pin(async move {
                race(&mut call, &*clock, leaving.until).await;
                Done::Completed(leaving)
            }));
        }
    }

    /// Ends claims.
    fn leave(&mut self, now: Moment, mut leaving: Vec<Leaving>) {
        while !leaving.is_empty() {
            let rest = leaving.split_off(leaving.len().min(self.shared.info.batch_max));
            let asked = std::mem::replace(&mut leaving, rest);
            if !(self.shared.rules.leaves)() {
                continue;
            }
            let batch: Vec<_> = asked.iter().map(|l| l.leave.clone()).collect();
            let mut call = self.shared.engine.leave(&batch);
            let clock = Arc::clone(&self.shared.env.clock);
            self.calls.push(Box::pin(async move {
                let answers = race(&mut call, &*clock, now + LEAVE_REPEAT).await;
                Done::Left { asked, answers }
            }));
        }
    }

    /// Hears an answer; says how many leaves are finished by it.
    fn finish(&mut self, done: Done) -> usize {
        let now = self.shared.env.now();
        match done {
            Done::Refreshed { sent, asked, answers: Some(answers) } => {
                for (hold, answer) in asked.into_iter().zip(answers) {
                    self.hear(&hold, answer, sent, now);
                }
                0
            }
            // Unanswered for a whole TTL: other requests have been sent meanwhile.
            Done::Refreshed { answers: None, .. } => 0,
            Done::Completed(leaving) => {
                self.leave(now, vec![leaving]);
                0
            }
            Done::Left { asked, answers } => {
                let mut answers = answers.map(Batch::into_iter);
                let mut finished = 0;
                for mut leaving in asked {
                    let ok = answers.as_mut().and_then(Iterator::next).is_some_and(|answer| answer.is_ok());
                    if ok || now >= leaving.until {
                        finished += 1;
                        continue;
                    }
                    let pause = LEAVE_PAUSE.0 * 2u32.saturating_pow(leaving.failures.min(16));
                    leaving.failures += 1;
                    let at = (now + pause.min(LEAVE_PAUSE.1)).min(leaving.until);
                    // Two leaves of one claim that are due together are one.
                    let same = self.again.insert((at, leaving.leave.claim.id), leaving);
                    finished += usize::from(same.is_some());
                }
                finished
            }
        }
    }

    fn hear(&self, hold: &Arc<Hold>, answer: Result<Standing>, sent: Moment, now: Moment) {
        let shared = &self.shared;
        let (heard, next) = hold.hear(answer, sent, now, &shared.rules);
        match heard {
            Heard::Nothing => shared.roll.place(hold, next),
            Heard::Renewed(remaining) => {
                shared.tell(hold.key(), What::Renewed { remaining });
                shared.roll.place(hold, next);
            }
            Heard::Failed(remaining) => {
                shared.tell(hold.key(), What::RenewalFailed { remaining });
                shared.roll.place(hold, next);
            }
            // Whoever was revoked may believe until its deadline: its place stays until then, or until its guard
            // lets go of it.
            Heard::Lost(Some(held)) => {
                shared.roll.strike(hold);
                shared.tell(hold.key(), What::Lost { held });
            }
            Heard::Lost(None) => {
                shared.end(hold, now);
                shared.roll.strike(hold);
            }
            Heard::Stray => shared.end(hold, now),
        }
    }
}

impl Shared {
    /// A claim is over without its owner's doing.
    fn over(&self, hold: &Hold, held: Option<Duration>, now: Moment) {
        if let Some(held) = held {
            self.tell(hold.key(), What::Lost { held });
        }
        self.end(hold, now);
    }

    /// Has a claim ended at the engine, now and until it would be dead anyway.
    pub(super) fn end(&self, hold: &Hold, now: Moment) {
        self.roll.leave(hold.leaving(now));
    }
}
