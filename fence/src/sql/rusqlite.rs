//! SQLite with rusqlite, which knows no `await`.

use rusqlite::functions::FunctionFlags;
use rusqlite::{Connection, OptionalExtension, Transaction};

use super::schema::SQLITE_FUNCTION;
use super::table::{number, seen};
use super::{Entered, Table};
use crate::{Error, Sequencer};

impl Table {
    /// As [`enter`](Self::enter), without async.
    ///
    /// A transaction that has read before and whose view is old by now is refused by SQLite as busy; begin it with
    /// [`Immediate`](rusqlite::TransactionBehavior::Immediate) or enter first.
    ///
    /// # Errors
    /// [`Error::Stale`] if a later holder has been there; the transaction is dropped, and so rolled back.
    pub fn enter_blocking<'c>(
        &self,
        who: impl Into<Sequencer>,
        tx: Transaction<'c>,
    ) -> Result<Entered<Transaction<'c>>, Error<rusqlite::Error>> {
        let who = who.into();
        let refused = self.raise_sqlite(&who, &tx).map_err(Error::Storage)?;
        Entered::unless(refused, &who, tx)
    }

    fn raise_sqlite(&self, who: &Sequencer, tx: &Transaction<'_>) -> rusqlite::Result<Option<u64>> {
        let name = who.name().as_str();
        let raised = tx.prepare_cached(self.raising(who.mode()))?.execute((name, number(who)))?;
        if raised > 0 {
            return Ok(None);
        }
        let row = tx
            .prepare_cached(self.looking())?
            .query_row([name], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        Ok(Some(seen(row, who.mode())))
    }
}

impl Entered<Transaction<'_>> {
    /// Commits what was written.
    ///
    /// # Errors
    /// Whatever SQLite says.
    pub fn commit(self) -> rusqlite::Result<()> {
        self.into_inner().commit()
    }
}

/// Tells the [triggers](super::schema::triggers) of this database on behalf of whom this connection writes from now on;
/// `None` is nobody, and then they refuse.
///
/// # Errors
/// Whatever SQLite says.
pub fn declare(connection: &Connection, who: Option<Sequencer>) -> rusqlite::Result<()> {
    let token = who.as_ref().map(number);
    connection.create_scalar_function(SQLITE_FUNCTION, 0, FunctionFlags::SQLITE_UTF8, move |_| Ok(token))
}
