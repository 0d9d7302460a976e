//! Under the engine of `GET_LOCK`: the bare `GET_LOCK` and `RELEASE_LOCK`, prepared, over a connection of its own for each
//! task. No token. Whoever finds the lock held waits in the server.

use leasehold_core::{Error, ErrorKind, Result};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, Statement};

use super::mysql::{options, refused};
use crate::entrant::{Entrant, Locker, Role, Seat};
use crate::site::Site;

const LOCK: &str = "SELECT GET_LOCK(?, 3600)";
const UNLOCK: &str = "SELECT RELEASE_LOCK(?)";

/// The bare client of this engine's server.
pub(crate) fn entrant(site: &Site<'_>) -> Result<Entrant> {
    let (opts, prefix) = (options(site)?, site.prefix());
    Ok(Entrant::opened("mysql_async", Role::Floor, site.env, move |_load| {
        let (opts, prefix) = (opts.clone(), prefix.clone());
        async move { Ok(Bare { opts, prefix }) }
    }))
}

#[derive(Debug)]
struct Bare {
    opts: Opts,
    prefix: String,
}

impl Locker for Bare {
    type Seat = BareSeat;

    async fn seat(&self, name: &str) -> Result<BareSeat> {
        let mut conn = Conn::new(self.opts.clone()).await.map_err(refused)?;
        let lock = conn.prep(LOCK).await.map_err(refused)?;
        let unlock = conn.prep(UNLOCK).await.map_err(refused)?;
        Ok(BareSeat { conn, lock, unlock, name: format!("{}/{name}", self.prefix) })
    }

    fn requests(&self) -> Option<u64> {
        None
    }
}

/// One task's session.
#[derive(Debug)]
struct BareSeat {
    conn: Conn,
    lock: Statement,
    unlock: Statement,
    name: String,
}

impl BareSeat {
    async fn run(&mut self, statement: Statement) -> Result<()> {
        let done: Option<Option<u8>> =
            self.conn.exec_first(statement, (&self.name,)).await.map_err(refused)?;
        match done.flatten() {
            Some(1) => Ok(()),
            other => {
                Err(Error::new(ErrorKind::Unexpected, "floor", format!("the server answered {other:?}")))
            }
        }
    }
}

impl Seat for BareSeat {
    async fn acquire(&mut self) -> Result<()> {
        self.run(self.lock.clone()).await
    }

    async fn release(&mut self) -> Result<()> {
        self.run(self.unlock.clone()).await
    }
}
