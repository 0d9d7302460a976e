//! A row with its mark in a column of its own, raised and written one statement at a time, with each client library.

use leasehold_core::Mode;
use leasehold_fence::Sequencer;
use leasehold_fence::sql::Column;
use leasehold_testkit::mariadb::MariaDb;
use leasehold_testkit::postgres::Postgres;
use mysql_async::prelude::Queryable;
use rusqlite::Connection;
use sqlx::AssertSqlSafe;
use tokio_postgres::NoTls;

use crate::order::{Order, Reply, Value, sequencer};
use crate::{Answer, Check, Failure, Open, Storage, Target, folder, runtime};

const TABLE: &str = "CREATE TABLE stored (token BIGINT, count BIGINT, fence BIGINT NOT NULL DEFAULT 0)";
const ROW: &str = "INSERT INTO stored (token, count) VALUES (0, 0)";

/// A database by one of its clients.
pub(crate) enum Base {
    Sqlite(Connection),
    Postgres(tokio_postgres::Client),
    PostgresSqlx(sqlx::PgPool),
    MySql(mysql_async::Pool),
    MySqlSqlx(sqlx::MySqlPool),
}

pub(crate) struct Row {
    base: Base,
    fence: Column,
    check: Check,
}

pub(crate) fn sqlite() -> Result<Target, Failure> {
    let (keeps, place) = folder()?;
    Connection::open(&place)?.execute_batch(&format!("PRAGMA journal_mode = WAL; {TABLE}; {ROW}"))?;
    Ok(target("SQLite, in a column", "sqlite-column", 5_000, place, Box::new(keeps)))
}

pub(crate) fn postgres() -> Result<Target, Failure> {
    let server = Postgres::start()?;
    server.sql(&format!("{TABLE}; {ROW}"))?;
    Ok(target(
        "PostgreSQL, in a column, with sqlx",
        "postgres-column-sqlx",
        2_000,
        server.url(),
        Box::new(server),
    ))
}

pub(crate) fn mysql() -> Result<Target, Failure> {
    let server = MariaDb::start()?;
    server.run(&format!("{TABLE}; {ROW}"))?;
    Ok(target("MariaDB, in a column", "mysql-column", 2_000, found_rows(&server), Box::new(server)))
}

fn target(
    name: &'static str,
    kind: &'static str,
    writes: u64,
    place: String,
    keeps: Box<dyn Send + Sync>,
) -> Target {
    Target { name, writes, open: Open::Processes(kind, place), engine: None, _keeps: keeps }
}

/// As mysql_async must be told, for the rows that are found to be counted and not those that are changed.
fn found_rows(server: &MariaDb) -> String {
    format!("{}?client_found_rows=true", server.url())
}

impl Base {
    pub(crate) async fn open(kind: &str, place: &str) -> Result<Self, Failure> {
        Ok(match kind {
            "sqlite-column" | "sqlite-triggers" => {
                let connection = Connection::open(place)?;
                connection.execute_batch("PRAGMA synchronous = NORMAL; PRAGMA busy_timeout = 60000;")?;
                Self::Sqlite(connection)
            }
            "postgres-column" | "postgres-triggers" => {
                let (client, connection) = tokio_postgres::connect(place, NoTls).await?;
                tokio::spawn(connection);
                Self::Postgres(client)
            }
            "postgres-column-sqlx" => Self::PostgresSqlx(sqlx::PgPool::connect(place).await?),
            "mysql-column" | "mysql-triggers" => Self::MySql(mysql_async::Pool::from_url(place)?),
            "mysql-column-sqlx" => Self::MySqlSqlx(sqlx::MySqlPool::connect(place).await?),
            _ => return Err(format!("`{kind}` is no database").into()),
        })
    }

    /// How many rows it found.
    async fn run(&mut self, statement: &str) -> Result<u64, Failure> {
        Ok(match self {
            Self::Sqlite(connection) => connection.execute(statement, ())? as u64,
            Self::Postgres(client) => client.execute(statement, &[]).await?,
            Self::PostgresSqlx(pool) => {
                sqlx::query(AssertSqlSafe(statement)).execute(&*pool).await?.rows_affected()
            }
            Self::MySql(pool) => {
                let mut connection = pool.get_conn().await?;
                connection.query_drop(statement).await?;
                connection.affected_rows()
            }
            Self::MySqlSqlx(pool) => {
                sqlx::query(AssertSqlSafe(statement)).execute(&*pool).await?.rows_affected()
            }
        })
    }

