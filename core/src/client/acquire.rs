//! How a caller comes to hold a claim, and how it lets go: the futures that are polled in the caller's own task.
//!
//! A claim exists before the first byte is sent, and from then on somebody always owns it: the attempt here, the
//! guard, or the driver. There is no await point at which dropping the future leaks it.

use std::future::poll_fn;
use std::slice;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::StreamExt;

use crate::claim::{CAPACITY_MAX, Claim, ClaimId, Meta};
use crate::client::ask::{Ask, Patience};
use crate::client::hold::{End, Heard, Hold, Phase};
use crate::client::race::race;
use crate::client::roll::Orphan;
use crate::client::rules::drift;
use crate::client::{Client, Shared, no_answer};
use crate::clock::{Moment, Sleep};
use crate::engine::{Hint, Hints, Refusal, Reply, Standing};
use crate::error::{Error, ErrorKind, Outcome, Result};
use crate::name::Name;
use crate::observe::What;
use crate::token::Token;

/// The pause before a `join` with an unknown outcome is asked again; it doubles.
const RETRY_PAUSE_MIN: Duration = Duration::from_millis(10);

/// A hold that has begun.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) hold: Arc<Hold>,
    pub(crate) token: Token,
}

/// How waiting in a queue ended.
enum Waited {
    Held(Token),
    /// The claim died in the queue: once more, at the end of it.
    Again,
    OutOfPatience,
    Failed(Error),
}

impl Client {
    /// Comes to hold what is asked for; `None` if it takes longer than the caller's patience.
    pub(crate) async fn acquire(&self, ask: Ask<'_>, patience: Patience) -> Result<Option<Started>> {
        let (ttl, at_most) = self.terms(ask)?;
        let shared = self.shared();
        let began = shared.env.now();
        let until = match patience {
            Patience::For(span) => began + span,
            Patience::None | Patience::Endless => Moment::NEVER,
        };
        let mut now = began;
        // An engine that does not answer for a whole TTL is an error, also for the most patient.
        let mut give_up = now + ttl;
        loop {
            if shared.roll.is_closed() {
                return Err(closed());
            }
            let claim = Claim {
                name: ask.name.clone(),
                id: ClaimId(shared.env.rng.next()),
                capacity: ask.capacity,
                weight: ask.weight,
                ttl,
                at_least: ask.terms.at_least,
                raise: None,
                meta: Meta { owner: Arc::clone(&shared.owner), payload: ask.terms.payload.clone() },
            };
            let mut attempt = Attempt::new(self, claim, at_most, now);
            let waited = match attempt.join(now, until).await {
                Ok(Joined::Held(token)) => Waited::Held(token),
                Ok(Joined::Queued) if matches!(patience, Patience::None) => Waited::OutOfPatience,
                Ok(Joined::Queued) => {
                    let waited = attempt.wait(until).await;
                    if !matches!(waited, Waited::Held(_)) {
                        give_up = shared.env.now() + ttl;
                    }
                    waited
                }
                Ok(Joined::Again) => Waited::Again,
                Ok(Joined::OutOfPatience) => Waited::OutOfPatience,
                Err(error) => Waited::Failed(error),
            };
            match waited {
                Waited::Held(token) => return Ok(Some(attempt.succeed(token, began))),
                Waited::Again => now = shared.env.now(),
                Waited::Failed(error) => {
                    now = shared.env.now();
                    let retry = error.is_transient() && !matches!(patience, Patience::None);
                    if !retry || now >= give_up.min(until) {
                        return Err(error.with("lock", ask.name));
                    }
                }
                Waited::OutOfPatience => {
                    if shared.observer.is_some() {
                        shared.tell(attempt.hold(), What::TimedOut { waited: shared.env.now().since(began) });
                    }
                    return Ok(None);
                }
            }
        }
    }

