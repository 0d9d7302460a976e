//! PostgreSQL, MySQL and MariaDB with sqlx.

use sqlx::mysql::MySql;
use sqlx::postgres::Postgres;
use sqlx::{AssertSqlSafe, Database, Error, Transaction};

use super::table::{number, seen};
use super::{Entered, Table};
use crate::Sequencer;

impl super::Transaction for Transaction<'_, Postgres> {
    type Error = Error;

    async fn raise(&mut self, table: &Table, who: &Sequencer) -> Result<Option<u64>, Error> {
        // The statement is ours, with the name of a table that has been checked.
        let raised = sqlx::query(AssertSqlSafe(table.raising(who.mode())))
            .bind(who.name().as_str())
            .bind(number(who))
            .execute(&mut **self)
            .await?;
        if raised.rows_affected() > 0 {
            return Ok(None);
        }
        let row = sqlx::query_as(AssertSqlSafe(table.looking()))
            .bind(who.name().as_str())
            .fetch_optional(&mut **self)
            .await?;
        Ok(Some(seen(row, who.mode())))
    }
}

impl super::Transaction for Transaction<'_, MySql> {
    type Error = Error;

    async fn raise(&mut self, table: &Table, who: &Sequencer) -> Result<Option<u64>, Error> {
        let token = number(who);
        let answer = sqlx::query(AssertSqlSafe(table.raising_mysql(who.mode())))
            .bind(who.name().as_str().as_bytes())
            .bind(token)
            .bind(token)
            .bind(token)
            .execute(&mut **self)
            .await?;
        Ok(Some(answer.last_insert_id()).filter(|&seen| seen > 0))
    }
}

impl<DB: Database> Entered<Transaction<'_, DB>> {
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