    /// What the table holds.
    pub(crate) async fn read(&mut self, table: &str) -> Result<Value, Failure> {
        let read = format!("SELECT token, count FROM {table}");
        Ok(Value::of_row(match self {
            Self::Sqlite(connection) => {
                connection.query_row(&read, (), |row| Ok((row.get(0)?, row.get(1)?)))?
            }
            Self::Postgres(client) => {
                let row = client.query_one(&read, &[]).await?;
                (row.try_get(0)?, row.try_get(1)?)
            }
            Self::PostgresSqlx(pool) => sqlx::query_as(AssertSqlSafe(read)).fetch_one(&*pool).await?,
            Self::MySql(pool) => {
                pool.get_conn().await?.query_first(read).await?.ok_or("the value is gone")?
            }
            Self::MySqlSqlx(pool) => sqlx::query_as(AssertSqlSafe(read)).fetch_one(&*pool).await?,
        }))
    }
}

impl Row {
    pub(crate) async fn open(kind: &str, place: &str, check: Check) -> Result<Self, Failure> {
        Ok(Self { base: Base::open(kind, place).await?, fence: Column::new("fence")?, check })
    }

    async fn raise(&mut self, who: &Sequencer) -> Result<bool, Failure> {
        let (set, only_if) = (self.fence.assignment(who)?, self.fence.condition(who)?);
        Ok(self.base.run(&format!("UPDATE stored SET {set} WHERE {only_if}")).await? > 0)
    }

    async fn write(&mut self, who: Option<&Sequencer>, value: Value) -> Result<bool, Failure> {
        let only_if = who.map(|who| self.fence.condition(who)).transpose()?;
        let only_if = only_if.as_deref().unwrap_or("true");
        let write = format!("UPDATE stored SET token = {}, count = {}", value.token, value.count);
        Ok(self.base.run(&format!("{write} WHERE {only_if}")).await? > 0)
    }
}

impl Storage for Row {
    fn obey(&mut self, order: Order) -> Answer<'_> {
        Box::pin(async move {
            let (who, to_write) = order.under(self.check);
            match (who, to_write) {
                // One register is none for readers.
                (Some(who), _) if who.mode() == Mode::Shared => Ok(Reply::Stale),
                (who, Some(value)) => {
                    Ok(if self.write(who, value).await? { Reply::Done } else { Reply::Stale })
                }
                (Some(who), None) if !self.raise(who).await? => Ok(Reply::Stale),
                (_, None) => Ok(Reply::Value(self.base.read("stored").await?)),
            }
        })
    }
}

/// What each statement finds, by each client.
pub(crate) fn statements() -> Result<(), Failure> {
    let (_keeps, file) = folder()?;
    let (postgres, mysql) = (Postgres::start()?, MariaDb::start()?);
    runtime()?.block_on(async {
        for (kind, place) in [
            ("sqlite-column", file),
            ("postgres-column", postgres.url()),
            ("postgres-column-sqlx", postgres.url()),
            ("mysql-column", found_rows(&mysql)),
            ("mysql-column-sqlx", mysql.url()),
        ] {
            assert_eq!(found(kind, &place).await?, [true, true, false, false, true, true, true], "{kind}");
        }
        // The last two change nothing, and one would think that they were refused.
        let told_otherwise = [true, true, false, false, true, false, false];
        assert_eq!(found("mysql-column", &mysql.url()).await?, told_otherwise);
        Ok(())
    })
}

async fn found(kind: &str, place: &str) -> Result<[bool; 7], Failure> {
    let mut row = Row::open(kind, place, Check::Always).await?;
    for statement in ["DROP TABLE IF EXISTS stored", TABLE, ROW] {
        row.base.run(statement).await?;
    }
    let (old, new) = (&sequencer(33, Mode::Exclusive), &sequencer(34, Mode::Exclusive));
    let value = |count| Value { token: 0, count };
    let found = [
        row.raise(old).await?,
        row.raise(new).await?,
        row.write(Some(old), value(2)).await?,
        row.raise(old).await?,
        row.write(Some(new), value(3)).await?,
        row.write(Some(new), value(3)).await?,
        row.raise(new).await?,
    ];
    assert_eq!(row.base.read("stored").await?, value(3), "{kind}");
    Ok(found)
}
