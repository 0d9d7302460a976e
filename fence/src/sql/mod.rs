//! SQL: the mark is a row, raised inside the caller's own transaction.
//!
//! The row stays locked until the transaction ends, so check, reads and writes are one: a holder that has been
//! overtaken cannot slip in between, and one that overtakes waits.
//! ```no_run
//! # #[cfg(feature = "tokio-postgres")]
//! # async fn example(guard: &leasehold_core::Guard, client: &mut tokio_postgres::Client) -> Result<(), Box<dyn std::error::Error>> {
//! let fence = leasehold_fence::sql::Table::new();
//! let tx = fence.enter(guard, client.transaction().await?).await?; // raises; then read and write under it
//! tx.execute("UPDATE stock SET left = left - 1 WHERE id = 42", &[]).await?;
//! tx.commit().await?;
//! # Ok(()) }
//! ```
//! # What it costs
//! One statement a transaction, and the row of a lock is written each time it is entered. Transactions under one lock
//! run one after the other, readers too.
//!
//! # What it cannot see
//! * Writes of code that does not enter: [`schema::triggers`] has the database refuse them.
//! * On MySQL under REPEATABLE READ, and on any database if you read **before** you enter: what was read then may be
//!   old. Enter first. PostgreSQL and SQLite fail such a transaction themselves, MySQL does not.
//! * A database that was restored from a backup: its marks are as old as its data.

mod column;
mod dialect;
#[cfg(feature = "mysql_async")]
mod mysql_async;
#[cfg(feature = "rusqlite")]
mod rusqlite;
pub mod schema;
#[cfg(feature = "sqlx")]
mod sqlx;
mod table;
#[cfg(feature = "tokio-postgres")]
mod tokio_postgres;

pub use column::Column;
pub use dialect::Dialect;
#[cfg(feature = "rusqlite")]
pub use rusqlite::declare;
pub use table::{Entered, Table, Transaction};
