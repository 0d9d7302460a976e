//! One claim as its client knows it: in which phase it is, and until when that can be believed.
//!
//! No I/O and no clock reads here: every change is told the time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use tokio::sync::Notify;

use crate::claim::{Claim, ClaimId, ClaimRef, Leave, Refresh, WAITING_TTL_MAX};
use crate::client::roll::{Leaving, Place};
use crate::client::rules::Rules;
use crate::clock::{Moment, nanos};
use crate::engine::Standing;
use crate::error::{Error, Result};
use crate::token::Token;

/// A renewal is due after this part of the TTL, give or take a tenth of it.
const RENEW_PART: u64 = 3;
/// A request without an answer is repeated after this part of the TTL.
const REPEAT_PART: u64 = 6;
/// Renewals that are due within this part of the TTL go together.
const WINDOW_PART: u64 = 12;
/// A hold that began by a hint is renewed to its full TTL this soon: at once, but so that holds which come and
/// go faster than this need no renewal.
const AFTER_HINT: Duration = Duration::from_millis(10);
/// The first pause after a failed request; it doubles up to the window.
const BACKOFF_MIN: Duration = Duration::from_millis(10);

/// Where a claim is in its life.
#[derive(Clone, Debug)]
pub(crate) enum Phase {
    /// It stands in the queue.
    Waiting,
    /// It is held.
    Held,
    /// It is over.
    Ended(End),
}

/// How a claim ended.
#[derive(Clone, Debug)]
pub(crate) enum End {
    /// Its owner let go of it.
    Released,
    /// Its time ran out, or the engine no longer has it.
    Lost,
    /// The engine cannot go on with it.
    Failed(Error),
}

/// What paces a claim's requests.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    id: ClaimId,
    ttl: Duration,
    at_most: Option<Duration>,
}

impl Terms {
    pub(super) fn of(claim: &Claim, at_most: Option<Duration>) -> Self {
        Self { id: claim.id, ttl: claim.ttl, at_most }
    }
}

/// A claim that the engine has answered for, and what its client knows of it.
#[derive(Debug)]
pub(crate) struct Hold {
    /// The request that ends it.
    pub(crate) leave: Leave,
    terms: Terms,
    state: Mutex<State>,
    /// Notified at every change of phase or deadline, if somebody watches.
    pub(crate) changed: Notify,
    pub(super) place: Place,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) phase: Phase,
    /// Until when the last answer can be believed.
    pub(crate) deadline: Moment,
    /// The TTL of the last answer.
    pub(crate) granted: Duration,
    pub(crate) token: Option<Token>,
    /// When the hold began.
    pub(crate) started: Moment,
    /// Half of the validity is gone and nobody has confirmed it since.
    pub(crate) at_risk: bool,
    /// The end of the at-most hold.
    ends: Moment,
    /// When to say that it is at risk.
    risk_at: Moment,
    /// When to ask again.
    ask_at: Moment,
    /// How many nanoseconds earlier that may be, to go together with others.
    window: u64,
    failures: u32,
    /// Who waits for it to be held.
    pub(crate) waiter: Option<Waker>,
    /// Whether anybody looks at [`Hold::changed`].
    pub(crate) watched: bool,
}

/// What is due for a claim.
#[derive(Debug, Default)]
pub(crate) struct Due {
    /// Ask the engine.
    pub(crate) refresh: Option<Refresh>,
    /// It has just become at risk, with this much left.
    pub(crate) at_risk: Option<Duration>,
    /// Its time has just run out; how long it was held, if it was.
    pub(crate) ran_out: Option<Option<Duration>>,
    /// Whether it is over.
    pub(crate) over: bool,
}

/// What an answer meant.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// Nothing to tell.
    Nothing,
    /// Renewed, with this much validity.
    Renewed(Duration),
    /// Not renewed; this much validity is left.
    Failed(Duration),
    /// Over by this answer; how long it was held, if it was.
    Lost(Option<Duration>),
    /// It was over before: whatever the engine has under this id must go.
    Stray,
}

