//! A row of MariaDB's, written by processes, with mysql_async and with sqlx.

use leasehold_fence::sql::{Dialect, Table, schema};
use leasehold_testkit::mariadb::MariaDb;
use mysql_async::prelude::Queryable;
use mysql_async::{Pool, TxOpts};
use sqlx::mysql::MySqlPool;

use crate::order::{Order, Reply, Value, refused};
use crate::{Answer, Check, Failure, Open, Storage, Target};

pub(crate) struct Native {
    pool: Pool,
    table: Table,
    check: Check,
}

pub(crate) struct Sqlx {
    pool: MySqlPool,
    table: Table,
    check: Check,
}

pub(crate) fn target() -> Result<Target, Failure> {
    start("mysql", "MariaDB")
}

pub(crate) fn target_sqlx() -> Result<Target, Failure> {
    start("mysql-sqlx", "MariaDB with sqlx")
}

fn start(kind: &'static str, name: &'static str) -> Result<Target, Failure> {
    let server = MariaDb::start()?;
    server.run(&schema::table(Dialect::MySql, &Table::new()))?;
    server.run("CREATE TABLE stored (token BIGINT, count BIGINT); INSERT INTO stored VALUES (0, 0)")?;
    let open = Open::Processes(kind, server.url());
    Ok(Target { name, writes: 2_000, open, engine: None, _keeps: Box::new(server) })
}

impl Native {
    pub(crate) fn open(place: &str, check: Check) -> Result<Self, Failure> {
        Ok(Self { pool: Pool::from_url(place)?, table: Table::new(), check })
    }
}

impl Sqlx {
    pub(crate) async fn open(place: &str, check: Check) -> Result<Self, Failure> {
        Ok(Self { pool: MySqlPool::connect(place).await?, table: Table::new(), check })
    }
}

impl Storage for Native {
    fn obey(&mut self, order: Order) -> Answer<'_> {
        Box::pin(async move {
            let (who, to_write) = order.under(self.check);
            let mut connection = self.pool.get_conn().await?;
            let tx = connection.start_transaction(TxOpts::default()).await?;
            let mut tx = match who {
                None => tx,
                Some(who) => match self.table.enter(who, tx).await {
                    Ok(entered) => entered.into_inner(),
                    Err(error) => return refused(error),
                },
            };
            let reply = match to_write {
                Some(value) => {
                    tx.exec_drop("UPDATE stored SET token = ?, count = ?", value.row()).await?;
                    Reply::Done
                }
                None => {
                    let row = tx.query_first("SELECT token, count FROM stored").await?;
                    Reply::Value(Value::of_row(row.ok_or("the value is gone")?))
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
                    let write = sqlx::query("UPDATE stored SET token = ?, count = ?").bind(token).bind(count);
                    write.execute(&mut *tx).await?;
                    Reply::Done
                }
                None => {
                    let read = sqlx::query_as("SELECT token, count FROM stored");
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
    let server = MariaDb::start()?;
    server.run(&schema::table(Dialect::MySql, &Table::new()))?;
    server.run("CREATE TABLE stock (id INT PRIMARY KEY, amount INT)")?;
    server.run(&schema::triggers(Dialect::MySql, &Table::new(), "stock", "inventory/{id}")?)?;
    let under = |token: u64, statement: &str| {
        server.run(&format!("SET @leasehold_token = {token}; {statement}")).map_err(|error| error.to_string())
    };
    let bare = server.run("INSERT INTO stock VALUES (42, 1)").unwrap_err().to_string();
    assert!(bare.contains("LH428") && bare.contains("no fencing token"), "{bare}");
    under(33, "INSERT INTO stock VALUES (42, 1)")?;
    // A later holder raises before it has written anything.
    under(34, "CALL leasehold_fence_stock_raise('inventory/42', @leasehold_token)")?;
    for late in ["UPDATE stock SET amount = 3", "DELETE FROM stock", "UPDATE stock SET id = 43"] {
        let refused = under(33, late).unwrap_err();
        assert!(refused.contains("LH409"), "{late}: {refused}");
    }
    under(34, "UPDATE stock SET amount = 2")?;
    under(33, "INSERT INTO stock VALUES (43, 1)")?;
    assert_eq!(server.run("SELECT amount FROM stock ORDER BY id")?, "2\n1");
    Ok(())
}
