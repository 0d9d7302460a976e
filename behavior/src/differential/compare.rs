//! One list of operations, upon the ledger and upon engines.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use leasehold::claim::{Claim, Leave, Refresh};
use leasehold::engine::{QueueView, Standing};
use leasehold::ledger::Ledger;
use leasehold::{ClaimId, Clock, Moment, Query, Token};

use super::plan::{List, Step, Terms};
use crate::probe::Probe;
use crate::setup::Setup;
use crate::time::SetClock;
use crate::verdict::Verdict;

/// What all lists of a test run on: engines that share their data, and a clock that only goes forward.
pub(crate) struct Ground<'a> {
    setup: &'a Setup,
    clock: Arc<SetClock>,
    probes: Vec<Probe>,
    /// How much longer than the ledger engines may keep a claim.
    slack: Duration,
}

impl<'a> Ground<'a> {
    pub(crate) async fn new(setup: &'a Setup, engines: usize, coarse: bool) -> Verdict<Self> {
        // Servers count whole milliseconds.
        let whole = |micros: u64| micros / 1000 * 1000;
        let now = Moment::from_nanos(whole(setup.env.now().as_nanos() / 1000) * 1000);
        let clock = SetClock::new(now, whole(setup.env.clock.wall_micros()));
        let mut probes = Vec::new();
        for _ in 0..engines {
            probes.push(setup.probe_on(&clock.env(&setup.env.rng)).await?);
        }
        let slack = if coarse { Duration::from_millis(1) } else { Duration::ZERO };
        let ground = Self { setup, clock, probes, slack };
        ground.set(now)?;
        Ok(ground)
    }

    /// All clocks that anything is measured by.
    fn set(&self, now: Moment) -> Verdict {
        self.clock.set(now);
        let wall = self.clock.wall_micros();
        Ok(self.setup.own_servers().iter().try_for_each(|server| server.stop_clock_at(wall))?)
    }

    /// Runs a list; the inner result says the first difference.
    pub(crate) async fn compare(&self, list: &List) -> Verdict<Result<(), String>> {
        // Claims and names are new for each list, so that one database does for all.
        let round = self.probes[0].env.rng.next();
        let claims = list.claims.iter().map(|terms| claim(&self.probes[0], round, terms)).collect();
        let mut run = Run {
            notices_death: self.probes[0].engine.info().notices_death,
            slack: self.slack,
            asks_others: self.probes[0].engine.info().engine == "redlock",
            ledger: Ledger::new(0),
            now: self.clock.now(),
            claims,
            tokens: Tokens::default(),
        };
        for (at, step) in list.steps.iter().enumerate() {
            if let Step::Pass(span) = step {
                run.now = run.now + *span;
                self.set(run.now)?;
                continue;
            }
            if let Err(difference) = run.step(&self.probes[at % self.probes.len()], step).await? {
                return Ok(Err(format!("step {at}, {step:?}: {difference}")));
            }
        }
        Ok(Ok(()))
    }
}

fn claim(probe: &Probe, round: u128, terms: &Terms) -> Claim {
    Claim {
        capacity: terms.capacity,
        weight: terms.weight,
        at_least: terms.at_least,
        ..probe.claim(&format!("{round:x}/{}", terms.resource), terms.ttl)
    }
}

/// A list under way.
struct Run {
    notices_death: bool,
    slack: Duration,
    asks_others: bool,
    ledger: Ledger,
    now: Moment,
    claims: Vec<Claim>,
    tokens: Tokens,
}

impl Run {
    async fn step(&mut self, probe: &Probe, step: &Step) -> Verdict<Result<(), String>> {
        match step {
            Step::Join(which) => {
                let which: Vec<usize> = which.iter().copied().filter(|&at| self.may_join(at)).collect();
                if which.is_empty() {
                    return Ok(Ok(()));
                }
                let claims: Vec<Claim> = which.iter().map(|&at| self.claims[at].clone()).collect();
                let told = probe.join_all(&claims).await?;
                let now = self.now;
                let expected = claims.iter().map(|c| self.ledger.join(now, c)).collect();
                Ok(self.same(&claims, expected, told))
            }
            Step::Refresh(which) => {
                let claims: Vec<Claim> = which.iter().map(|&at| self.claims[at].clone()).collect();
                let told = probe.refresh_all(&claims).await?;
                let ask = |c: &Claim| Refresh { claim: c.key(), ttl: c.ttl, raise: c.raise };
                let now = self.now;
                let expected = claims.iter().map(|c| self.ledger.refresh(now, &ask(c))).collect();
                Ok(self.same(&claims, expected, told))
            }
            Step::Leave(at, manner) => {
                let claim = self.claims[*at].clone();
                probe.end(&claim, *manner).await?;
                self.ledger.leave(self.now, &Leave { claim: claim.key(), manner: *manner });
                Ok(Ok(()))
            }
            Step::Inspect => {
                let prefix = self.claims[0].name.as_str().rsplit_once('/').map_or("", |(prefix, _)| prefix);
                let query = Query { prefix: format!("{prefix}/"), after: None, limit: 100 };
                let expected = self.ledger.inspect(self.now, &query).queues;
                let mut told = probe.queues().await?;
                told.retain(|q| q.name.as_str().starts_with(&query.prefix));
                if self.asks_others {
                    forget_what_is_leaving(&mut told, &expected);
                }
                Ok(self.same_view(&expected, &told))
            }
            Step::Pass(_) => Ok(Ok(())),
        }
    }

