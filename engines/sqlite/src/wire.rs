//! What is said to SQLite: the only file with SQL in it, besides the schema.

use std::sync::Arc;
use std::time::Duration;

use leasehold_core::ledger::Entry;
use leasehold_core::{ClaimId, Meta, Moment, Name, Token};
use rusqlite::config::DbConfig;
use rusqlite::types::{FromSqlError, Type};
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, Result, Row, params};

/// Marks the files that are ours: "lshd".
const APPLICATION_ID: i64 = 0x6c73_6864;
/// The version of the schema.
pub(crate) const VERSION: i64 = 1;
/// Smaller than usual, for every commit copies and sums up whole pages; large enough for a long name and payload.
const PAGE_BYTES: u32 = 2048;

/// A connection to a database.
#[derive(Debug)]
pub(crate) struct Wire {
    db: Connection,
}

/// What the one row of `meta` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// Which run of the machine the times belong to.
    pub boot: String,
    /// The runs before it.
    pub boots: String,
    /// The last token.
    pub token: u64,
    /// The token up to which the disk knows.
    pub ceiling: u64,
}

/// A stored claim.
#[derive(Debug)]
pub(crate) struct Stored {
    pub seq: i64,
    pub peer: i64,
    pub written: Moment,
    pub entry: Entry,
}

/// What a file turns out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sort {
    Ours,
    /// With this application id.
    Foreign(i64),
    /// Of a later release.
    Later(i64),
}

/// Whether a write transaction could begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begun {
    Yes,
    /// Somebody else writes.
    Busy,
}

impl Wire {
    /// Looks what sort of file this is, and changes nothing.
    pub(crate) fn inspect_file(path: &std::path::Path) -> Result<Sort> {
        let db = Connection::open_with_flags(
            path,
            OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )?;
        db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        db.busy_timeout(Duration::from_secs(5))?;
        let number = |pragma: &str| db.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
        let (id, version) = (number("application_id")?, number("user_version")?);
        Ok(match (id, version) {
            (APPLICATION_ID, VERSION) => Sort::Ours,
            (APPLICATION_ID, later) => Sort::Later(later),
            (other, _) => Sort::Foreign(other),
        })
    }

    /// Makes a whole database in a new file, flushed to the disk.
    pub(crate) fn create(path: &std::path::Path, head: &Head) -> Result<()> {
        let db = Connection::open(path)?;
        db.execute_batch(&format!(
            "PRAGMA page_size = {PAGE_BYTES}; PRAGMA synchronous = FULL; PRAGMA application_id = {APPLICATION_ID};
             PRAGMA user_version = {VERSION}; PRAGMA journal_mode = WAL; BEGIN; {}",
            include_str!("schema.sql")
        ))?;
        db.execute(
            "INSERT INTO meta VALUES (1, ?1, ?2, ?3, ?4)",
            params![head.boot, head.boots, signed(head.token), signed(head.ceiling)],
        )?;
        db.execute_batch("COMMIT")?;
        db.close().map_err(|(_, e)| e)
    }

    /// Opens a database of ours.
    pub(crate) fn open(path: &std::path::Path) -> Result<Self> {
        let db = Connection::open_with_flags(
            path,
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )?;
        db.set_prepared_statement_cache_capacity(32);
        // Without it SQLite plans a statement anew whenever a parameter changes, at five times its cost.
        db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        db.busy_timeout(Duration::ZERO)?;
        // The log is copied back by the upkeep, not in the middle of somebody's request.
        db.execute_batch("PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = 0;")?;
        Ok(Self { db })
    }

    /// How long SQLite itself waits for others.
    pub(crate) fn wait_when_busy(&self, span: Duration) -> Result<()> {
        self.db.busy_timeout(span)
    }

    /// Whether the file is sound.
    pub(crate) fn is_sound(&self) -> Result<bool> {
        let said: String = self.db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        Ok(said == "ok")
    }

    /// The file is no longer what its name stands for: closing must not tidy up files that now belong to another.
    pub(crate) fn disown(&self) {
        // It cannot fail on an open connection; if it did, closing would behave as SQLite usually does.
        let _ = self.db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
    }