    /// Lets go in the caller's own task.
    pub(crate) async fn release(&self, hold: &Arc<Hold>) -> Result<()> {
        let shared = self.shared();
        let now = shared.env.now();
        // Whoever has a guard can only find it released if the client was shut down under it.
        let Some((held, valid)) = shared.strike(hold, now) else { return Err(lost(&hold.claim.name)) };
        shared.tell(hold, What::Released { held });
        if (shared.rules.leaves)() {
            // Whatever happens from here on, the driver says it again until it is certain.
            let mut insurance = Insurance { client: self, hold, paid: false };
            let mut call = shared.engine.leave(slice::from_ref(&hold.leave));
            match race(&mut call, &*shared.env.clock, hold.dead_by(now))
                .await
                .map(|mut answers| answers.pop())
            {
                Some(Some(Ok(()))) => insurance.paid = true,
                // That it was lost is the graver news.
                _ if !valid => {}
                Some(Some(Err(error))) => return Err(error.with("lock", &hold.claim.name)),
                Some(None) => return Err(no_answer("release")),
                None => return Err(unanswered("release").with("lock", &hold.claim.name)),
            }
        }
        if valid { Ok(()) } else { Err(lost(&hold.claim.name)) }
    }
}

fn closed() -> Error {
    Error::new(ErrorKind::Closed, "lock", "the client has been shut down")
}

/// The error of a hold that ended too early.
pub(crate) fn lost(name: &Name) -> Error {
    Error::new(ErrorKind::Lost, "release", "the lock was lost before it was released")
        .with_outcome(Outcome::Applied)
        .with("lock", name)
}

fn unanswered(operation: &'static str) -> Error {
    Error::new(ErrorKind::Unavailable, operation, "the engine did not answer in time")
        .with_outcome(Outcome::Unknown)
}

/// How a `join` ended.
enum Joined {
    Held(Token),
    Queued,
    Again,
    OutOfPatience,
}

/// One claim on its way to being held. Dropped on the way, it is undone by the driver.
struct Attempt<'a> {
    client: &'a Client,
    /// `None` once it has become a guard's.
    hold: Option<Arc<Hold>>,
    call: Option<Reply<Standing>>,
    /// The engine may have the claim.
    known: bool,
}

impl<'a> Attempt<'a> {
    fn new(client: &'a Client, claim: Claim, at_most: Option<Duration>, now: Moment) -> Self {
        let hold = Some(Arc::new(Hold::new(claim, at_most, now)));
        Self { client, hold, call: None, known: false }
    }

    fn hold(&self) -> &Arc<Hold> {
        self.hold.as_ref().expect("an attempt that goes on has its hold")
    }

    /// Sends the `join` until it is answered, the claim could be dead, or the caller's patience ends: a dead
    /// claim's id is not used again.
    async fn join(&mut self, mut sent: Moment, until: Moment) -> Result<Joined> {
        let shared = self.client.shared();
        let (clock, rules) = (&*shared.env.clock, &shared.rules);
        let (mut pause, mut repeated) = (RETRY_PAUSE_MIN, false);
        // Later than this, an answer may be about a second life of the claim, queued anew by a repetition; a hint
        // from its first life would then be believed in.
        let hold = self.hold.as_ref().expect("an attempt that goes on has its hold");
        let life = hold.claim.waiting_ttl();
        let give_up = sent + life.saturating_sub(drift(life));
        loop {
            let call = self.call.insert(shared.engine.join(slice::from_ref(&hold.claim)));
            let answer = match race(call, clock, give_up.min(until)).await {
                Some(mut answers) => answers.pop().unwrap_or_else(|| Err(no_answer("lock"))),
                None if shared.env.now() >= until => return Ok(Joined::OutOfPatience),
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
                Ok(Standing::Refused(why)) => return Err(refused(&hold.claim, &why)),
                Ok(_) if !(rules.in_time)(now, give_up) => return Ok(Joined::Again),
                Ok(standing) => {
                    if let Standing::Queued { ahead, .. } = standing {
                        shared.tell(hold, What::Queued { ahead });
                    }
                    let token = if let Standing::Held { token, .. } = standing { Some(token) } else { None };
                    let (heard, next) = hold.hear(Ok(standing), sent, now, rules);
                    let joined = match (heard, token) {
                        (Heard::Renewed(_), Some(token)) => Joined::Held(token),
                        (Heard::Nothing, None) => Joined::Queued,
                        _ => return Ok(Joined::Again),
                    };
                    if !shared.roll.enter(hold, next) {
                        return Err(closed());
                    }
                    return Ok(joined);
                }
            };
            let next = now + pause;
            if !error.is_transient() || next >= give_up.min(until) {
                return Err(error);
            }
            clock.sleep_until(next).await;
            pause = (pause * 2).min(hold.claim.waiting_ttl() / 6);
            sent = shared.env.now();
            repeated = true;
        }
    }

