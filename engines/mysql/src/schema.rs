//! The tables: found, made, or refused.

use leasehold_core::{Error, ErrorKind, Result};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error as Cause, Row};

use crate::wire::get;
use crate::{failure, shape};

/// All that the engine keeps in a database, as SQL for the command line client, to be run once by whoever may make tables
/// and procedures there.
pub const SCHEMA: &str = include_str!("schema.sql");

/// The version of the schema that this release speaks.
const VERSION: u32 = 1;

const LOOK: &str = "
    SELECT (SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = 'leasehold_schema'),
           @@global.read_only, VERSION(), @@auto_increment_increment, @@global.innodb_flush_log_at_trx_commit";

/// Who makes the schema does so alone.
const ALONE: &str = "DO GET_LOCK(CONCAT('leasehold schema ', LEFT(SHA1(DATABASE()), 40)), 4)";
const NOT_ALONE: &str = "DO RELEASE_LOCK(CONCAT('leasehold schema ', LEFT(SHA1(DATABASE()), 40)))";

/// A number that is put raises the counter for good, also where the row is undone; a lower one does not lower it. The clock
/// must not use up all tokens. Notes that nobody has come for in a minute are for nobody.
const RAISE: &str = "
    SET @leasehold_clock = LEAST(CAST(UNIX_TIMESTAMP(SYSDATE(6)) * 1000000 AS SIGNED), 4503599627370496);
    INSERT INTO leasehold_claim (name, seq, id, peer, capacity, weight, ttl, at_least, joined, deadline, keep_until, held,
                                 revoked, owner)
    VALUES ('', @leasehold_clock, '', '', 1, 1, 0, 0, 0, 0, 0, FALSE, FALSE, '');
    ROLLBACK;
    DELETE FROM leasehold_note WHERE written < @leasehold_clock - 60000000;
    COMMIT";

/// What there is.
pub(crate) struct Found {
    /// How many bytes a name may have.
    pub(crate) name_max: usize,
    pub(crate) warnings: Vec<String>,
}

/// Finds the tables or makes them, and raises the tokens to the clock.
pub(crate) async fn prepare(conn: &mut Conn, place: &str) -> Result<Found> {
    let fail = |e| failure::request("connect", place, e);
    let refuse = |kind, message: String| Error::new(kind, "connect", message).with("database", place);
    let row = one(conn, LOOK).await.map_err(fail)?;
    let (made, read_only): (bool, bool) = (get(&row, 0).map_err(fail)?, get(&row, 1).map_err(fail)?);
    let version: String = get(&row, 2).map_err(fail)?;
    if read_only {
        let message =
            "the server takes no writes: it is a replica, or set to read-only; name the one that takes them";
        return Err(refuse(ErrorKind::Unavailable, message.to_owned()));
    }
    // Before these, rows could not be skipped that somebody else has locked, or lists be taken for tables.
    if is_before(&version, (10, 6, 0), (8, 0, 4)) {
        let message = format!("leasehold needs MySQL 8.0.4 or MariaDB 10.6, or later; this is {version}");
        return Err(refuse(ErrorKind::Unsupported, message));
    }
    let mut name_max = shape::check(conn, place).await?;
    let mut known = if made { version_of(conn).await.map_err(fail)? } else { None };
    if known.is_none() {
        make(conn).await.map_err(fail)?;
        name_max = shape::check(conn, place).await?;
        known = version_of(conn).await.map_err(fail)?;
    }
    if let Some(later) = known.filter(|version| *version > VERSION) {
        let message = format!(
            "the tables are of version {later}, and this release of leasehold knows {VERSION}; update it, or use another \
             database"
        );
        return Err(refuse(ErrorKind::Unsupported, message));
    }
    conn.query_drop(RAISE).await.map_err(fail)?;
    let name_max = name_max.ok_or_else(|| {
        refuse(
            ErrorKind::Corrupt,
            "the table `distributed_locks` is gone, and `leasehold_schema` is not".into(),
        )
    })?;
    let (increment, flush): (u64, u64) = (get(&row, 3).map_err(fail)?, get(&row, 4).map_err(fail)?);
    Ok(Found { name_max, warnings: warnings(increment, flush) })
}

fn warnings(increment: u64, flush: u64) -> Vec<String> {
    let mut warnings = Vec::new();
    if increment > 1 {
        warnings.push(
            "the server is one of several that take writes (`auto_increment_increment` is above 1): tokens rise only for \
             those who all use the same one"
                .to_owned(),
        );
    }
    if flush != 1 {
        warnings.push(format!(
            "the server does not wait for its disk (`innodb_flush_log_at_trx_commit` is {flush}): holds of its last second \
             are lost with the machine, and their tokens may come again"
        ));
    }
    warnings
}

/// Each of its statements, in its order; whoever else makes it at the same time makes the same.
async fn make(conn: &mut Conn) -> std::result::Result<(), Cause> {
    conn.query_drop(ALONE).await?;
    let mut made = Ok(());
    for statement in statements() {
        made = match conn.query_drop(statement).await {
            // Of MySQL before 8.0.29 a procedure cannot be made only if it is not there.
            Err(Cause::Server(e)) if e.code == PROCEDURE_EXISTS => Ok(()),
            made => made,
        };
        if made.is_err() {
            break;
        }
    }
    conn.query_drop(NOT_ALONE).await?;
    made
}

/// The version of the tables; none of tables that somebody began to make.
async fn version_of(conn: &mut Conn) -> std::result::Result<Option<u32>, Cause> {
    get(&one(conn, "SELECT MAX(version) FROM leasehold_schema").await?, 0)
}

const PROCEDURE_EXISTS: u16 = 1304;

/// The statements of the schema, without what only the command line client knows.
fn statements() -> impl Iterator<Item = &'static str> {
    SCHEMA
        .split("\n;;\n")
        .map(|piece| piece.split_once("DELIMITER ;;\n").map_or(piece, |(_, rest)| rest))
        .filter(|piece| !piece.starts_with("DELIMITER"))
}

async fn one(conn: &mut Conn, query: &str) -> std::result::Result<Row, Cause> {
    conn.query_first(query).await?.ok_or_else(|| Cause::Other("it did not answer".into()))
}

/// Whether a server is older than this release of MariaDB, or of MySQL.
pub(crate) fn is_before(version: &str, mariadb: (u32, u32, u32), mysql: (u32, u32, u32)) -> bool {
    let mut numbers = version.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0u32));
    let mut next = || numbers.next().unwrap_or_default();
    let version_of = (next(), next(), next());
    version_of < if version.contains("MariaDB") { mariadb } else { mysql }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_falls_into_its_statements() {
        let heads: Vec<&str> = statements()
            .map(|statement| statement.lines().find(|line| !line.starts_with("--")).unwrap())
            .collect();
        insta::assert_debug_snapshot!(heads);
    }

    #[test]
    fn old_servers_are_known_by_their_version() {
        for old in ["5.7.44-log", "8.0.0-dmr", "10.5.29-MariaDB-1", "5.5.68-MariaDB"] {
            assert!(is_before(old, (10, 6, 0), (8, 0, 4)), "{old}");
        }
        for new in
            ["8.0.4", "8.4.7", "9.5.0", "10.6.0-MariaDB", "10.11.19-MariaDB-0+deb12u1", "12.1.2-MariaDB-log"]
        {
            assert!(!is_before(new, (10, 6, 0), (8, 0, 4)), "{new}");
        }
    }
}
