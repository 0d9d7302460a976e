//! What a caller holds while its claim is held.

use std::fmt;
use std::ops::Deref;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use super::Under;
use crate::claim::ClaimId;
use crate::client::hold::{Hold, Phase};
use crate::client::{Client, Started};
use crate::clock::Moment;
use crate::error::Result;
use crate::name::Name;
use crate::token::Token;

/// How a lock is held. It travels with the token: a fence treats the two differently.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// By nobody else.
    Exclusive,
    /// By readers.
    Shared,
}

/// A view of a hold: its token, how long it is still valid, and news of its end. Local, no I/O. Clones look at
/// the same hold; it ends with its guard, not with its views.
///
/// # Fencing
/// A valid lease is a statement about this process's clock a moment ago. The process may be paused between the
/// check and the write: only the token, checked by the storage, protects data.
#[derive(Clone)]
pub struct Lease {
    client: Client,
    hold: Arc<Hold>,
    token: Token,
}

impl Lease {
    pub(super) fn new(client: &Client, started: Started) -> Self {
        Self { client: client.clone(), hold: started.hold, token: started.token }
    }

    /// The fencing token.
    pub fn token(&self) -> Token {
        self.token
    }

    /// The resource.
    pub fn name(&self) -> &Name {
        &self.hold.key().name
    }

    /// The claim's identity, as `inspect` shows it.
    pub fn id(&self) -> ClaimId {
        self.hold.key().id
    }

    /// When the hold ends unless it is renewed, on the client's clock.
    ///
    /// # Clock
    /// The boot-time clock, from before the request that renewed it was sent, less the drift allowed for
    /// (0.2 % of the TTL and 2 ms).
    pub fn deadline(&self) -> Moment {
        self.hold.state().deadline
    }

    /// How long the hold is valid without another renewal; zero once it is over.
    pub fn remaining(&self) -> Duration {
        let state = self.hold.state();
        if matches!(state.phase, Phase::Held) {
            state.deadline.since(self.client.shared().env.now())
        } else {
            Duration::ZERO
        }
    }

    /// Whether the hold is valid now.
    pub fn is_valid(&self) -> bool {
        self.hold.is_valid(self.client.shared().env.now())
    }

    /// Resolves when the hold is over: lost, past its deadline, or released.
    ///
    /// # Cancel safety
    /// May be dropped and called again at any time.
    pub async fn lost(&self) {
        self.until(|state, now| !matches!(state.phase, Phase::Held) || now >= state.deadline).await;
    }

    /// Resolves when half of the validity is gone without a renewal, or when the hold is over.
    ///
    /// # Cancel safety
    /// May be dropped and called again at any time.
    pub async fn at_risk(&self) {
        self.until(|state, now| {
            !matches!(state.phase, Phase::Held) || state.at_risk || now >= state.deadline
        })
        .await;
    }

    /// Resolves when the deadline is later than `than`, or when the hold is over.
    ///
    /// # Cancel safety
    /// May be dropped and called again at any time.
    pub async fn renewed(&self, than: Moment) {
        self.until(|state, now| {
            !matches!(state.phase, Phase::Held) || state.deadline > than || now >= state.deadline
        })
        .await;
    }

    /// Resolves when `so` is true, looked at upon every change and at the deadline.
    async fn until(&self, so: impl Fn(&crate::client::hold::State, Moment) -> bool) {
        loop {
            let mut changed = pin!(self.hold.changed.notified());
            changed.as_mut().enable();
            let deadline = {
                let mut state = self.hold.state();
                state.watched = true;
                if so(&state, self.client.shared().env.now()) {
                    return;
                }
                state.deadline
            };
            tokio::select! {
                biased;
                () = changed => {}
                () = self.client.shared().env.clock.sleep_until(deadline) => {}
            }
        }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("name", self.name())
            .field("token", &self.token)
            .field("remaining", &self.remaining())
            .finish_non_exhaustive()
    }
}

/// A held mutex, or a held side of a reader/writer lock. Released when dropped, in the background; use
/// [`release`](Self::release) to know that it is.
#[must_use = "the lock is released as soon as its guard is dropped"]
pub struct Guard {
    mode: Mode,
    held: Held,
}

/// A held share of a semaphore. Its token orders grants, but fences nothing: several permits are valid at once.
#[must_use = "the permit is released as soon as it is dropped"]
pub struct Permit {
    held: Held,
}

/// A lease, and the duty to let go of it.
struct Held {
    lease: Lease,
    /// Somebody else has taken over the duty.
    relieved: bool,
}

impl Held {
    fn new(lease: Lease) -> Self {
        Self { lease, relieved: false }
    }

    /// The last thing that is done with it.
    async fn release(&mut self) -> Result<()> {
        self.relieved = true;
        self.lease.client.release(&self.lease.hold).await
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.relieved {
            return;
        }
        let shared = self.lease.client.shared();
        shared.let_go(&self.lease.hold, shared.env.now());
    }
}

impl Guard {
    pub(super) fn new(mode: Mode) -> impl FnOnce(Lease) -> Self {
        move |lease| Self { mode, held: Held::new(lease) }
    }

    /// Exclusive or shared.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Releases, and returns when the engine has confirmed it.
    ///
    /// # Errors
    /// [`Lost`](crate::ErrorKind::Lost) if the hold was over before: what was done under it may have met
    /// another holder. Otherwise what the engine says; the release is then repeated in the background until the
    /// TTL has passed.
    ///
    /// # Cancel safety
    /// Dropped on the way, it is released in the background.
    pub async fn release(mut self) -> Result<()> {
        self.held.release().await
    }
}

impl Permit {
    pub(super) fn new(lease: Lease) -> Self {
        Self { held: Held::new(lease) }
    }

    /// Releases, and returns when the engine has confirmed it.
    ///
    /// # Errors
    /// As [`Guard::release`].
    ///
    /// # Cancel safety
    /// Dropped on the way, it is released in the background.
    pub async fn release(mut self) -> Result<()> {
        self.held.release().await
    }
}

impl Under for Guard {
    async fn let_go(self) -> Result<()> {
        self.release().await
    }
}

impl Under for Permit {
    async fn let_go(self) -> Result<()> {
        self.release().await
    }
}

impl Deref for Guard {
    type Target = Lease;

    fn deref(&self) -> &Lease {
        &self.held.lease
    }
}

impl Deref for Permit {
    type Target = Lease;

    fn deref(&self) -> &Lease {
        &self.held.lease
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Guard").field(&self.mode).field(&self.held.lease).finish()
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Permit").field(&self.held.lease).finish()
    }
}
