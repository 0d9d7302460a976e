//! The first answer: a claim on its way into the queue.
//!
//! A claim exists before the first byte is sent, and from then on somebody always owns it: the attempt here, the
//! roll, or the driver. There is no await point at which dropping the future leaks it.

use std::future::poll_fn;
use std::slice;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use crate::claim::{CAPACITY_MAX, Claim};
use crate::client::acquire::{Came, Started};
use crate::client::hold::{Hold, State, Terms};
use crate::client::race::race;
use crate::client::roll::{Leaving, Orphan};
use crate::client::rules::drift;
use crate::client::{Client, closed, no_answer, unanswered};
use crate::clock::Moment;
use crate::engine::{Refusal, Reply, Standing};
use crate::error::{Error, ErrorKind, Outcome, Result};
use crate::observe::What;

/// The pause before a `join` with an unknown outcome is asked again; it doubles.
const RETRY_PAUSE_MIN: Duration = Duration::from_millis(10);

/// How a `join` ended.
pub(super) enum Joined {
    /// It waits.
    Queued(Arc<Hold>),
    /// There is nothing to wait for.
    Over(Came<Started>),
}

/// One claim until it is answered for. [`Client::shutdown`] waits for it; dropped on the way, it is undone by the
/// driver.
pub(super) struct Joining<'a> {
    client: &'a Client,
    /// `None` once it is on the roll.
    claim: Option<Claim>,
    call: Option<Reply<Standing>>,
    /// The engine may have the claim.
    known: bool,
}

impl<'a> Joining<'a> {
    /// The roll must know that a claim is on its way.
    pub(super) fn begun(client: &'a Client, claim: Claim) -> Self {
        Self { client, claim: Some(claim), call: None, known: false }
    }

    /// Sends the `join` until it is answered, the claim could be dead, or the caller's patience ends: a dead
    /// claim's id is not used again.
    pub(super) async fn answer(
        &mut self,
        at_most: Option<Duration>,
        mut sent: Moment,
        until: Moment,
    ) -> Result<Joined> {
        let shared = self.client.shared();
        let (clock, rules) = (&*shared.env.clock, &shared.rules);
        let (mut pause, mut repeated) = (RETRY_PAUSE_MIN, false);
        let claim = self.claim.as_ref().expect("it is not on the roll before it is answered");
        // Later than this, an answer may be about a second life of the claim, queued anew by a repetition; a hint
        // from its first life would then be believed in.
        let life = claim.waiting_ttl();
        let give_up = sent + life.saturating_sub(drift(life));
        // Whoever has only heard errors until its patience ends hears the last of them: nobody knows that it is busy.
        let mut last = None;
        loop {
            let call = self.call.insert(shared.engine.join(slice::from_ref(claim)));
            let answer = match race(call, clock, give_up.min(until)).await {
                Some(mut answers) => answers.pop().unwrap_or_else(|| Err(no_answer("lock"))),
                None if shared.env.now() >= until => {
                    return last.map_or(Ok(Joined::Over(Came::OutOfPatience)), Err);
                }
                None => return Err(unanswered("lock")),
            };
            self.call = None;
            let now = match answer {
                // It waits, and its only life began after `sent`: nothing yet that could be out of date.
                Ok(Standing::Queued { .. }) if !repeated => sent,
                _ => shared.env.now(),
            };
            // What may be asked again may also arrive again, late.
            self.known |= match &answer {
                Ok(_) => true,
                Err(error) => error.is_transient() || error.outcome() != Outcome::NotApplied,
            };
            let error = match answer {
                Err(error) => error,
                Ok(Standing::Refused(why)) => return Err(refused(claim, &why)),
                Ok(_) if !(rules.in_time)(now, give_up) => return Ok(Joined::Over(Came::Again)),
                Ok(standing) => {
                    // From here on every change wakes this task.
                    let waiter = match standing {
                        Standing::Queued { .. } => Some(poll_fn(|cx| Poll::Ready(cx.waker().clone())).await),
                        _ => None,
                    };
                    let terms = Terms::of(claim, at_most);
                    return match State::first(&standing, (sent, now), &terms, rules, waiter) {
                        Some(state) => self.enter(&standing, terms, state, now),
                        None => Ok(Joined::Over(Came::Again)),
                    };
                }
            };
            let next = now + pause;
            if !error.is_transient() || next >= give_up.min(until) {
                return Err(error);
            }
            last = Some(error);
            clock.sleep_until(next).await;
            if shared.roll.is_closed() {
                return Err(closed());
            }
            pause = (pause * 2).min(claim.waiting_ttl() / 6);
            sent = shared.env.now();
            repeated = true;
        }
    }

    /// Enters the claim on the roll: from now on whoever has its hold must end it.
    fn enter(&mut self, standing: &Standing, terms: Terms, state: State, now: Moment) -> Result<Joined> {
        let shared = self.client.shared();
        let (next, token) = (state.next(), state.token);
        let claim = self.claim.take().expect("it has not been on the roll before");
        let hold = Hold::new(claim, terms, state);
        if !shared.roll.enter(&hold, next) {
            shared.end(&hold, now);
            return Err(closed());
        }
        if let Some(token) = token {
            return Ok(Joined::Over(Came::Held(Started { hold, token })));
        }
        if let Standing::Queued { ahead, .. } = *standing {
            shared.tell(hold.key(), What::Queued { ahead });
        }
        Ok(Joined::Queued(hold))
    }
}

impl Drop for Joining<'_> {
    fn drop(&mut self) {
        let shared = self.client.shared();
        // A claim that the engine certainly never had leaves nothing to undo.
        if let Some(claim) = self.claim.take().filter(|_| self.known || self.call.is_some()) {
            let until = shared.env.now() + claim.ttl;
            let leaving = Leaving { leave: claim.into_leave(), until, failures: 0 };
            match self.call.take() {
                Some(call) => shared.roll.adopt(Orphan { call, leaving }),
                None => shared.roll.leave(leaving),
            }
        }
        // Only now: who waits until nobody joins must find what has been left.
        shared.roll.end();
    }
}

fn refused(claim: &Claim, why: &Refusal) -> Error {
    let message = match why {
        Refusal::Capacity { current } => format!(
            "the lock is in use as {}, but it was asked for as {}; all users of a name must agree",
            kind_of(*current),
            kind_of(claim.capacity)
        ),
        Refusal::QueueFull { max } => {
            format!("{max} claims stand in the lock's queue, which is the most")
        }
    };
    Error::new(ErrorKind::Refused, "lock", message)
}

/// What a capacity is used as.
fn kind_of(capacity: u32) -> String {
    match capacity {
        1 => "a mutex".into(),
        CAPACITY_MAX => "a reader/writer lock".into(),
        n => format!("a semaphore of {n}"),
    }
}