impl Hold {
    /// A claim of which nobody but its owner knows yet.
    pub(super) fn new(claim: Claim, terms: Terms, state: State) -> Arc<Self> {
        Arc::new(Self {
            leave: claim.into_leave(),
            terms,
            state: Mutex::new(state),
            changed: Notify::new(),
            place: Place::default(),
        })
    }

    /// Which claim it is.
    pub(crate) fn key(&self) -> &ClaimRef {
        &self.leave.claim
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        // State changes are plain assignments: a panic elsewhere cannot leave one half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When something is due for it.
    pub(crate) fn next(&self) -> Moment {
        self.state().next()
    }

    /// When the engine has forgotten it if nothing is asked for it after `now`.
    pub(crate) fn dead_by(&self, now: Moment) -> Moment {
        now + self.terms.ttl
    }

    /// The duty to end it.
    pub(super) fn leaving(&self, now: Moment) -> Leaving {
        Leaving { leave: self.leave.clone(), until: self.dead_by(now), failures: 0 }
    }

    /// Tells whoever is interested that something has changed.
    fn announce(&self, mut state: MutexGuard<'_, State>) {
        let (waiter, watched) = (state.waiter.take(), state.watched);
        drop(state);
        if let Some(waiter) = waiter {
            waiter.wake();
        }
        if watched {
            self.changed.notify_waiters();
        }
    }

    /// Whether it is held and may be believed in at `now`.
    pub(crate) fn is_valid(&self, now: Moment) -> bool {
        let state = self.state();
        matches!(state.phase, Phase::Held) && now < state.deadline
    }

    /// Takes in the answer to a request that was sent at `sent`: what it meant, and when something is due next.
    pub(crate) fn hear(
        &self,
        answer: Result<Standing>,
        sent: Moment,
        now: Moment,
        rules: &Rules,
    ) -> (Heard, Moment) {
        let mut state = self.state();
        let heard = match (&state.phase, answer) {
            (Phase::Ended(_), Ok(Standing::Held { .. } | Standing::Queued { .. })) => Heard::Stray,
            (Phase::Ended(_), _) => Heard::Nothing,
            (_, Err(error)) if error.is_transient() => state.failed(&self.terms, now),
            (Phase::Held, Err(_)) => state.failed(&self.terms, now),
            (_, Err(error)) => state.end(End::Failed(error), now),
            // After its deadline it may have died and been queued anew by a late join: nobody knows of what life a
            // hint would be.
            (Phase::Waiting, Ok(standing)) if (rules.in_time)(now, state.deadline) => state
                .stand(&standing, (sent, now), &self.terms, rules)
                .unwrap_or_else(|| state.end(End::Lost, now)),
            // What was lost stays lost.
            (Phase::Held, Ok(Standing::Held { token, ttl }))
                if state.token == Some(token) && (rules.in_time)(now, state.deadline) =>
            {
                let deadline = (rules.deadline)(sent, now, ttl);
                state.renew(ttl, deadline, (sent, now), &self.terms)
            }
            // Asked before the hold began by a hint, which has overtaken the answer.
            (Phase::Held, Ok(Standing::Queued { .. })) if sent < state.started => Heard::Nothing,
            // A hold that the engine has as waiting, refused or under another token is not this hold.
            (_, Ok(_)) => state.end(End::Lost, now),
        };
        let next = state.next();
        self.announce(state);
        (heard, next)
    }

    /// Takes in a hint that it is held, in the task that waits for it: whether the hold has begun by it (if too
    /// little of its time is left, the driver looks), and when something is due next.
    pub(crate) fn hear_hint(&self, token: Token, now: Moment, rules: &Rules) -> (bool, Moment) {
        let mut state = self.state();
        if !matches!(state.phase, Phase::Waiting) {
            return (false, state.next());
        }
        let deadline = (rules.hint_starts)(now, state.deadline, state.granted);
        if let Some(deadline) = deadline {
            state.start(token, now, self.terms.at_most);
            state.deadline = deadline.min(state.ends);
            state.warn(now);
            state.ask_at = now.plus(nanos(AFTER_HINT).min(state.deadline.nanos_since(now) / 4));
            // It hears of this here: woken as well, it would run once more for nothing.
            state.waiter = None;
        } else {
            state.ask_at = now;
        }
        state.window = 0;
        (deadline.is_some(), state.next())
    }

    /// Asks at the next opportunity; says when that is.
    pub(crate) fn look(&self, now: Moment) -> Moment {
        let mut state = self.state();
        state.ask_at = now;
        state.next()
    }

    /// Lets go of it. How long it was held, and whether it was valid until now; `None` if it was over already.
    pub(crate) fn release(&self, now: Moment) -> Option<(Duration, bool)> {
        let mut state = self.state();
        if matches!(state.phase, Phase::Ended(End::Released)) {
            return None;
        }
        let valid = matches!(state.phase, Phase::Held) && now < state.deadline;
        state.phase = Phase::Ended(End::Released);
        let held = now.since(state.started);
        self.announce(state);
        Some((held, valid))
    }

    /// What is due at `now`.
    pub(crate) fn due(&self, now: Moment, ttl_min: Duration) -> Due {
        let mut state = self.state();
        let mut due = Due::default();
        let held = match state.phase {
            // Whoever lets go of it takes it off the roll.
            Phase::Ended(End::Released) => return due,
            Phase::Ended(End::Lost | End::Failed(_)) => return Due { over: true, ..due },
            Phase::Held => true,
            Phase::Waiting => false,
        };
        if now >= state.deadline {
            state.phase = Phase::Ended(End::Lost);
            let held = held.then(|| now.since(state.started));
            self.announce(state);
            return Due { ran_out: Some(held), over: true, ..due };
        }
        if held && !state.at_risk && now >= state.risk_at {
            state.at_risk = true;
            due.at_risk = Some(state.deadline.since(now));
        }
        if state.ask_at <= now.plus(state.window) {
            // Never beyond the at-most hold, and not if there is nothing left to gain.
            let ask = self.terms.ttl.min(state.ends.since(now));
            if state.ends == Moment::NEVER || (ask >= ttl_min && now + ask > state.deadline) {
                due.refresh = Some(Refresh { claim: self.key().clone(), ttl: ask, raise: None });
                state.ask_at = now.plus(state.pace(&self.terms) / REPEAT_PART);
            } else {
                state.ask_at = Moment::NEVER;
            }
        }
        if due.at_risk.is_some() {
            self.announce(state);
        }
        due
    }
}

impl State {
    /// As the answer to a `join` has it that was sent at `sent`; `None` if the claim is not in the queue, or is held
    /// but can no longer be believed in. If it waits, `waiter` is woken at every change.
    pub(super) fn first(
        answer: &Standing,
        (sent, now): (Moment, Moment),
        terms: &Terms,
        rules: &Rules,
        waiter: Option<Waker>,
    ) -> Option<Self> {
        let mut state = Self {
            phase: Phase::Waiting,
            // Nothing has been promised yet; a later deadline here would outlive the margin of the first answer.
            deadline: Moment::BOOT,
            granted: Duration::ZERO,
            token: None,
            started: now,
            at_risk: false,
            ends: Moment::NEVER,
            risk_at: Moment::NEVER,
            ask_at: Moment::NEVER,
            window: 0,
            failures: 0,
            waiter,
            watched: false,
        };
        state.stand(answer, (sent, now), terms, rules)?;
        Some(state)
    }

