//! How the databases say the same thing, and what may be an identifier.

use std::fmt;
use std::str::FromStr;

use leasehold_core::{Mode, Result};

use crate::error::invalid;

/// Which database.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[non_exhaustive]
pub enum Dialect {
    /// PostgreSQL.
    Postgres,
    /// MySQL and MariaDB.
    MySql,
    /// SQLite.
    Sqlite,
}

impl Dialect {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Postgres, Self::MySql, Self::Sqlite];

    fn name(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::MySql => "mysql",
            Self::Sqlite => "sqlite",
        }
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Dialect {
    type Err = leasehold_core::Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|dialect| dialect.name() == text).ok_or_else(|| {
            invalid("dialect", format!("`{text}` is no dialect; write postgres, mysql or sqlite"))
        })
    }
}

/// Checks what goes into a statement as a table or a column: only plain names can be meant by accident alone.
pub(super) fn identifier(what: &str, text: &str, parts_max: usize) -> Result<()> {
    let plain = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    if text.split('.').count() <= parts_max && text.split('.').all(plain) {
        return Ok(());
    }
    let dot = if parts_max > 1 { ", with the schema and a dot before it if need be" } else { "" };
    Err(invalid(
        "identifier",
        format!("`{text}` cannot be a {what}; use ASCII letters, digits and underscores{dot}"),
    ))
}

/// Raises the mark if it may be raised. Two parameters: the lock's name and the token. It changes no row if not.
pub(super) fn raise(table: &str, mode: Mode) -> String {
    let columns = format!("INSERT INTO {table} AS f (name, exclusive_token, shared_token) VALUES");
    match mode {
        Mode::Exclusive => format!(
            "{columns} ($1, $2, 0) ON CONFLICT (name) DO UPDATE SET exclusive_token = excluded.exclusive_token \
             WHERE f.exclusive_token <= excluded.exclusive_token AND f.shared_token <= excluded.exclusive_token"
        ),
        Mode::Shared => format!(
            "{columns} ($1, 0, $2) ON CONFLICT (name) DO UPDATE SET shared_token = \
             CASE WHEN f.shared_token < excluded.shared_token THEN excluded.shared_token ELSE f.shared_token END \
             WHERE f.exclusive_token <= excluded.shared_token"
        ),
    }
}

/// The same for MySQL, which cannot say how many rows it found: the "last insert id" is what was seen if the token
/// was refused, and else nothing. Four parameters: the lock's name, and the token three times.
pub(super) fn raise_mysql(table: &str, mode: Mode) -> String {
    let columns = format!("INSERT INTO {table} (name, exclusive_token, shared_token) VALUES");
    match mode {
        Mode::Exclusive => format!(
            "{columns} (?, ?, 0) ON DUPLICATE KEY UPDATE exclusive_token = \
             IF(? >= GREATEST(exclusive_token, shared_token), ?, \
             exclusive_token + 0 * LAST_INSERT_ID(GREATEST(exclusive_token, shared_token)))"
        ),
        Mode::Shared => format!(
            "{columns} (?, 0, ?) ON DUPLICATE KEY UPDATE shared_token = \
             IF(? >= exclusive_token, GREATEST(shared_token, ?), \
             shared_token + 0 * LAST_INSERT_ID(exclusive_token))"
        ),
    }
}

/// Both registers of a lock.
pub(super) fn look(table: &str) -> String {
    format!("SELECT exclusive_token, shared_token FROM {table} WHERE name = $1")
}
