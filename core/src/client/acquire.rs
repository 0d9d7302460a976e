//! How a caller comes to hold a claim, and how it lets go: the futures that are polled in the caller's own task.

use std::slice;
use std::sync::Arc;
use std::time::Duration;

use crate::claim::{Claim, ClaimId, ClaimRef, Meta};
use crate::client::ask::{Ask, Patience};
use crate::client::hold::Hold;
use crate::client::join::{Joined, Joining};
use crate::client::race::race;
use crate::client::wait::Waiting;
use crate::client::{Client, Shared, closed, no_answer, unanswered};
use crate::clock::Moment;
use crate::error::{Error, ErrorKind, Outcome, Result};
use crate::name::Name;
use crate::observe::What;
use crate::token::Token;

/// A hold that has begun.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) hold: Arc<Hold>,
    pub(crate) token: Token,
}

/// What a claim has come to.
pub(super) enum Came<T> {
    /// It is held.
    Held(T),
    /// It is dead: once more with another, at the end of the queue.
    Again,
    /// It took longer than the caller's patience.
    OutOfPatience,
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
            if !shared.roll.begin() {
                return Err(closed());
            }
            let id = ClaimId(shared.env.rng.next());
            let mut joining = Joining::begun(self, self.claim(ask, id, ttl));
            let joined = joining.answer(at_most, now, until).await;
            drop(joining);
            let came = match joined {
                Ok(Joined::Queued(hold)) => {
                    let waiting = Waiting::new(self, hold);
                    let came = match patience {
                        Patience::None => Ok(Came::OutOfPatience),
                        Patience::For(_) | Patience::Endless => waiting.wait(until).await,
                    };
                    if !matches!(came, Ok(Came::Held(_))) {
                        give_up = shared.env.now() + ttl;
                    }
                    came
                }
                Ok(Joined::Over(came)) => Ok(came),
                Err(error) => Err(error),
            };
            match came {
                Ok(Came::Held(started)) => {
                    if shared.observer.is_some() {
                        let waited = started.hold.state().started.since(began);
                        let token = started.token;
                        shared.tell(started.hold.key(), What::Acquired { token, waited });
                    }
                    return Ok(Some(started));
                }
                Ok(Came::Again) => now = shared.env.now(),
                Ok(Came::OutOfPatience) => {
                    if shared.observer.is_some() {
                        let key = ClaimRef { name: ask.name.clone(), id };
                        shared.tell(&key, What::TimedOut { waited: shared.env.now().since(began) });
                    }
                    return Ok(None);
                }
                Err(error) => {
                    now = shared.env.now();
                    let retry = error.is_transient() && !matches!(patience, Patience::None);
                    if !retry || now >= give_up.min(until) {
                        return Err(error.with("lock", ask.name));
                    }
                }
            }
        }
    }

    /// A claim that nobody has heard of yet.
    fn claim(&self, ask: Ask<'_>, id: ClaimId, ttl: Duration) -> Claim {
        Claim {
            name: ask.name.clone(),
            id,
            capacity: ask.capacity,
            weight: ask.weight,
            ttl,
            at_least: ask.terms.at_least,
            raise: None,
            meta: Meta { owner: Arc::clone(&self.shared().owner), payload: ask.terms.payload.clone() },
        }
    }

    /// Lets go in the caller's own task.
    pub(crate) async fn release(&self, hold: &Arc<Hold>) -> Result<()> {
        let shared = self.shared();
        let now = shared.env.now();
        // Whoever has a guard can only find it released if the client was shut down under it.
        let Some((held, valid)) = hold.release(now) else { return Err(lost(&hold.key().name)) };
        shared.tell(hold.key(), What::Released { held });
        let mut leaving = Leaving { shared, hold, confirmed: !(shared.rules.leaves)() };
        if !leaving.confirmed {
            let mut call = shared.engine.leave(slice::from_ref(&hold.leave));
            match race(&mut call, &*shared.env.clock, hold.dead_by(now))
                .await
                .map(|mut answers| answers.pop())
            {
                Some(Some(Ok(()))) => leaving.confirmed = true,
                // That it was lost is the graver news.
                _ if !valid => {}
                Some(Some(Err(error))) => return Err(error.with("lock", &hold.key().name)),
                Some(None) => return Err(no_answer("release")),
                None => return Err(unanswered("release").with("lock", &hold.key().name)),
            }
        }
        if valid { Ok(()) } else { Err(lost(&hold.key().name)) }
    }
}

/// The error of a hold that ended too early.
pub(crate) fn lost(name: &Name) -> Error {
    Error::new(ErrorKind::Lost, "release", "the lock was lost before it was released")
        .with_outcome(Outcome::Applied)
        .with("lock", name)
}

/// A claim that is being left, on the roll until that is confirmed. If it is not, the driver says it again until it is
/// certain.
struct Leaving<'a> {
    shared: &'a Shared,
    hold: &'a Arc<Hold>,
    confirmed: bool,
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        if !self.confirmed {
            self.shared.end(self.hold, self.shared.env.now());
        }
        self.shared.roll.strike(self.hold);
    }
}