    fn run(&self, sql: &str) -> Result<()> {
        self.db.prepare_cached(sql)?.execute([]).map(|_| ())
    }

    /// Begins a write transaction, if that is possible at once.
    pub(crate) fn begin(&self) -> Result<Begun> {
        match self.run("BEGIN IMMEDIATE") {
            Ok(()) => Ok(Begun::Yes),
            Err(e) if e.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => Ok(Begun::Busy),
            Err(e) => Err(e),
        }
    }

    /// Begins a read transaction.
    pub(crate) fn begin_read(&self) -> Result<()> {
        self.run("BEGIN")
    }

    pub(crate) fn commit(&self) -> Result<()> {
        self.run("COMMIT")
    }

    /// Ends a transaction without a trace, if there is one.
    pub(crate) fn roll_back(&self) {
        if !self.db.is_autocommit() {
            // Should it fail, the next `BEGIN` does too and tells why.
            let _ = self.run("ROLLBACK");
        }
    }

    /// From now on a commit returns once the disk has it, or not.
    pub(crate) fn flush_commits(&self, flush: bool) -> Result<()> {
        self.run(if flush { "PRAGMA synchronous = FULL" } else { "PRAGMA synchronous = NORMAL" })
    }

    /// A number that changes when another connection has committed.
    pub(crate) fn data_version(&self) -> Result<i64> {
        self.db.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))
    }

    pub(crate) fn head(&self) -> Result<Head> {
        self.db.prepare_cached("SELECT boot, boots, token, ceiling FROM meta WHERE one = 1")?.query_row(
            [],
            |row| {
                Ok(Head {
                    boot: row.get(0)?,
                    boots: row.get(1)?,
                    token: unsigned(row, 2)?,
                    ceiling: unsigned(row, 3)?,
                })
            },
        )
    }

    pub(crate) fn set_head(&self, head: &Head) -> Result<()> {
        self.db
            .prepare_cached("UPDATE meta SET boot = ?1, boots = ?2, token = ?3, ceiling = ?4 WHERE one = 1")?
            .execute(params![head.boot, head.boots, signed(head.token), signed(head.ceiling)])
            .map(|_| ())
    }

    pub(crate) fn set_token(&self, token: u64) -> Result<()> {
        self.db
            .prepare_cached("UPDATE meta SET token = ?1 WHERE one = 1")?
            .execute([signed(token)])
            .map(|_| ())
    }

    /// The claims of one resource, in order.
    pub(crate) fn claims(&self, name: &Name) -> Result<Vec<Stored>> {
        let mut claims = self.db.prepare_cached(
            "SELECT seq, peer, written_ns, id, capacity, weight, at_least_ns, joined_ns, deadline_ns, keep_ns, \
             token, revoked, owner, payload FROM claim WHERE name = ?1 ORDER BY seq",
        )?;
        claims.query_map([name.as_str()], stored)?.collect()
    }

    /// The first name that is not before `from`, or is behind it.
    pub(crate) fn name_from(&self, from: &str, behind: bool) -> Result<Option<String>> {
        let sql = if behind {
            "SELECT name FROM claim WHERE name > ?1 ORDER BY name LIMIT 1"
        } else {
            "SELECT name FROM claim WHERE name >= ?1 ORDER BY name LIMIT 1"
        };
        self.db.prepare_cached(sql)?.query_row([from], |row| row.get(0)).optional()
    }

    /// The names of the resources in whose queues a peer stands.
    pub(crate) fn names_of(&self, peer: i64) -> Result<Vec<String>> {
        self.db
            .prepare_cached("SELECT DISTINCT name FROM claim WHERE peer = ?1")?
            .query_map([peer], |row| row.get(0))?
            .collect()
    }

    pub(crate) fn insert(&self, name: &Name, stored: &Stored) -> Result<()> {
        let entry = &stored.entry;
        self.db
            .prepare_cached(
                "INSERT INTO claim (name, seq, id, peer, capacity, weight, at_least_ns, joined_ns, written_ns, \
                 deadline_ns, keep_ns, token, revoked, owner, payload) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
            )?
            .execute(params![
                name.as_str(),
                stored.seq,
                &entry.id.0.to_be_bytes()[..],
                stored.peer,
                entry.capacity,
                entry.weight,
                span(entry.at_least),
                moment(entry.joined),
                moment(stored.written),
                moment(entry.deadline),
                moment(entry.keep_until),
                entry.token.map(|t| signed(t.get())),
                entry.revoked,
                &*entry.meta.owner,
                entry.meta.payload.as_deref(),
            ])
            .map(|_| ())
    }

    pub(crate) fn update(&self, name: &Name, seq: i64, entry: &Entry, written: Moment) -> Result<()> {
        self.db
            .prepare_cached(
                "UPDATE claim SET written_ns = ?3, deadline_ns = ?4, keep_ns = ?5, token = ?6, revoked = ?7 \
                 WHERE name = ?1 AND seq = ?2",
            )?
            .execute(params![
                name.as_str(),
                seq,
                moment(written),
                moment(entry.deadline),
                moment(entry.keep_until),
                entry.token.map(|t| signed(t.get())),
                entry.revoked,
            ])
            .map(|_| ())
    }

    pub(crate) fn delete(&self, name: &Name, seq: i64) -> Result<()> {
        let mut delete = self.db.prepare_cached("DELETE FROM claim WHERE name = ?1 AND seq = ?2")?;
        delete.execute(params![name.as_str(), seq]).map(|_| ())
    }

    /// Turns all times into those of a new run of the machine: what a claim had left when it was written, it has
    /// from the start of the machine. Nobody's liveness file stands for it any more.
    pub(crate) fn start_anew(&self) -> Result<()> {
        self.db
            .execute(
                "UPDATE claim SET deadline_ns = max(deadline_ns - written_ns, 0), \
                 keep_ns = max(keep_ns - written_ns, 0), joined_ns = 0, written_ns = 0, peer = 0",
                [],
            )
            .map(|_| ())
    }

    /// Copies the log back into the database as far as that hinders nobody; with `whole`, all of it, and lets the
    /// log start again. Says how many pages are in the log and how many of them have been copied.
    pub(crate) fn checkpoint(&self, whole: bool) -> Result<(i64, i64)> {
        let sql = if whole { "PRAGMA wal_checkpoint(RESTART)" } else { "PRAGMA wal_checkpoint(PASSIVE)" };
        self.db.query_row(sql, [], |row| Ok((row.get(1)?, row.get(2)?)))
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn moment(at: Moment) -> i64 {
    signed(at.as_nanos())
}

fn span(span: Duration) -> i64 {
    i64::try_from(span.as_nanos()).unwrap_or(i64::MAX)
}

fn unsigned(row: &Row<'_>, column: usize) -> Result<u64> {
    let number: i64 = row.get(column)?;
    u64::try_from(number).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, number))
}

