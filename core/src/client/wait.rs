//! Waiting in the queue, in the caller's own task.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::StreamExt;

use crate::client::acquire::{Came, Started};
use crate::client::hold::{End, Hold, Phase};
use crate::client::{Client, Shared};
use crate::clock::{Moment, Sleep};
use crate::engine::{Hint, Hints};
use crate::error::Result;
use crate::token::Token;

/// A claim in the queue. Dropped on the way, it is undone by the driver.
pub(super) struct Waiting<'a> {
    client: &'a Client,
    /// `None` once it is its holder's.
    hold: Option<Arc<Hold>>,
}

impl<'a> Waiting<'a> {
    pub(super) fn new(client: &'a Client, hold: Arc<Hold>) -> Self {
        Self { client, hold: Some(hold) }
    }

    /// Waits until it is held. Must be polled first in the poll in which the `join` was answered: until then nothing
    /// had happened to the claim, and whatever happens from then on wakes that poll's waker.
    pub(super) async fn wait(mut self, until: Moment) -> Result<Came<Started>> {
        let shared = self.client.shared();
        let hold = self.hold.as_ref().expect("it is the holder's only when this is done");
        let mut hints = Some(shared.engine.watch(hold.key()));
        let mut patience: Option<Sleep> = None;
        let mut news = false;
        let came = poll_fn(|cx| {
            // Hints come first: nearly always it is one that ends the waiting.
            if let Some(token) = hear_hints(shared, hold, &mut hints, cx) {
                return Poll::Ready(Ok(Came::Held(token)));
            }
            if std::mem::replace(&mut news, true)
                && let Poll::Ready(came) = hear_driver(shared, hold, cx)
            {
                return Poll::Ready(came);
            }
            if until == Moment::NEVER {
                return Poll::Pending;
            }
            let patience = patience.get_or_insert_with(|| shared.env.clock.sleep_until(until));
            patience.as_mut().poll(cx).map(|()| Ok(Came::OutOfPatience))
        })
        .await?;
        Ok(match came {
            Came::Held(token) => match self.hold.take() {
                Some(hold) => Came::Held(Started { hold, token }),
                None => Came::Again,
            },
            Came::Again => Came::Again,
            Came::OutOfPatience => Came::OutOfPatience,
        })
    }
}

/// Reads the hints that there are; the token, if the hold has begun by one.
fn hear_hints(
    shared: &Shared,
    hold: &Arc<Hold>,
    hints: &mut Option<Hints>,
    cx: &mut Context<'_>,
) -> Option<Token> {
    while let Some(stream) = hints {
        match stream.poll_next_unpin(cx) {
            Poll::Ready(Some(hint)) => {
                if let Some(token) = follow(shared, hold, hint) {
                    return Some(token);
                }
            }
            Poll::Ready(None) => *hints = None,
            Poll::Pending => break,
        }
    }
    None
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

/// Looks at what the driver has learnt by asking.
fn hear_driver(shared: &Shared, hold: &Hold, cx: &mut Context<'_>) -> Poll<Result<Came<Token>>> {
    let mut state = hold.state();
    Poll::Ready(match (&state.phase, state.token) {
        (Phase::Waiting, _) => {
            state.waiter = Some(cx.waker().clone());
            return Poll::Pending;
        }
        // The news may be older than the claim: whoever was paused meanwhile must not start now.
        (Phase::Held, Some(token)) if (shared.rules.in_time)(shared.env.now(), state.deadline) => {
            Ok(Came::Held(token))
        }
        (Phase::Ended(End::Failed(error)), _) => Err(error.clone()),
        (Phase::Held | Phase::Ended(_), _) => Ok(Came::Again),
    })
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let Some(hold) = self.hold.take() else { return };
        let shared = self.client.shared();
        let now = shared.env.now();
        // Unless the client was shut down.
        if hold.release(now).is_some() {
            shared.end(&hold, now);
            shared.roll.strike(&hold);
        }
    }
}