    /// When something is due; never, once it is over.
    pub(crate) fn next(&self) -> Moment {
        if matches!(self.phase, Phase::Ended(_)) {
            return Moment::NEVER;
        }
        let risk = if self.at_risk { Moment::NEVER } else { self.risk_at };
        self.ask_at.min(risk).min(self.deadline)
    }

    /// The hold begins.
    fn start(&mut self, token: Token, now: Moment, at_most: Option<Duration>) {
        self.phase = Phase::Held;
        self.token = Some(token);
        self.started = now;
        self.ends = at_most.map_or(Moment::NEVER, |span| now + span);
    }

    /// It waits or its hold begins, as the engine says; `None` if the engine does not have it, or if it is held but
    /// can no longer be believed in.
    fn stand(
        &mut self,
        standing: &Standing,
        (sent, now): (Moment, Moment),
        terms: &Terms,
        rules: &Rules,
    ) -> Option<Heard> {
        match *standing {
            Standing::Held { token, ttl } => {
                let deadline = (rules.deadline)(sent, now, ttl);
                (rules.in_time)(now, deadline).then(|| {
                    self.start(token, now, terms.at_most);
                    self.renew(ttl, deadline, (sent, now), terms)
                })
            }
            Standing::Queued { ttl, look_again, .. } => {
                self.granted = ttl;
                self.deadline = (rules.deadline)(sent, now, ttl);
                self.failures = 0;
                let pace = spread(nanos(ttl) / RENEW_PART, terms.id, sent);
                self.ask_at = sent + (rules.look)(look_again, Duration::from_nanos(pace));
                // An early look at what can die then would see nothing.
                self.window = if nanos(look_again) < pace { 0 } else { nanos(ttl) / WINDOW_PART };
                Some(Heard::Nothing)
            }
            Standing::Refused(_) | Standing::Gone => None,
        }
    }