    /// Waits in the queue.
    async fn wait(&mut self, until: Moment) -> Waited {
        let shared = self.client.shared();
        let hold = self.hold();
        let mut hints: Option<Hints> = Some(shared.engine.watch(&hold.leave.claim));
        let mut patience: Option<Sleep> = None;
        poll_fn(|cx| {
            // Hints come first: nearly always it is one that ends the waiting.
            while let Some(stream) = &mut hints {
                match stream.poll_next_unpin(cx) {
                    Poll::Ready(Some(hint)) => {
                        if let Some(token) = follow(shared, hold, hint) {
                            return Poll::Ready(Waited::Held(token));
                        }
                    }
                    Poll::Ready(None) => hints = None,
                    Poll::Pending => break,
                }
            }
            let mut state = hold.state();
            match &state.phase {
                // The news may be older than the claim: whoever was paused meanwhile must not start now.
                Phase::Held if !(shared.rules.in_time)(shared.env.now(), state.deadline) => {
                    return Poll::Ready(Waited::Again);
                }
                Phase::Held => {
                    let token = state.token.expect("a hold that has begun has a token");
                    return Poll::Ready(Waited::Held(token));
                }
                Phase::Joining | Phase::Waiting => state.waiter = Some(cx.waker().clone()),
                Phase::Ended(End::Failed(error)) => return Poll::Ready(Waited::Failed(error.clone())),
                Phase::Ended(_) => return Poll::Ready(Waited::Again),
            }
            drop(state);
            if until == Moment::NEVER {
                return Poll::Pending;
            }
            let patience = patience.get_or_insert_with(|| shared.env.clock.sleep_until(until));
            patience.as_mut().poll(cx).map(|()| Waited::OutOfPatience)
        })
        .await
    }

    /// The hold is the caller's.
    fn succeed(mut self, token: Token, began: Moment) -> Started {
        let hold = self.hold.take().expect("an attempt that goes on has its hold");
        let shared = self.client.shared();
        if shared.observer.is_some() {
            let waited = hold.state().started.since(began);
            shared.tell(&hold, What::Acquired { token, waited });
        }
        Started { hold, token }
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

/// Follows a hint: the hold begins under a token, or the driver looks.
fn follow(shared: &Shared, hold: &Arc<Hold>, hint: Hint) -> Option<Token> {
    // A fresh reading: whoever was paused since the hint was sent must not start.
    let now = shared.env.now();
    let (token, next) = match hint {
        Hint::Held(token) => {
            let (begun, next) = hold.hear_hint(token, now, &shared.rules);
            (begun.then_some(token), next)
        }
        Hint::Look => (None, hold.look(now)),
    };
    shared.roll.place(hold, next);
    token
}

/// What a capacity is used as.
fn kind_of(capacity: u32) -> String {
    match capacity {
        1 => "a mutex".into(),
        CAPACITY_MAX => "a reader/writer lock".into(),
        n => format!("a semaphore of {n}"),
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let Some(hold) = self.hold.take() else { return };
        if !self.known && self.call.is_none() {
            // There is nothing to undo.
            return;
        }
        let shared = self.client.shared();
        let now = shared.env.now();
        shared.strike(&hold, now);
        let leaving = hold.leaving(now);
        match self.call.take() {
            Some(call) => shared.roll.adopt(Orphan { call, leaving }),
            None => shared.roll.leave(leaving),
        }
    }
}

/// Queues the `leave` again unless it has been confirmed.
struct Insurance<'a> {
    client: &'a Client,
    hold: &'a Arc<Hold>,
    paid: bool,
}

impl Drop for Insurance<'_> {
    fn drop(&mut self) {
        if !self.paid {
            let shared = self.client.shared();
            shared.end(self.hold, shared.env.now());
        }
    }
}
