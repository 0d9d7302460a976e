//! Under the MySQL engine: the common recipe's `INSERT IGNORE` and `DELETE`, prepared, each a transaction of its own that
//! waits for the disk, over a connection of its own for each task. No token, no queue; whoever finds the row there asks
//! again.

use std::time::Duration;

use leasehold_core::{Env, Error, ErrorKind, Result};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder, Statement};

use crate::entrant::{Entrant, Locker, Role, Seat};
use crate::site::Site;

/// The pause before a held lock is asked for again.
const POLL_EVERY: Duration = Duration::from_millis(1);
/// `ER_LOCK_DEADLOCK`
const DEADLOCK: u16 = 1213;

const LOCK: &str = "INSERT IGNORE INTO bare_locks VALUES (?, 'bare', NOW(6) + INTERVAL 30 SECOND, NOW(6))";
const UNLOCK: &str = "DELETE FROM bare_locks WHERE lock_name = ? AND owner_id = 'bare'";
const TABLE: &str = "
    CREATE TABLE IF NOT EXISTS bare_locks (lock_name VARBINARY(255) PRIMARY KEY, owner_id VARCHAR(255) NOT NULL,
        expires_at TIMESTAMP(6) NOT NULL DEFAULT NOW(6), created_at TIMESTAMP(6) NOT NULL DEFAULT NOW(6)) ENGINE = InnoDB";

pub(super) fn refused(error: mysql_async::Error) -> Error {
    Error::new(ErrorKind::Unexpected, "floor", "bare MySQL failed").with_source(error)
}

/// The server as the bare client is told of it.
pub(super) fn options(site: &Site<'_>) -> Result<Opts> {
    let (server, _options) = site.url.split_once('?').unwrap_or((site.url, ""));
    let (_scheme, server) = server.split_once(':').unwrap_or_default();
    let opts = Opts::from_url(&format!("mysql:{server}")).map_err(|e| refused(e.into()))?;
    // As ours: not by a socket that the server names.
    Ok(OptsBuilder::from_opts(opts).prefer_socket(false).into())
}

/// The bare client of this engine's database.
pub(crate) fn entrant(site: &Site<'_>) -> Result<Entrant> {
    let opts = options(site)?;
    let (env, prefix) = (site.env.clone(), site.prefix());
    Ok(Entrant::opened("mysql_async", Role::Floor, site.env, move |_load| {
        let (opts, env, prefix) = (opts.clone(), env.clone(), prefix.clone());
        async move {
            let mut conn = Conn::new(opts.clone()).await.map_err(refused)?;
            conn.query_drop(TABLE).await.map_err(refused)?;
            Ok(Bare { opts, prefix, env })
        }
    }))
}

#[derive(Debug)]
struct Bare {
    opts: Opts,
    prefix: String,
    env: Env,
}

impl Locker for Bare {
    type Seat = BareSeat;

    async fn seat(&self, name: &str) -> Result<BareSeat> {
        let mut conn = Conn::new(self.opts.clone()).await.map_err(refused)?;
        let lock = conn.prep(LOCK).await.map_err(refused)?;
        let unlock = conn.prep(UNLOCK).await.map_err(refused)?;
        Ok(BareSeat { conn, lock, unlock, name: format!("{}/{name}", self.prefix), env: self.env.clone() })
    }

    fn requests(&self) -> Option<u64> {
        None
    }
}

/// One task's row.
#[derive(Debug)]
struct BareSeat {
    conn: Conn,
    lock: Statement,
    unlock: Statement,
    name: String,
    env: Env,
}

impl BareSeat {
    /// How many rows it changed. InnoDB makes deadlocks of several who insert one row while it is deleted, and whoever uses
    /// the recipe has to ask again.
    async fn run(&mut self, statement: Statement) -> Result<u64> {
        loop {
            match self.conn.exec_drop(&statement, (&self.name,)).await {
                Ok(()) => return Ok(self.conn.affected_rows()),
                Err(mysql_async::Error::Server(error)) if error.code == DEADLOCK => {}
                Err(error) => return Err(refused(error)),
            }
        }
    }
}

impl Seat for BareSeat {
    async fn acquire(&mut self) -> Result<()> {
        while self.run(self.lock.clone()).await? == 0 {
            self.env.clock.sleep_until(self.env.now() + POLL_EVERY).await;
        }
        Ok(())
    }

    async fn release(&mut self) -> Result<()> {
        match self.run(self.unlock.clone()).await? {
            1 => Ok(()),
            _ => Err(Error::new(ErrorKind::Unexpected, "floor", "somebody else deleted the lock")),
        }
    }
}
