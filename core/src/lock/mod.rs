//! What callers see: mutex, reader/writer lock and semaphore, all on the one rule, and their guards.

mod guard;
mod mutex;
mod rwlock;
mod semaphore;

use std::ops::Deref;
use std::time::Duration;

use crate::client::{Ask, Client, Patience};
use crate::error::Result;

pub use guard::{Guard, Lease, Mode, Permit};
pub use mutex::Mutex;
pub use rwlock::RwLock;
pub use semaphore::Semaphore;

/// The terms that every kind of lock takes, written once.
macro_rules! terms {
    () => {
        /// How long the hold lives after each renewal; the client's default if not set. A dead holder keeps the
        /// others out at most this long.
        #[must_use]
        pub fn ttl(mut self, ttl: std::time::Duration) -> Self {
            self.terms.ttl = Some(ttl);
            self
        }

        /// Keeps the others out at least this long, even if the lock is released or the process dies earlier:
        /// for a job that must not run twice because two clocks differ.
        #[must_use]
        pub fn at_least(mut self, span: std::time::Duration) -> Self {
            self.terms.at_least = span;
            self
        }

        /// Ends the hold this long after it began, however busy the holder is: it is lost then.
        #[must_use]
        pub fn at_most(mut self, span: std::time::Duration) -> Self {
            self.terms.at_most = Some(span);
            self
        }

        /// What onlookers are told beside the owner, such as a leader's address; at most 1,024 bytes.
        #[must_use]
        pub fn payload(mut self, payload: &str) -> Self {
            self.terms.payload = Some(payload.into());
            self
        }
    };
}
pub(crate) use terms;

/// Acquires and wraps.
async fn acquire<G>(
    client: &Client,
    ask: Ask<'_>,
    patience: Patience,
    wrap: impl FnOnce(Lease) -> G,
) -> Result<Option<G>> {
    let started = client.acquire(ask, patience).await?;
    Ok(started.map(|started| wrap(Lease::new(client, started))))
}

/// Acquires with endless patience and wraps.
async fn acquire_now<G>(client: &Client, ask: Ask<'_>, wrap: impl FnOnce(Lease) -> G) -> Result<G> {
    match client.acquire(ask, Patience::Endless).await? {
        Some(started) => Ok(wrap(Lease::new(client, started))),
        None => unreachable!("endless patience does not end"),
    }
}

/// What work can be run under.
trait Under: Deref<Target = Lease> {
    /// Releases, and returns when the engine has confirmed it.
    fn let_go(self) -> impl Future<Output = Result<()>> + Send;
}

/// Runs work under a guard: cancelled when the hold is lost, released when it is done.
async fn run_under<T, Fut>(guard: impl Under, work: impl FnOnce(Lease) -> Fut) -> Result<T>
where
    Fut: Future<Output = T>,
{
    let lease = Lease::clone(&guard);
    let done = tokio::select! {
        biased;
        () = lease.lost() => None,
        out = work(lease.clone()) => Some(out),
    };
    match done.filter(|_| lease.is_valid()) {
        Some(out) => {
            // Unconfirmed, the driver goes on with it; the work was done while the lock was held.
            drop(guard.let_go().await);
            Ok(out)
        }
        None => Err(crate::client::lost(lease.name())),
    }
}

fn patience(span: Duration) -> Patience {
    Patience::For(span)
}