    /// The engine has confirmed the hold. A deadline only moves forward.
    fn renew(
        &mut self,
        ttl: Duration,
        deadline: Moment,
        (sent, now): (Moment, Moment),
        terms: &Terms,
    ) -> Heard {
        self.granted = ttl;
        self.deadline = self.deadline.max(deadline).min(self.ends);
        self.at_risk = false;
        self.failures = 0;
        self.warn(now);
        self.ask_at = sent.plus(spread(nanos(ttl) / RENEW_PART, terms.id, sent));
        self.window = nanos(ttl) / WINDOW_PART;
        Heard::Renewed(self.deadline.since(now))
    }

    /// Sets when to warn; a hold that ends when its at-most says is not at risk.
    fn warn(&mut self, now: Moment) {
        let ends = self.deadline >= self.ends;
        self.risk_at = if ends { Moment::NEVER } else { now.plus(self.deadline.nanos_since(now) / 2) };
    }

    /// The answer is an error; ask again soon, and ever less often.
    fn failed(&mut self, terms: &Terms, now: Moment) -> Heard {
        let pause = nanos(BACKOFF_MIN) << self.failures.min(16);
        self.failures += 1;
        self.ask_at = now.plus(spread(pause.min(self.pace(terms) / WINDOW_PART), terms.id, now));
        self.window = 0;
        Heard::Failed(self.deadline.since(now))
    }

    fn end(&mut self, end: End, now: Moment) -> Heard {
        let held = matches!(self.phase, Phase::Held).then(|| now.since(self.started));
        self.phase = Phase::Ended(end);
        Heard::Lost(held)
    }

    /// The time to live that requests are paced by, in nanoseconds.
    fn pace(&self, terms: &Terms) -> u64 {
        nanos(if matches!(self.phase, Phase::Held) { terms.ttl } else { terms.ttl.min(WAITING_TTL_MAX) })
    }
}

/// A span in nanoseconds give or take a tenth, so that claims of one second do not stay together for ever. The id is
/// random and the moment changes: no other randomness is needed.
fn spread(span: u64, id: ClaimId, at: Moment) -> u64 {
    let bits = (id.0 as u64).wrapping_add(at.as_nanos()).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56;
    span - span / 10 + span / 1280 * bits
}

#[cfg(test)]
mod tests;
