//! One claim as its client knows it: in which phase it is, and until when that can be believed.
//!
//! No I/O and no clock reads here: every change is told the time.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use tokio::sync::Notify;

use crate::claim::{Claim, ClaimId, Refresh};
use crate::client::roll::Place;
use crate::client::rules::Rules;
use crate::clock::Moment;
use crate::engine::Standing;
use crate::error::{Error, Result};
use crate::token::Token;

/// A renewal is due after this part of the TTL, give or take a tenth of it.
const RENEW_PART: u32 = 3;
/// A request without an answer is repeated after this part of the TTL.
const REPEAT_PART: u32 = 6;
/// Renewals that are due within this part of the TTL go together.
const WINDOW_PART: u32 = 12;
/// A hold that began by a hint is renewed to its full TTL this soon: at once, but so that holds which come and
/// go faster than this need no renewal.
const AFTER_HINT: Duration = Duration::from_millis(10);
/// The first pause after a failed request; it doubles up to the window.
const BACKOFF_MIN: Duration = Duration::from_millis(10);

/// Where a claim is in its life.
#[derive(Clone, Debug)]
pub(crate) enum Phase {
    /// Its `join` has not been answered.
    Joining,
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

/// A claim and what its client knows of it.
#[derive(Debug)]
pub(crate) struct Hold {
    pub(crate) claim: Claim,
    at_most: Option<Duration>,
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
    /// How much earlier that may be, to go together with others.
    window: Duration,
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
    pub(crate) fn new(claim: Claim, at_most: Option<Duration>, now: Moment) -> Self {
        let state = State {
            phase: Phase::Joining,
            deadline: now + claim.waiting_ttl(),
            granted: Duration::ZERO,
            token: None,
            started: now,
            at_risk: false,
            ends: Moment::NEVER,
            risk_at: Moment::NEVER,
            ask_at: Moment::NEVER,
            window: Duration::ZERO,
            failures: 0,
            waiter: None,
            watched: false,
        };
        Self { claim, at_most, state: Mutex::new(state), changed: Notify::new(), place: Place::default() }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        // State changes are plain assignments: a panic elsewhere cannot leave one half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When something is due for it.
    pub(crate) fn next(&self) -> Moment {
        self.state().next()
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

    /// Takes in the answer to a request that was sent at `sent`.
    pub(crate) fn hear(&self, answer: Result<Standing>, sent: Moment, now: Moment, rules: &Rules) -> Heard {
        let mut state = self.state();
        let heard = match (&state.phase, answer) {
            (Phase::Ended(_), Ok(Standing::Held { .. } | Standing::Queued { .. })) => Heard::Stray,
            (Phase::Ended(_), _) => Heard::Nothing,
            (_, Err(error)) if error.is_transient() => state.failed(&self.claim, now),
            (Phase::Held, Err(_)) => state.failed(&self.claim, now),
            (_, Err(error)) => state.end(End::Failed(error), now),
            (Phase::Held, Ok(Standing::Held { token, ttl })) if state.token == Some(token) => {
                state.renew(ttl, (rules.deadline)(sent, now, ttl), sent, now, self, rules)
            }
            (Phase::Joining | Phase::Waiting, Ok(Standing::Held { token, ttl })) => {
                let deadline = (rules.deadline)(sent, now, ttl);
                if (rules.in_time)(now, deadline) {
                    state.start(token, now, self.at_most);
                    state.renew(ttl, deadline, sent, now, self, rules)
                } else {
                    state.end(End::Lost, now)
                }
            }
            (Phase::Joining | Phase::Waiting, Ok(Standing::Queued { ttl, look_again, .. })) => {
                state.phase = Phase::Waiting;
                state.granted = ttl;
                state.deadline = (rules.deadline)(sent, now, ttl);
                state.failures = 0;
                let pace = spread(ttl / RENEW_PART, self.claim.id, sent);
                state.ask_at = sent + (rules.look)(look_again, pace);
                // An early look at what can die then would see nothing.
                state.window = if look_again < pace { Duration::ZERO } else { ttl / WINDOW_PART };
                Heard::Nothing
            }
            // A hold that the engine has as waiting, refused or under another token is not this hold.
            (_, Ok(_)) => state.end(End::Lost, now),
        };
        self.announce(state);
        heard
    }

    /// Takes in a hint that it is held: the hold begins, or, if too little of its time is left, the driver looks.
    pub(crate) fn hear_hint(&self, token: Token, now: Moment, rules: &Rules) {
        let mut state = self.state();
        if !matches!(state.phase, Phase::Waiting) {
            return;
        }
        if (rules.hint_starts)(now, state.deadline, state.granted) {
            state.start(token, now, self.at_most);
            state.deadline = state.deadline.min(state.ends);
            state.warn(now);
            state.ask_at = now + AFTER_HINT;
        } else {
            state.ask_at = now;
        }
        state.window = Duration::ZERO;
    }

    /// Asks at the next opportunity.
    pub(crate) fn look(&self, now: Moment) {
        self.state().ask_at = now;
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
            Phase::Ended(_) => return Due { over: true, ..due },
            Phase::Held => true,
            Phase::Joining | Phase::Waiting => false,
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
        if state.ask_at <= now + state.window {
            // Never beyond the at-most hold, and not if there is nothing left to gain.
            let ask = self.claim.ttl.min(state.ends.since(now));
            if state.ends == Moment::NEVER || (ask >= ttl_min && now + ask > state.deadline) {
                due.refresh = Some(Refresh { claim: self.claim.key(), ttl: ask });
                state.ask_at = now + state.pace(&self.claim) / REPEAT_PART;
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
    /// When something is due.
    pub(crate) fn next(&self) -> Moment {
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

    /// The engine has confirmed the hold. A deadline only moves forward, and what was lost stays lost.
    fn renew(
        &mut self,
        ttl: Duration,
        deadline: Moment,
        sent: Moment,
        now: Moment,
        hold: &Hold,
        rules: &Rules,
    ) -> Heard {
        if self.granted != Duration::ZERO && !(rules.in_time)(now, self.deadline) {
            return self.end(End::Lost, now);
        }
        self.granted = ttl;
        self.deadline = self.deadline.max(deadline).min(self.ends);
        self.at_risk = false;
        self.failures = 0;
        self.warn(now);
        self.ask_at = sent + spread(ttl / RENEW_PART, hold.claim.id, sent);
        self.window = ttl / WINDOW_PART;
        Heard::Renewed(self.deadline.since(now))
    }

    /// Sets when to warn; a hold that ends when its at-most says is not at risk.
    fn warn(&mut self, now: Moment) {
        let ends = self.deadline >= self.ends;
        self.risk_at = if ends { Moment::NEVER } else { now + self.deadline.since(now) / 2 };
    }

    /// The answer is an error; ask again soon, and ever less often.
    fn failed(&mut self, claim: &Claim, now: Moment) -> Heard {
        let pause = BACKOFF_MIN * 2u32.saturating_pow(self.failures.min(16));
        self.failures += 1;
        self.ask_at = now + spread(pause.min(self.pace(claim) / WINDOW_PART), claim.id, now);
        self.window = Duration::ZERO;
        Heard::Failed(self.deadline.since(now))
    }

    fn end(&mut self, end: End, now: Moment) -> Heard {
        let held = matches!(self.phase, Phase::Held).then(|| now.since(self.started));
        self.phase = Phase::Ended(end);
        Heard::Lost(held)
    }

    /// The time to live that requests are paced by.
    fn pace(&self, claim: &Claim) -> Duration {
        if matches!(self.phase, Phase::Held) { claim.ttl } else { claim.waiting_ttl() }
    }
}

/// A span give or take a tenth, so that claims of one second do not stay together for ever. The id is random and
/// the moment changes: no other randomness is needed.
fn spread(span: Duration, id: ClaimId, at: Moment) -> Duration {
    let bits = (id.0 as u64).wrapping_add(at.as_nanos()).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56;
    span * 9 / 10 + span * bits as u32 / 1280
}
