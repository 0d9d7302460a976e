//! The table of marks, and a transaction that has entered.

use std::ops::{Deref, DerefMut};

use leasehold_core::{Mode, Result};

use super::dialect;
use crate::{Error, Marks, Sequencer, Stale};

/// The name of the table, unless it is given another.
const NAME: &str = "leasehold_fence";

/// The table that keeps the marks, one row a lock. [`schema::table`](super::schema::table) makes it.
#[derive(Clone, Debug)]
pub struct Table {
    name: String,
    exclusive: Statements,
    shared: Statements,
    look: String,
}

#[derive(Clone, Debug)]
struct Statements {
    common: String,
    mysql: String,
}

/// A transaction of a client library in which a mark can be raised.
pub trait Transaction: Sized {
    /// The library's error.
    type Error;

    /// Raises the mark; what was seen instead, if the token is stale.
    #[doc(hidden)]
    fn raise(
        &mut self,
        table: &Table,
        who: &Sequencer,
    ) -> impl Future<Output = Result<Option<u64>, Self::Error>> + Send;
}

/// A transaction that has raised the mark: read and write through it.
#[derive(Debug)]
#[must_use = "nothing is written until it is committed"]
pub struct Entered<T> {
    tx: T,
}

impl Table {
    /// The table `leasehold_fence`.
    pub fn new() -> Self {
        Self::prepare(NAME)
    }

    /// A table of another name, such as `app.fence`.
    ///
    /// # Errors
    /// [`InvalidInput`](leasehold_core::ErrorKind::InvalidInput) if it is no plain name.
    pub fn named(name: &str) -> Result<Self> {
        dialect::identifier("table", name, 2)?;
        Ok(Self::prepare(name))
    }

    fn prepare(name: &str) -> Self {
        let statements =
            |mode| Statements { common: dialect::raise(name, mode), mysql: dialect::raise_mysql(name, mode) };
        Self {
            name: name.to_owned(),
            exclusive: statements(Mode::Exclusive),
            shared: statements(Mode::Shared),
            look: dialect::look(name),
        }
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Raises the mark of the guard's lock in a transaction that has just begun. Read and write through what it
    /// returns, and commit that.
    ///
    /// # Errors
    /// [`Error::Stale`] if a later holder has been there; the transaction is dropped, and so rolled back.
    ///
    /// # Cancel safety
    /// Dropped on the way, the transaction is dropped with it, and so rolled back.
    pub async fn enter<T: Transaction>(
        &self,
        who: impl Into<Sequencer>,
        mut tx: T,
    ) -> Result<Entered<T>, Error<T::Error>> {
        let who = who.into();
        let refused = tx.raise(self, &who).await.map_err(Error::Storage)?;
        Entered::unless(refused, &who, tx)
    }

    /// The statement for PostgreSQL and SQLite.
    #[allow(dead_code, reason = "not all features use it")]
    pub(super) fn raising(&self, mode: Mode) -> &str {
        &self.of(mode).common
    }

    /// The statement for MySQL.
    #[allow(dead_code, reason = "not all features use it")]
    pub(super) fn raising_mysql(&self, mode: Mode) -> &str {
        &self.of(mode).mysql
    }

    #[allow(dead_code, reason = "not all features use it")]
    pub(super) fn looking(&self) -> &str {
        &self.look
    }

    fn of(&self, mode: Mode) -> &Statements {
        match mode {
            Mode::Exclusive => &self.exclusive,
            Mode::Shared => &self.shared,
        }
    }
}

impl Default for Table {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Entered<T> {
    pub(super) fn unless<E>(refused: Option<u64>, who: &Sequencer, tx: T) -> Result<Self, Error<E>> {
        match refused {
            Some(seen) => Err(Stale { presented: who.token(), seen }.into()),
            None => Ok(Self { tx }),
        }
    }

    /// The transaction alone, as by the library.
    pub fn into_inner(self) -> T {
        self.tx
    }
}

impl<T> Deref for Entered<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.tx
    }
}

impl<T> DerefMut for Entered<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.tx
    }
}

/// A token as the databases keep it: it is below 2^53.
#[allow(dead_code, reason = "not all features use it")]
pub(super) fn number(who: &Sequencer) -> i64 {
    who.token().get().cast_signed()
}

/// What kept a token out, from the row that was found.
#[allow(dead_code, reason = "not all features use it")]
pub(super) fn seen(row: Option<(i64, i64)>, mode: Mode) -> u64 {
    let (exclusive, shared) = row.unwrap_or_default();
    Marks::new(exclusive.cast_unsigned(), shared.cast_unsigned()).barrier(mode)
}
