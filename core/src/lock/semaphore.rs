//! The semaphore: capacity n, weight k.

use std::time::Duration;

use super::{Lease, Permit, acquire, acquire_now, patience, run_under, terms};
use crate::client::{Ask, Client, Patience, Terms};
use crate::error::Result;
use crate::name::Name;

/// A number of permits that holders take and give back. Big requests are not starved by small ones that come
/// later.
#[derive(Clone, Debug)]
pub struct Semaphore {
    client: Client,
    name: Name,
    permits: u32,
    terms: Terms,
}

impl Client {
    /// A semaphore of so many permits; all users of the name must say the same number.
    ///
    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for a bad name; see [`Name::new`]. A bad number of
    /// permits is refused when they are asked for.
    pub fn semaphore(&self, name: &str, permits: u32) -> Result<Semaphore> {
        Ok(Semaphore { client: self.clone(), name: Name::new(name)?, permits, terms: Terms::default() })
    }
}

impl Semaphore {
    terms!();

    /// Waits in the queue for one permit.
    ///
    /// # Errors
    /// As [`acquire_many`](Self::acquire_many).
    ///
    /// # Cancel safety
    /// Dropped on the way, it loses its place; nothing is left behind.
    pub async fn acquire(&self) -> Result<Permit> {
        self.acquire_many(1).await
    }

    /// Takes one permit if that needs no waiting; `None` if it does.
    ///
    /// # Errors
    /// As [`acquire_many`](Self::acquire_many).
    ///
    /// # Cancel safety
    /// Dropped on the way, nothing is left behind.
    pub async fn try_acquire(&self) -> Result<Option<Permit>> {
        self.try_acquire_many(1).await
    }

    /// Waits in the queue for one permit for at most `span`; `None` if that was not enough.
    ///
    /// # Errors
    /// As [`acquire_many`](Self::acquire_many).
    ///
    /// # Cancel safety
    /// Dropped on the way, it loses its place; nothing is left behind.
    pub async fn acquire_timeout(&self, span: Duration) -> Result<Option<Permit>> {
        self.acquire_many_timeout(1, span).await
    }

    /// Waits in the queue for several permits, all at once.
    ///
    /// # Errors
    /// As [`Mutex::lock`](super::Mutex::lock); [`InvalidInput`](crate::ErrorKind::InvalidInput) for none or more
    /// than there are; [`Refused`](crate::ErrorKind::Refused) if others use the name with another number.
    ///
    /// # Cancel safety
    /// Dropped on the way, it loses its place; nothing is left behind.
    pub async fn acquire_many(&self, permits: u32) -> Result<Permit> {
        acquire_now(&self.client, self.ask(permits), Permit::new).await
    }

    /// Takes several permits if that needs no waiting; `None` if it does.
    ///
    /// # Errors
    /// As [`acquire_many`](Self::acquire_many).
    ///
    /// # Cancel safety
    /// Dropped on the way, nothing is left behind.
    pub async fn try_acquire_many(&self, permits: u32) -> Result<Option<Permit>> {
        acquire(&self.client, self.ask(permits), Patience::None, Permit::new).await
    }

    /// Waits in the queue for several permits for at most `span`; `None` if that was not enough.
    ///
    /// # Errors
    /// As [`acquire_many`](Self::acquire_many).
    ///
    /// # Cancel safety
    /// Dropped on the way, it loses its place; nothing is left behind.
    pub async fn acquire_many_timeout(&self, permits: u32, span: Duration) -> Result<Option<Permit>> {
        acquire(&self.client, self.ask(permits), patience(span), Permit::new).await
    }

    /// Takes one permit, does the work, gives it back; cancels the work if the permit is lost.
    ///
    /// # Errors
    /// As [`Mutex::run`](super::Mutex::run).
    ///
    /// # Cancel safety
    /// Dropped on the way, the work is dropped and the permit given back in the background.
    pub async fn run<T, Fut>(&self, work: impl FnOnce(Lease) -> Fut) -> Result<T>
    where
        Fut: Future<Output = T>,
    {
        run_under(self.acquire().await?, work).await
    }

    fn ask(&self, weight: u32) -> Ask<'_> {
        Ask { name: &self.name, capacity: self.permits, weight, terms: &self.terms }
    }
}