    /// An id is never used again: a claim that is over, by the ledger, does not come back, and what an engine
    /// still knows of it is its own affair.
    fn may_join(&mut self, at: usize) -> bool {
        let claim = &self.claims[at];
        let queues = self.ledger.inspect(self.now, &Query::exactly(&claim.name)).queues;
        let there = queues.iter().flat_map(|q| &q.claims).any(|c| c.id == claim.id);
        there || self.tokens.fresh(claim.id)
    }

    /// Compares standings, item by item.
    fn same(&mut self, claims: &[Claim], expected: Vec<Standing>, told: Vec<Standing>) -> Result<(), String> {
        for ((claim, expected), told) in claims.iter().zip(expected).zip(told) {
            self.tokens.seen(claim.id);
            let same = match (&expected, &told) {
                (Standing::Held { token, ttl }, Standing::Held { token: other, ttl: span }) => {
                    self.tokens.match_up(claim, *token, *other)?;
                    ttl == span
                }
                (
                    Standing::Queued { ahead, ttl, look_again },
                    Standing::Queued { ahead: other, ttl: span, look_again: earlier },
                ) => (ahead, ttl) == (other, span) && self.looks_in_time(*look_again, *earlier),
                (expected, told) => expected == told,
            };
            if !same {
                return Err(format!("the ledger says {expected:?}, the engine {told:?}"));
            }
        }
        Ok(())
    }

    /// An engine that notices death before the TTL ends sends its waiters to look for it, and servers know only when the
    /// earliest of all could die: never late, but perhaps in vain.
    fn looks_in_time(&self, ledger: Duration, engine: Duration) -> bool {
        let may_be_early = self.notices_death || !self.slack.is_zero();
        self.about(ledger, engine) || may_be_early && !engine.is_zero() && engine < ledger
    }

    fn about(&self, ledger: Duration, engine: Duration) -> bool {
        (ledger..=ledger + self.slack).contains(&engine)
    }

    fn same_view(&mut self, expected: &[QueueView], told: &[QueueView]) -> Result<(), String> {
        let different = || Err(format!("the ledger shows {expected:?}\nthe engine {told:?}"));
        if expected.len() != told.len() {
            return different();
        }
        for (a, b) in expected.iter().zip(told) {
            if a.name != b.name || a.capacity != b.capacity || a.claims.len() != b.claims.len() {
                return different();
            }
            for (a, b) in a.claims.iter().zip(&b.claims) {
                let claim = self.claims.iter().find(|c| c.id == a.id).cloned();
                if let (Some(claim), Some(token), Some(other)) = (claim, a.token, b.token) {
                    self.tokens.match_up(&claim, token, other)?;
                }
                let same = (a.id, a.weight, a.age, a.revoked) == (b.id, b.weight, b.age, b.revoked);
                // In a quorum whoever is handed a lock holds it when it has asked the other nodes.
                let holds = a.token.is_some() == b.token.is_some() || self.asks_others && b.token.is_none();
                if !same || !holds || a.meta != b.meta || !self.about(a.ttl_left, b.ttl_left) {
                    return different();
                }
            }
        }
        Ok(())
    }
}

/// A `leave` is confirmed when a majority has it, and what it ends may be seen for a moment at the others.
fn forget_what_is_leaving(told: &mut Vec<QueueView>, expected: &[QueueView]) {
    let expected: HashSet<ClaimId> = expected.iter().flat_map(|q| &q.claims).map(|c| c.id).collect();
    told.iter_mut().for_each(|q| q.claims.retain(|c| c.token.is_some() || expected.contains(&c.id)));
    told.retain(|q| !q.claims.is_empty());
}

/// Pairs of tokens of the same hold, and which claims have been used.
#[derive(Default)]
struct Tokens {
    pairs: Vec<(Claim, Token, Token)>,
    used: HashSet<ClaimId>,
}

impl Tokens {
    fn fresh(&self, id: ClaimId) -> bool {
        !self.used.contains(&id)
    }

    fn seen(&mut self, id: ClaimId) {
        self.used.insert(id);
    }

    /// The same hold has the same tokens for ever; of two that conflict, the same one's is higher on both sides.
    fn match_up(&mut self, claim: &Claim, ledger: Token, engine: Token) -> Result<(), String> {
        for (other, ledgers, engines) in self.pairs.iter().filter(|(other, ..)| other.name == claim.name) {
            let conflict = other.id == claim.id
                || u64::from(other.weight) + u64::from(claim.weight) > u64::from(claim.capacity);
            if conflict && ledger.cmp(ledgers) != engine.cmp(engines) {
                return Err(format!(
                    "the ledger's tokens are {ledgers:?} and then {ledger:?}, the engine's {engines:?} and then {engine:?}"
                ));
            }
        }
        if !self.pairs.iter().any(|(other, ..)| other.id == claim.id) {
            self.pairs.push((claim.clone(), ledger, engine));
        }
        Ok(())
    }
}
