//! PostgreSQL with tokio-postgres.

use tokio_postgres::types::Type;
use tokio_postgres::{Error, Transaction};

use super::table::{number, seen};
use super::{Entered, Table};
use crate::Sequencer;

impl super::Transaction for Transaction<'_> {
    type Error = Error;

    async fn raise(&mut self, table: &Table, who: &Sequencer) -> Result<Option<u64>, Error> {
        let (name, token) = (who.name().as_str(), number(who));
        // With the types said, it takes one round trip.
        let raised = self
            .execute_typed(table.raising(who.mode()), &[(&name, Type::TEXT), (&token, Type::INT8)])
            .await?;
        if raised > 0 {
            return Ok(None);
        }
        let row = self.query_typed_opt(table.looking(), &[(&name, Type::TEXT)]).await?;
        let row = row.map(|row| Ok::<_, Error>((row.try_get(0)?, row.try_get(1)?))).transpose()?;
        Ok(Some(seen(row, who.mode())))
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
