//! Under the SQLite engine: a row in a table, inserted to lock and deleted to release, each in a transaction of its
//! own, on one connection for all tasks. No token, no queue, no TTL; whoever finds the row there asks again.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use leasehold_core::{Env, Error, ErrorKind, Result};
use rusqlite::{Connection, params};

use crate::entrant::{Locker, Seat};

/// The pause before a held lock is asked for again.
const POLL_EVERY: Duration = Duration::from_millis(1);
/// How long SQLite's own busy handler tries, when another process writes.
const BUSY: Duration = Duration::from_secs(60);
/// The database's name.
const FILE: &str = "bare.db";

/// When SQLite waits for the disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Synchronous {
    /// At checkpoints.
    Normal,
    /// At every commit.
    Full,
}

impl Synchronous {
    /// The word that `PRAGMA synchronous` knows it by.
    pub fn word(self) -> &'static str {
        match self {
            Self::Normal => "NORMAL",
            Self::Full => "FULL",
        }
    }
}

/// A table of held locks.
#[derive(Debug)]
pub(crate) struct Bare {
    connection: Arc<Mutex<Connection>>,
    /// Processes that share the file have names of their own.
    prefix: u128,
    env: Env,
}

impl Bare {
    /// Opens or makes the table, in a file under `place`.
    pub(crate) fn open(place: &Path, synchronous: Synchronous, env: &Env) -> Result<Self> {
        let open = || -> rusqlite::Result<Connection> {
            let connection = Connection::open(place.join(synchronous.word()).with_extension(FILE))?;
            connection.busy_timeout(BUSY)?;
            connection.pragma_update(None, "journal_mode", "WAL")?;
            connection.pragma_update(None, "synchronous", synchronous.word())?;
            connection.execute(
                "CREATE TABLE IF NOT EXISTS lock (name TEXT PRIMARY KEY, token INTEGER) WITHOUT ROWID",
                [],
            )?;
            Ok(connection)
        };
        let connection = open().map_err(refused)?;
        Ok(Self { connection: Arc::new(Mutex::new(connection)), prefix: env.rng.next(), env: env.clone() })
    }
}

fn refused(error: rusqlite::Error) -> Error {
    Error::new(ErrorKind::Unexpected, "floor", "bare SQLite failed").with_source(error)
}

/// One task's row.
#[derive(Debug)]
pub(crate) struct BareSeat {
    connection: Arc<Mutex<Connection>>,
    name: String,
    env: Env,
}

impl Locker for Bare {
    type Seat = BareSeat;

    async fn seat(&self, name: &str) -> Result<BareSeat> {
        let name = format!("{:032x}/{name}", self.prefix);
        Ok(BareSeat { connection: Arc::clone(&self.connection), name, env: self.env.clone() })
    }

    fn requests(&self) -> Option<u64> {
        None
    }
}

impl BareSeat {
    /// Runs one statement, which is one transaction; how many rows it changed.
    fn execute(&self, sql: &str) -> Result<usize> {
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let mut statement = connection.prepare_cached(sql).map_err(refused)?;
        statement.execute(params![self.name]).map_err(refused)
    }
}

impl Seat for BareSeat {
    async fn acquire(&mut self) -> Result<()> {
        while self.execute("INSERT OR IGNORE INTO lock (name, token) VALUES (?1, 1)")? == 0 {
            self.env.clock.sleep_until(self.env.now() + POLL_EVERY).await;
        }
        Ok(())
    }

    async fn release(&mut self) -> Result<()> {
        match self.execute("DELETE FROM lock WHERE name = ?1")? {
            1 => Ok(()),
            _ => Err(Error::new(ErrorKind::Unexpected, "floor", "somebody else deleted the lock")),
        }
    }
}
