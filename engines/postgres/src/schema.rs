//! The tables: found, made, or refused.

use leasehold_core::{Error, ErrorKind, Result};
use tokio_postgres::Client;

use crate::{failure, shape};

/// All that the engine keeps in a database, as SQL to be run once by whoever may make tables there.
pub const SCHEMA: &str = concat!(include_str!("schema/1.sql"), "\n", include_str!("schema/2.sql"));

/// What each version adds to the one before it.
const STEPS: [&str; 2] = [include_str!("schema/1.sql"), include_str!("schema/2.sql")];
/// The version of the schema that this release speaks.
const VERSION: i32 = 2;
const _: () = assert!(STEPS.len() == VERSION.unsigned_abs() as usize, "each version is a step");

/// Who makes or changes the schema does so alone.
const MAKE: &str = "SELECT pg_advisory_xact_lock(7810774602817235316)";

/// Whether somebody has made it meanwhile. `to_regclass` may go on saying no for the rest of a transaction.
const MADE: &str = "
    SELECT EXISTS (SELECT FROM pg_class WHERE relname = 'leasehold_schema' AND pg_table_is_visible(oid))";

const LOOK: &str = "
    SELECT to_regclass('leasehold_schema') IS NOT NULL,
           pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on',
           current_setting('server_encoding'), current_setting('server_version_num')::int";

/// Whoever draws a token shares this lock, and whoever raises them has it alone.
pub(crate) const RAISING: i64 = 7_810_774_602_817_235_315;

/// Nobody draws a token meanwhile, so the sequence cannot be set back. The clock must not use up all tokens.
const RAISE: &str = "
    SELECT pg_advisory_xact_lock(7810774602817235315);
    SELECT setval('leasehold_token', clock.micros)
      FROM (SELECT least((extract(epoch FROM clock_timestamp()) * 1000000)::bigint, 4503599627370496)) clock (micros)
     WHERE clock.micros > (SELECT last_value FROM leasehold_token)";

/// Finds the tables or makes them, and raises the tokens to the clock; tells how many characters a name may have.
pub(crate) async fn prepare(client: &Client, place: &str) -> Result<Option<usize>> {
    let fail = |e| failure::request("connect", place, e);
    let row = client
        .query_typed_one("SELECT to_regclass('distributed_locks') IS NOT NULL", &[])
        .await
        .map_err(fail)?;
    if row.try_get(0).map_err(fail)? {
        shape::check(client, place, fail).await?;
    }
    prepare_tokens(client, place).await?;
    shape::check(client, place, fail).await
}

/// The same for those who only draw tokens, whatever shape `distributed_locks` has.
pub(crate) async fn prepare_tokens(client: &Client, place: &str) -> Result<()> {
    let fail = |e| failure::request("connect", place, e);
    let refuse = |kind, message: String| Error::new(kind, "connect", message).with("database", place);
    let row = client.query_typed_one(LOOK, &[]).await.map_err(fail)?;
    let get = |nth| row.try_get::<_, bool>(nth).map_err(fail);
    let (made, read_only) = (get(0)?, get(1)?);
    let encoding: String = row.try_get(2).map_err(fail)?;
    if read_only {
        let message = "the server takes no writes: it is a standby, or set to read-only; name the primary, or all of them \
                       with commas between, and the primary is found";
        return Err(refuse(ErrorKind::Unavailable, message.to_owned()));
    }
    if row.try_get::<_, i32>(3).map_err(fail)? < 120_000 {
        return Err(refuse(ErrorKind::Unsupported, "leasehold needs PostgreSQL 12 or later".to_owned()));
    }
    if encoding != "UTF8" {
        let message = format!(
            "the database's encoding is {encoding}, and names are UTF8; use a database of that encoding"
        );
        return Err(refuse(ErrorKind::Unsupported, message));
    }
    let mut version = if made { version_of(client).await.map_err(fail)? } else { 0 };
    if version < VERSION {
        version = bring_up(client).await.map_err(fail)?;
    }
    if version > VERSION {
        let message = format!(
            "the tables are of version {version}, and this release of leasehold knows {VERSION}; update it, or use another \
             database"
        );
        return Err(refuse(ErrorKind::Unsupported, message));
    }
    client.batch_execute(RAISE).await.map_err(fail)
}

async fn version_of(client: &Client) -> std::result::Result<i32, tokio_postgres::Error> {
    client.query_typed_one("SELECT version FROM leasehold_schema", &[]).await?.try_get(0)
}

/// Adds what is missing, all of it or nothing; tells which version it is then, for somebody else may have been faster.
async fn bring_up(client: &Client) -> std::result::Result<i32, tokio_postgres::Error> {
    client.batch_execute(&format!("BEGIN; {MAKE}")).await?;
    let added = async {
        let made = client.query_typed_one(MADE, &[]).await?;
        let version = if made.try_get(0)? { version_of(client).await? } else { 0 };
        for step in STEPS.iter().skip(usize::try_from(version).unwrap_or_default()) {
            client.batch_execute(step).await?;
        }
        client.batch_execute("COMMIT").await?;
        Ok(version.max(VERSION))
    }
    .await;
    if added.is_err() {
        // What it fails with is told; a session in which this fails too is of no more use, and found to be so.
        drop(client.batch_execute("ROLLBACK").await);
    }
    added
}
