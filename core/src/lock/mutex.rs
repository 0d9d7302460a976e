//! The mutex: capacity 1.

use std::time::Duration;

use super::{Guard, Lease, Mode, acquire, acquire_now, patience, run_under, terms};
use crate::client::{Ask, Client, Patience, Terms};
use crate::error::Result;
use crate::name::Name;

/// A lock that one holder has at a time. Makes no request until it is asked for.
#[derive(Clone, Debug)]
pub struct Mutex {
    client: Client,
    name: Name,
    terms: Terms,
}

impl Client {
    /// A mutex.
    ///
    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for a bad name; see [`Name::new`].
    pub fn mutex(&self, name: &str) -> Result<Mutex> {
        Ok(Mutex { client: self.clone(), name: Name::new(name)?, terms: Terms::default() })
    }
}

impl Mutex {
    terms!();

    /// Waits in the queue until the lock is held.
    ///
    /// # Errors
    /// Bad terms, before anything is sent; [`Refused`](crate::ErrorKind::Refused) if the name is in use as
    /// another kind of lock; what the engine says, if it says it for a whole TTL.
    ///
    /// # Cancel safety
    /// Dropped on the way, it loses its place; nothing is left behind.
    pub async fn lock(&self) -> Result<Guard> {
        acquire_now(&self.client, self.ask(), Guard::new(Mode::Exclusive)).await
    }

    /// Locks if nobody else has or wants the lock; `None` if somebody does.
    ///
    /// # Errors
    /// As [`lock`](Self::lock).
    ///
    /// # Cancel safety
    /// Dropped on the way, nothing is left behind.
    pub async fn try_lock(&self) -> Result<Option<Guard>> {
        acquire(&self.client, self.ask(), Patience::None, Guard::new(Mode::Exclusive)).await
    }

    /// Waits in the queue for at most `span`; `None` if that was not enough.
    ///
    /// # Errors
    /// As [`lock`](Self::lock).
    ///
    /// # Cancel safety
    /// Dropped on the way, it loses its place; nothing is left behind.
    pub async fn lock_timeout(&self, span: Duration) -> Result<Option<Guard>> {
        acquire(&self.client, self.ask(), patience(span), Guard::new(Mode::Exclusive)).await
    }

    /// Locks, does the work, releases. The work is cancelled (dropped) as soon as the lock is lost.
    ///
    /// # Errors
    /// As [`lock`](Self::lock), and [`Lost`](crate::ErrorKind::Lost) if the work was cancelled.
    ///
    /// # Cancel safety
    /// Dropped on the way, the work is dropped and the lock released in the background.
    pub async fn run<T, Fut>(&self, work: impl FnOnce(Lease) -> Fut) -> Result<T>
    where
        Fut: Future<Output = T>,
    {
        run_under(self.lock().await?, work).await
    }

    fn ask(&self) -> Ask<'_> {
        Ask { name: &self.name, capacity: 1, weight: 1, terms: &self.terms }
    }
}
