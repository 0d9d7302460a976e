//! A row in a file of SQLite's, written by processes.

use leasehold_fence::sql::{Dialect, Table, schema};
use rusqlite::{Connection, TransactionBehavior};

use crate::order::{Order, Reply, Value, refused};
use crate::{Answer, Check, Failure, Open, Storage, Target, folder};

pub(crate) struct Sqlite {
    connection: Connection,
    table: Table,
    check: Check,
}

pub(crate) fn target() -> Result<Target, Failure> {
    let (keeps, place) = folder()?;
    let connection = Connection::open(&place)?;
    connection.execute_batch(&schema::table(Dialect::Sqlite, &Table::new()))?;
    connection.execute_batch(
        "PRAGMA journal_mode = WAL; CREATE TABLE value (token INTEGER, count INTEGER); \
         INSERT INTO value VALUES (0, 0);",
    )?;
    let open = Open::Processes("sqlite", place);
    Ok(Target { name: "SQLite", writes: 5_000, open, engine: None, _keeps: Box::new(keeps) })
}

impl Sqlite {
    pub(crate) fn open(place: &str, check: Check) -> Result<Self, Failure> {
        let connection = Connection::open(place)?;
        // Killed processes are what is tested here, not lost power.
        connection.execute_batch("PRAGMA synchronous = NORMAL; PRAGMA busy_timeout = 60000;")?;
        Ok(Self { connection, table: Table::new(), check })
    }

    fn do_it(&mut self, order: &Order) -> Result<Reply, Failure> {
        let tx = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let (who, to_write) = order.under(self.check);
        let tx = match who {
            None => tx,
            Some(who) => match self.table.enter_blocking(who, tx) {
                Ok(entered) => entered.into_inner(),
                Err(error) => return refused(error),
            },
        };
        let reply = match to_write {
            Some(value) => {
                tx.execute("UPDATE value SET token = ?1, count = ?2", value.row())?;
                Reply::Done
            }
            None => tx.query_row("SELECT token, count FROM value", (), |row| {
                Ok(Reply::Value(Value::of_row((row.get(0)?, row.get(1)?))))
            })?,
        };
        tx.commit()?;
        Ok(reply)
    }
}

impl Storage for Sqlite {
    fn obey(&mut self, order: Order) -> Answer<'_> {
        Box::pin(async move { self.do_it(&order) })
    }
}

/// The triggers, asked by code that knows no fence.
pub(crate) fn triggers() -> Result<(), Failure> {
    let (_keeps, place) = folder()?;
    let (ours, foreign) = (Connection::open(&place)?, Connection::open(&place)?);
    ours.execute_batch(&schema::table(Dialect::Sqlite, &Table::new()))?;
    ours.execute_batch("CREATE TABLE stock (id INTEGER PRIMARY KEY, amount INTEGER)")?;
    ours.execute_batch(&schema::triggers(Dialect::Sqlite, &Table::new(), "stock", "inventory/{id}")?)?;
    let said =
        |result: rusqlite::Result<usize>| result.err().map(|error| error.to_string()).unwrap_or_default();
    let who = |token| format!("exclusive:{token}:inventory/42").parse();

    let bare = said(foreign.execute("INSERT INTO stock VALUES (42, 1)", ()));
    assert!(bare.contains("no such function"), "{bare}");
    leasehold_fence::sql::declare(&foreign, Some(who(33)?))?;
    leasehold_fence::sql::declare(&ours, Some(who(34)?))?;
    foreign.execute("INSERT INTO stock VALUES (42, 1)", ())?;
    ours.execute("UPDATE stock SET amount = 2", ())?;
    for late in
        ["UPDATE stock SET amount = 3", "DELETE FROM stock", "INSERT OR REPLACE INTO stock VALUES (42, 3)"]
    {
        let refused = said(foreign.execute(late, ()));
        assert!(refused.contains("stale"), "{late}: {refused}");
    }
    leasehold_fence::sql::declare(&ours, None)?;
    let nobody = said(ours.execute("DELETE FROM stock", ()));
    assert!(nobody.contains("no fencing token"), "{nobody}");
    let amount: i64 = ours.query_row("SELECT amount FROM stock", (), |row| row.get(0))?;
    assert_eq!(amount, 2);

    // A row that goes because of another key than that of the new one.
    ours.execute_batch("CREATE UNIQUE INDEX one_of_each ON stock (amount)")?;
    for (recursive, said_then) in [("ON", "stale"), ("OFF", "")] {
        foreign.execute_batch(&format!("PRAGMA recursive_triggers = {recursive}"))?;
        let replaced = said(foreign.execute("INSERT OR REPLACE INTO stock VALUES (43, 2)", ()));
        assert!(replaced.contains(said_then) && replaced.is_empty() == said_then.is_empty(), "{replaced}");
    }
    Ok(())
}
