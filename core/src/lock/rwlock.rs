//! The reader/writer lock: a reader weighs 1, a writer all of the capacity.

use std::time::Duration;

use super::{Guard, Lease, Mode, acquire, acquire_now, patience, run_under, terms};
use crate::claim::CAPACITY_MAX;
use crate::client::{Ask, Client, Patience, Terms};
use crate::error::Result;
use crate::name::Name;

/// A lock that many readers or one writer have at a time. Readers that come after a waiting writer wait behind
/// it, so writers do not starve.
#[derive(Clone, Debug)]
pub struct RwLock {
    client: Client,
    name: Name,
    terms: Terms,
}

impl Client {
    /// A reader/writer lock.
    ///
    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for a bad name; see [`Name::new`].
    pub fn rwlock(&self, name: &str) -> Result<RwLock> {
        Ok(RwLock { client: self.clone(), name: Name::new(name)?, terms: Terms::default() })
    }
}

impl RwLock {
    terms!();

    /// Waits in the queue until the lock is held for reading, together with other readers.
    ///
    /// # Errors
    /// As [`Mutex::lock`](super::Mutex::lock).
    ///
    /// # Cancel safety
    /// Dropped on the way, it loses its place; nothing is left behind.
    pub async fn read(&self) -> Result<Guard> {
        acquire_now(&self.client, self.ask(Mode::Shared), Guard::new(Mode::Shared)).await
    }

    /// Locks for reading if that needs no waiting; `None` if it does.
    ///
    /// # Errors
    /// As [`Mutex::lock`](super::Mutex::lock).
    ///
    /// # Cancel safety
    /// Dropped on the way, nothing is left behind.
    pub async fn try_read(&self) -> Result<Option<Guard>> {
        acquire(&self.client, self.ask(Mode::Shared), Patience::None, Guard::new(Mode::Shared)).await
    }

    /// Waits in the queue for at most `span`; `None` if that was not enough.
    ///
    /// # Errors
    /// As [`Mutex::lock`](super::Mutex::lock).
    ///
    /// # Cancel safety
    /// Dropped on the way, it loses its place; nothing is left behind.
    pub async fn read_timeout(&self, span: Duration) -> Result<Option<Guard>> {
        acquire(&self.client, self.ask(Mode::Shared), patience(span), Guard::new(Mode::Shared)).await
    }

    /// Locks for reading, does the work, releases; cancels the work if the lock is lost.
    ///
    /// # Errors
    /// As [`Mutex::run`](super::Mutex::run).
    ///
    /// # Cancel safety
    /// Dropped on the way, the work is dropped and the lock released in the background.
    pub async fn run_read<T, Fut>(&self, work: impl FnOnce(Lease) -> Fut) -> Result<T>
    where
        Fut: Future<Output = T>,
    {
        run_under(self.read().await?, work).await
    }

    /// Waits in the queue until the lock is held for writing, alone.
    ///
    /// # Errors
    /// As [`Mutex::lock`](super::Mutex::lock).
    ///
    /// # Cancel safety
    /// Dropped on the way, it loses its place; nothing is left behind.
    pub async fn write(&self) -> Result<Guard> {
        acquire_now(&self.client, self.ask(Mode::Exclusive), Guard::new(Mode::Exclusive)).await
    }

    /// Locks for writing if that needs no waiting; `None` if it does.
    ///
    /// # Errors
    /// As [`Mutex::lock`](super::Mutex::lock).
    ///
    /// # Cancel safety
    /// Dropped on the way, nothing is left behind.
    pub async fn try_write(&self) -> Result<Option<Guard>> {
        acquire(&self.client, self.ask(Mode::Exclusive), Patience::None, Guard::new(Mode::Exclusive)).await
    }

    /// Waits in the queue for at most `span`; `None` if that was not enough.
    ///
    /// # Errors
    /// As [`Mutex::lock`](super::Mutex::lock).
    ///
    /// # Cancel safety
    /// Dropped on the way, it loses its place; nothing is left behind.
    pub async fn write_timeout(&self, span: Duration) -> Result<Option<Guard>> {
        acquire(&self.client, self.ask(Mode::Exclusive), patience(span), Guard::new(Mode::Exclusive)).await
    }

    /// Locks for writing, does the work, releases; cancels the work if the lock is lost.
    ///
    /// # Errors
    /// As [`Mutex::run`](super::Mutex::run).
    ///
    /// # Cancel safety
    /// Dropped on the way, the work is dropped and the lock released in the background.
    pub async fn run_write<T, Fut>(&self, work: impl FnOnce(Lease) -> Fut) -> Result<T>
    where
        Fut: Future<Output = T>,
    {
        run_under(self.write().await?, work).await
    }

    fn ask(&self, mode: Mode) -> Ask<'_> {
        let weight = match mode {
            Mode::Exclusive => CAPACITY_MAX,
            Mode::Shared => 1,
        };
        Ask { name: &self.name, capacity: CAPACITY_MAX, weight, terms: &self.terms }
    }
}
