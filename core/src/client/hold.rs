//! One claim as its client knows it: in which phase it is, and until when that can be believed.
//!
//! No I/O and no clock reads here: every change is told the time.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use tokio::sync::Notify;

use crate::claim::{Claim, ClaimId, Leave, Manner, Refresh};
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
    /// The request that ends it.
    pub(crate) leave: Leave,
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
    pub(crate) fn new(claim: Claim, at_most: Option<Duration>, now: Moment) -> Self {
        let state = State {
            phase: Phase::Joining,
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
            waiter: None,
            watched: false,
        };
        let leave = Leave { claim: claim.key(), manner: Manner::Release };
        Self {
            claim,
            leave,
            at_most,
            state: Mutex::new(state),
            changed: Notify::new(),
            place: Place::default(),
        }
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
        now + self.claim.ttl
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
            // It may have died and been queued anew by a late join: nobody knows of what life a hint would be.
            (Phase::Waiting, Ok(Standing::Queued { .. })) if !(rules.in_time)(now, state.deadline) => {
                state.end(End::Lost, now)
            }
            (Phase::Joining | Phase::Waiting, Ok(Standing::Queued { ttl, look_again, .. })) => {
                state.phase = Phase::Waiting;
                state.granted = ttl;
                state.deadline = (rules.deadline)(sent, now, ttl);
                state.failures = 0;
                let pace = spread(nanos(ttl) / RENEW_PART, self.claim.id, sent);
                let look = (rules.look)(look_again, Duration::from_nanos(pace));
                state.ask_at = sent + look;
                // An early look at what can die then would see nothing.
                state.window = if nanos(look_again) < pace { 0 } else { nanos(ttl) / WINDOW_PART };
                Heard::Nothing
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
            state.start(token, now, self.at_most);
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
        if state.ask_at <= now.plus(state.window) {
            // Never beyond the at-most hold, and not if there is nothing left to gain.
            let ask = self.claim.ttl.min(state.ends.since(now));
            if state.ends == Moment::NEVER || (ask >= ttl_min && now + ask > state.deadline) {
                due.refresh = Some(Refresh { claim: self.leave.claim.clone(), ttl: ask, raise: None });
                state.ask_at = now.plus(state.pace(&self.claim) / REPEAT_PART);
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
        self.ask_at = sent.plus(spread(nanos(ttl) / RENEW_PART, hold.claim.id, sent));
        self.window = nanos(ttl) / WINDOW_PART;
        Heard::Renewed(self.deadline.since(now))
    }

    /// Sets when to warn; a hold that ends when its at-most says is not at risk.
    fn warn(&mut self, now: Moment) {
        let ends = self.deadline >= self.ends;
        self.risk_at = if ends { Moment::NEVER } else { now.plus(self.deadline.nanos_since(now) / 2) };
    }

    /// The answer is an error; ask again soon, and ever less often.
    fn failed(&mut self, claim: &Claim, now: Moment) -> Heard {
        let pause = nanos(BACKOFF_MIN) << self.failures.min(16);
        self.failures += 1;
        self.ask_at = now.plus(spread(pause.min(self.pace(claim) / WINDOW_PART), claim.id, now));
        self.window = 0;
        Heard::Failed(self.deadline.since(now))
    }

    fn end(&mut self, end: End, now: Moment) -> Heard {
        let held = matches!(self.phase, Phase::Held).then(|| now.since(self.started));
        self.phase = Phase::Ended(end);
        Heard::Lost(held)
    }

    /// The time to live that requests are paced by, in nanoseconds.
    fn pace(&self, claim: &Claim) -> u64 {
        nanos(if matches!(self.phase, Phase::Held) { claim.ttl } else { claim.waiting_ttl() })
    }
}

/// A span in nanoseconds give or take a tenth, so that claims of one second do not stay together for ever. The id is
/// random and the moment changes: no other randomness is needed.
fn spread(span: u64, id: ClaimId, at: Moment) -> u64 {
    let bits = (id.0 as u64).wrapping_add(at.as_nanos()).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56;
    span - span / 10 + span / 1280 * bits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claim::Meta;
    use crate::error::ErrorKind;
    use crate::name::Name;

    const TTL: Duration = Duration::from_secs(10);

    fn ms(ms: u64) -> Moment {
        Moment::BOOT + Duration::from_millis(ms)
    }

    fn token(n: u64) -> Token {
        Token::new(n).unwrap()
    }

    fn hold(at_most: Option<Duration>) -> Hold {
        let claim = Claim {
            name: Name::new("r").unwrap(),
            id: ClaimId(7),
            capacity: 1,
            weight: 1,
            ttl: TTL,
            at_least: Duration::ZERO,
            raise: None,
            meta: Meta::default(),
        };
        Hold::new(claim, at_most, ms(0))
    }

    fn hear(hold: &Hold, answer: Standing, sent: u64, now: u64) -> Heard {
        hold.hear(Ok(answer), ms(sent), ms(now), &Rules::default()).0
    }

    fn held(n: u64) -> Standing {
        Standing::Held { token: token(n), ttl: TTL }
    }

    fn queued() -> Standing {
        Standing::Queued { ahead: 1, ttl: Duration::from_secs(5), look_again: Duration::from_secs(8) }
    }

    #[test]
    fn whoever_begins_by_a_hint_is_not_woken_for_it_later() {
        let hold = hold(None);
        hear(&hold, queued(), 0, 1);
        hold.state().waiter = Some(Waker::noop().clone());
        let (begun, next) = hold.hear_hint(token(9), ms(2), &Rules::default());
        assert!(begun && next == hold.next());
        assert!(hold.state().waiter.is_none());
    }

    #[test]
    fn the_deadline_counts_from_the_sending() {
        let hold = hold(None);
        // 10 s less 0.2 % and 2 ms, from the sending at 0; the answer took two seconds.
        assert_eq!(hear(&hold, held(1), 0, 2000), Heard::Renewed(Duration::from_millis(7978)));
        assert!(hold.is_valid(ms(9977)) && !hold.is_valid(ms(9978)));
    }

    #[test]
    fn an_answer_after_its_own_deadline_starts_nothing() {
        let hold = hold(None);
        assert_eq!(hear(&hold, held(1), 0, 9978), Heard::Lost(None));
        assert_eq!(hear(&hold, held(1), 9000, 9990), Heard::Stray, "what is over stays over");
    }

    #[test]
    fn a_renewal_after_the_deadline_does_not_revive() {
        let hold = hold(None);
        hear(&hold, held(1), 0, 1);
        assert_eq!(hear(&hold, held(1), 9000, 9990), Heard::Lost(Some(Duration::from_millis(9989))));
        assert!(!hold.is_valid(ms(9991)));
    }

    #[test]
    fn overlapping_renewals_never_move_a_deadline_back() {
        let hold = hold(None);
        hear(&hold, held(1), 0, 1);
        hear(&hold, held(1), 5000, 5001);
        hear(&hold, held(1), 3000, 5002);
        assert_eq!(hold.state().deadline, ms(5000 + 9978));
    }

    #[test]
    fn another_token_is_another_hold() {
        let hold = hold(None);
        hear(&hold, held(1), 0, 1);
        assert!(matches!(hear(&hold, held(2), 2, 3), Heard::Lost(Some(_))));
    }

    #[test]
    fn a_short_hold_has_its_margin_too() {
        let hold = hold(None);
        let ttl = Duration::from_secs(3);
        hear(&hold, Standing::Held { token: token(1), ttl }, 0, 1);
        assert_eq!(hold.state().deadline, ms(3000) - Duration::from_millis(8));
    }

    #[test]
    fn an_answer_that_a_hint_has_overtaken_says_nothing() {
        let hold = hold(None);
        hear(&hold, queued(), 0, 1);
        hold.hear_hint(token(1), ms(1000), &Rules::default());
        assert_eq!(hear(&hold, queued(), 900, 1001), Heard::Nothing);
        assert!(hold.is_valid(ms(1002)));
        assert!(matches!(hear(&hold, queued(), 1100, 1200), Heard::Lost(Some(_))), "asked while it was held");
    }

    #[test]
    fn a_hint_starts_a_hold_only_with_half_of_its_time_left() {
        let rules = Rules::default();
        for (at, starts) in [(2400, true), (2600, false), (5100, false)] {
            let hold = hold(None);
            hear(&hold, queued(), 0, 1);
            hold.hear_hint(token(1), ms(at), &rules);
            assert_eq!(hold.is_valid(ms(at)), starts, "at {at} ms");
        }
        let hold = hold(None);
        hear(&hold, queued(), 0, 1);
        hold.hear_hint(token(1), ms(2000), &rules);
        let due = hold.due(ms(2010), Duration::from_millis(100));
        assert_eq!(due.refresh.unwrap().ttl, TTL, "renewed to the full TTL at once");
    }

    #[test]
    fn at_risk_at_half_and_lost_at_the_deadline() {
        let hold = hold(None);
        hear(&hold, held(1), 0, 0);
        let ttl_min = Duration::from_millis(100);
        let due = hold.due(ms(4988), ttl_min);
        assert!(due.at_risk.is_none() && due.refresh.is_some());
        assert_eq!(hold.due(ms(4989), ttl_min).at_risk, Some(Duration::from_millis(4989)));
        assert_eq!(hold.due(ms(4990), ttl_min).at_risk, None, "said once");
        let due = hold.due(ms(9978), ttl_min);
        assert!(due.over && due.ran_out == Some(Some(Duration::from_millis(9978))));
    }

    #[test]
    fn at_most_is_never_asked_beyond() {
        let hold = hold(Some(Duration::from_secs(12)));
        hear(&hold, held(1), 0, 0);
        let ttl_min = Duration::from_millis(100);
        assert_eq!(hold.due(ms(4000), ttl_min).refresh.unwrap().ttl, Duration::from_secs(8));
        hear(&hold, Standing::Held { token: token(1), ttl: Duration::from_secs(8) }, 4000, 4001);
        let deadline = hold.state().deadline;
        assert!(deadline <= ms(12_000));
        assert!(hold.due(deadline, ttl_min).over);
    }

    #[test]
    fn a_waiter_hears_what_cannot_be_cured_and_asks_again_for_the_rest() {
        let rules = Rules::default();
        let hold = hold(None);
        hear(&hold, queued(), 0, 1);
        let flaky = Error::new(ErrorKind::Unavailable, "refresh", "no answer");
        assert!(matches!(hold.hear(Err(flaky), ms(100), ms(200), &rules).0, Heard::Failed(_)));
        assert!(hold.next() < ms(300));
        let fatal = Error::new(ErrorKind::Corrupt, "refresh", "not a database");
        assert!(matches!(hold.hear(Err(fatal), ms(300), ms(400), &rules).0, Heard::Lost(None)));
        assert!(
            matches!(&hold.state().phase, Phase::Ended(End::Failed(e)) if e.kind() == ErrorKind::Corrupt)
        );
    }
}
