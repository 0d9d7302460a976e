//! A row whose table has the printed triggers, written by code that knows no fence and only declares its token.

use leasehold_core::Mode;
use leasehold_fence::Sequencer;
use leasehold_fence::sql::{Dialect, Table, declare, schema};
use leasehold_testkit::mariadb::MariaDb;
use leasehold_testkit::postgres::Postgres;
use mysql_async::prelude::Queryable;
use rusqlite::{Connection, TransactionBehavior};

use crate::column::Base;
use crate::order::{LOCK, Order, Reply, Value};
use crate::{Answer, Check, Failure, Open, Storage, Target, folder};

/// With triggers, and without.
const GUARDED: &str = "guarded";
const PLAIN: &str = "plain";

/// What the printed triggers call the statement by which a mark is raised.
const RAISE: &str = "leasehold_fence_guarded_raise";

pub(crate) struct Row {
    base: Base,
    check: Check,
}

pub(crate) fn sqlite() -> Result<Target, Failure> {
    let (keeps, place) = folder()?;
    let sql = format!("PRAGMA journal_mode = WAL; {}", tables(Dialect::Sqlite)?);
    Connection::open(&place)?.execute_batch(&sql)?;
    let open = Open::Processes("sqlite-triggers", place);
    Ok(Target { name: "SQLite's triggers", writes: 5_000, open, engine: None, _keeps: Box::new(keeps) })
}

pub(crate) fn postgres() -> Result<Target, Failure> {
    let server = Postgres::start()?;
    server.sql(&tables(Dialect::Postgres)?)?;
    let open = Open::Processes("postgres-triggers", server.url());
    Ok(Target { name: "PostgreSQL's triggers", writes: 2_000, open, engine: None, _keeps: Box::new(server) })
}

pub(crate) fn mysql() -> Result<Target, Failure> {
    let server = MariaDb::start()?;
    server.run(&tables(Dialect::MySql)?)?;
    let open = Open::Processes("mysql-triggers", server.url());
    Ok(Target { name: "MariaDB's triggers", writes: 2_000, open, engine: None, _keeps: Box::new(server) })
}

fn tables(dialect: Dialect) -> Result<String, Failure> {
    let marks = schema::table(dialect, &Table::new());
    let triggers = schema::triggers(dialect, &Table::new(), GUARDED, LOCK)?;
    let tables = [GUARDED, PLAIN].map(|table| {
        format!("CREATE TABLE {table} (token BIGINT, count BIGINT); INSERT INTO {table} VALUES (0, 0);\n")
    });
    Ok(format!("{marks}{}{triggers}", tables.concat()))
}

impl Row {
    pub(crate) async fn open(kind: &str, place: &str, check: Check) -> Result<Self, Failure> {
        Ok(Self { base: Base::open(kind, place).await?, check })
    }

    fn table(&self) -> &'static str {
        if self.check == Check::Never { PLAIN } else { GUARDED }
    }

    /// Declares the token, and writes under it, or else raises the mark.
    async fn say(&mut self, who: Option<&Sequencer>, to_write: Option<Value>) -> Result<(), Failure> {
        let (table, token) = (self.table(), who.map_or(0, |who| who.token().get()));
        let write = to_write
            .map(|value| format!("UPDATE {table} SET token = {}, count = {}", value.token, value.count));
        match &mut self.base {
            Base::Sqlite(connection) => {
                declare(connection, who.cloned())?;
                match (who, write) {
                    (_, Some(write)) => drop(connection.execute(&write, ())?),
                    (Some(who), None) => {
                        let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
                        Table::new().enter_blocking(who, tx)?.commit()?;
                    }
                    (None, None) => {}
                }
            }
            Base::Postgres(client) => {
                let statement = write.unwrap_or_else(|| format!("SELECT {RAISE}('{LOCK}', {token})"));
                let tx = client.transaction().await?;
                tx.batch_execute(&format!("SET LOCAL leasehold.token = '{token}'; {statement}")).await?;
                tx.commit().await?;
            }
            Base::MySql(pool) => {
                let statement = write.unwrap_or_else(|| format!("CALL {RAISE}('{LOCK}', {token})"));
                let mut connection = pool.get_conn().await?;
                connection.query_drop(format!("SET @leasehold_token = {token}")).await?;
                connection.query_drop(statement).await?;
            }
            _ => return Err("no triggers are tried with this".into()),
        }
        Ok(())
    }
}

/// What the triggers say to those who come too late.
fn is_stale(error: &Failure) -> bool {
    let code = error.downcast_ref::<tokio_postgres::Error>().and_then(|error| error.code());
    code.is_some_and(|code| code.code() == "LH409") || error.to_string().contains("stale")
}

impl Storage for Row {
    fn obey(&mut self, order: Order) -> Answer<'_> {
        Box::pin(async move {
            let (who, to_write) = order.under(self.check);
            // A token that is declared is an exclusive one.
            if who.is_some_and(|who| who.mode() == Mode::Shared) {
                return Ok(Reply::Stale);
            }
            if who.is_some() || to_write.is_some() {
                match self.say(who, to_write).await {
                    Err(error) if is_stale(&error) => return Ok(Reply::Stale),
                    said => said?,
                }
            }
            match to_write {
                Some(_) => Ok(Reply::Done),
                None => Ok(Reply::Value(self.base.read(self.table()).await?)),
            }
        })
    }
}