fn unfit(column: usize, kind: Type) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, kind, Box::new(FromSqlError::InvalidType))
}

fn stored(row: &Row<'_>) -> Result<Stored> {
    let at = |column| Ok::<_, rusqlite::Error>(Moment::from_nanos(unsigned(row, column)?));
    let id: [u8; 16] = row.get(3)?;
    let token = match row.get::<_, Option<i64>>(10)? {
        None => None,
        Some(_) => Some(Token::new(unsigned(row, 10)?).ok_or_else(|| unfit(10, Type::Integer))?),
    };
    let owner = row.get_ref(12)?.as_str().map_err(|_| unfit(12, Type::Text))?;
    let payload = row.get_ref(13)?.as_str_or_null().map_err(|_| unfit(13, Type::Text))?;
    Ok(Stored {
        seq: row.get(0)?,
        peer: row.get(1)?,
        written: at(2)?,
        entry: Entry {
            id: ClaimId(u128::from_be_bytes(id)),
            capacity: row.get(4)?,
            weight: row.get(5)?,
            at_least: Duration::from_nanos(unsigned(row, 6)?),
            meta: Meta { owner: Arc::from(owner), payload: payload.map(Arc::from) },
            joined: at(7)?,
            deadline: at(8)?,
            keep_until: at(9)?,
            token,
            revoked: row.get(11)?,
        },
    })
}
