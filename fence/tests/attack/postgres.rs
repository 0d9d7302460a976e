//! A row of PostgreSQL's, written by processes, with tokio-postgres and with sqlx.

use leasehold_fence::sql::{Dialect, Table, schema};
use leasehold_testkit::postgres::Postgres;
use sqlx::postgres::PgPool;
use tokio_postgres::{Client, NoTls};

use crate::order::{Order, Reply, Value, refused};
use crate::{Answer, Check, Failure, Open, Storage, Target};

pub(crate) struct Native {
    client: Client,
    table: Table,
    check: Check,
}

pub(crate) struct Sqlx {
    pool: PgPool,
    table: Table,
    check: Check,
}

pub(crate) fn target() -> Result<Target, Failure> {
    start("postgres", "PostgreSQL")
}

pub(crate) fn target_sqlx() -> Result<Target, Failure> {
    start("postgres-sqlx", "PostgreSQL with sqlx")
}

fn start(kind: &'static str, name: &'static str) -> Result<Target, Failure> {
    let server = Postgres::start()?;
    server.sql(&schema::table(Dialect::Postgres, &Table::new()))?;
    server.sql("CREATE TABLE value (token bigint, count bigint); INSERT INTO value VALUES (0, 0)")?;
    let open = Open::Processes(kind, server.url());
    Ok(Target { name, writes: 2_000, open, engine: None, _keeps: Box::new(server) })
}

impl Native {
    pub(crate) async fn open(place: &str, check: Check) -> Result<Self, Failure> {
        let (client, connection) = tokio_postgres::connect(place, NoTls).await?;
        tokio::spawn(connection);
        Ok(Self { client, table: Table::new(), check })
    }
}

impl Sqlx {
    pub(crate) async fn open(place: &str, check: Check) -> Result<Self, Failure> {
        Ok(Self { pool: PgPool::connect(place).await?, table: Table::new(), check })
    }
}

impl Storage for Native {
    fn obey(&mut self, order: Order) -> Answer<'_> {
        Box::pin(async move {
            let (who, to_write) = order.under(self.check);
            let tx = self.client.transaction().await?;
            let tx = match who {
                None => tx,
                Some(who) => match self.table.enter(who, tx).await {
                    Ok(entered) => entered.into_inner(),
                    Err(error) => return refused(error),
                },
            };
            let reply = match to_write {
                Some(value) => {
                    let (token, count) = value.row();
                    tx.execute("UPDATE value SET token = $1, count = $2", &[&token, &count]).await?;
                    Reply::Done
                }
                None => {
                    let row = tx.query_one("SELECT token, count FROM value", &[]).await?;
                    Reply::Value(Value::of_row((row.try_get(0)?, row.try_get(1)?)))
                }
            };
            tx.commit().await?;
            Ok(reply)
        })
    }
}

impl Storage for Sqlx {
    fn obey(&mut self, order: Order) -> Answer<'_> {
        Box::pin(async move {
            let (who, to_write) = order.under(self.check);
            let tx = self.pool.begin().await?;
            let mut tx = match who {
                None => tx,
                Some(who) => match self.table.enter(who, tx).await {
                    Ok(entered) => entered.into_inner(),
                    Err(error) => return refused(error),
                },
            };
            let reply = match to_write {
                Some(value) => {
                    let (token, count) = value.row();
                    let write =
                        sqlx::query("UPDATE value SET token = $1, count = $2").bind(token).bind(count);
                    write.execute(&mut *tx).await?;
                    Reply::Done
                }
                None => {
                    let read = sqlx::query_as("SELECT token, count FROM value");
                    Reply::Value(Value::of_row(read.fetch_one(&mut *tx).await?))
                }
            };
            tx.commit().await?;
            Ok(reply)
        })
    }
}

/// The triggers, asked by a client that knows no fence.
pub(crate) fn triggers() -> Result<(), Failure> {
    let server = Postgres::start()?;
    server.sql(&schema::table(Dialect::Postgres, &Table::new()))?;
    server.sql("CREATE TABLE stock (id int PRIMARY KEY, amount int)")?;
    server.sql(&schema::triggers(Dialect::Postgres, &Table::new(), "stock", "inventory/{id}")?)?;
    let under = |token: u64, statement: &str| {
        let statements = format!("BEGIN; SET LOCAL leasehold.token = '{token}'; {statement}; COMMIT");
        server.sql(&statements).map_err(|error| error.to_string())
    };
    let bare = server.sql("INSERT INTO stock VALUES (42, 1)").unwrap_err().to_string();
    assert!(bare.contains("no fencing token"), "{bare}");
    under(33, "INSERT INTO stock VALUES (42, 1)")?;
    // A later holder raises before it has written anything.
    under(34, "SELECT leasehold_fence_stock_raise('inventory/42', 34)")?;
    for late in ["UPDATE stock SET amount = 3", "DELETE FROM stock", "UPDATE stock SET id = 43"] {
        let refused = under(33, late).unwrap_err();
        assert!(refused.contains("token 33 is stale"), "{late}: {refused}");
    }
    under(34, "UPDATE stock SET amount = 2")?;
    under(33, "INSERT INTO stock VALUES (43, 1)")?;
    assert_eq!(server.sql("SELECT amount FROM stock ORDER BY id")?, "2\n1");
    Ok(())
}
