//! MySQL and MariaDB with mysql_async.

use mysql_async::prelude::Queryable;
use mysql_async::{Error, Transaction};

use super::table::number;
use super::{Entered, Table};
use crate::Sequencer;

impl super::Transaction for Transaction<'_> {
    type Error = Error;

    async fn raise(&mut self, table: &Table, who: &Sequencer) -> Result<Option<u64>, Error> {
        let (name, token) = (who.name().as_str().as_bytes(), number(who));
        self.exec_drop(table.raising_mysql(who.mode()), (name, token, token, token)).await?;
        Ok(self.last_insert_id().filter(|&seen| seen > 0))
    }
}

impl Entered<Transaction<'_>> {
    /// Commits what was written.
    ///
    /// # Errors
    /// Whatever the server says; if it says nothing, whether it was committed is unknown.
    ///
    /// # Cancel safety
    /// Dropped on the way, it may or may not be committed.
    pub async fn commit(self) -> Result<(), Error> {
        self.into_inner().commit().await
    }
}
