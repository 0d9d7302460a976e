//! Under PostgreSQL's session locks: the same calls, prepared, by a bare client. No token, no queue of ours; a session
//! may take again what it has, so each task that waits has one of its own.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use leasehold::postgres::advisory::Config;
use leasehold_core::url::EngineUrl;
use leasehold_core::{Error, ErrorKind, Result};
use tokio_postgres::{Client, NoTls, Statement};

use crate::entrant::{Entrant, Locker, Role, Seat};
use crate::load::Case;
use crate::site::Site;

/// Among how many connections tasks are shared out that do not wait for each other.
const CONNECTIONS: usize = 8;

fn refused(error: tokio_postgres::Error) -> Error {
    Error::new(ErrorKind::Unexpected, "floor", "bare PostgreSQL failed").with_source(error)
}

/// The bare client of this engine's database.
pub(crate) fn entrant(site: &Site<'_>, case: Case) -> Result<Entrant> {
    let config = Config::from_url(EngineUrl::parse(site.url)?)?.database.server;
    let prefix = site.prefix();
    let (connections_max, lock) = match case {
        Case::Handoff => (usize::MAX, "SELECT pg_advisory_lock($1) IS NOT NULL"),
        _ => (CONNECTIONS, "SELECT pg_try_advisory_lock($1)"),
    };
    Ok(Entrant::opened("tokio-postgres", Role::Floor, site.env, move |load| {
        let (config, prefix) = (config.clone(), prefix.clone());
        async move {
            let mut connections = Vec::new();
            for _ in 0..connections_max.min(load.tasks) {
                connections.push(Arc::new(Connection::open(&config, lock).await?));
            }
            Ok(Bare { connections, next: AtomicUsize::new(0), prefix })
        }
    }))
}

#[derive(Debug)]
struct Connection {
    client: Client,
    lock: Statement,
    unlock: Statement,
}

impl Connection {
    async fn open(config: &tokio_postgres::Config, lock: &str) -> Result<Self> {
        let (client, connection) = config.connect(NoTls).await.map_err(refused)?;
        tokio::spawn(connection);
        let lock = client.prepare(lock).await.map_err(refused)?;
        let unlock = client.prepare("SELECT pg_advisory_unlock($1)").await.map_err(refused)?;
        Ok(Self { client, lock, unlock })
    }

    async fn call(&self, statement: &Statement, key: i64) -> Result<()> {
        let row = self.client.query_one(statement, &[&key]).await.map_err(refused)?;
        match row.try_get(0).map_err(refused)? {
            true => Ok(()),
            false => Err(Error::new(ErrorKind::Unexpected, "floor", "somebody else has the lock")),
        }
    }
}

#[derive(Debug)]
struct Bare {
    connections: Vec<Arc<Connection>>,
    next: AtomicUsize,
    prefix: String,
}

impl Locker for Bare {
    type Seat = BareSeat;

    async fn seat(&self, name: &str) -> Result<BareSeat> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % self.connections.len();
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one((&self.prefix, name));
        Ok(BareSeat { connection: Arc::clone(&self.connections[turn]), key: hash.cast_signed() })
    }

    fn requests(&self) -> Option<u64> {
        None
    }
}

/// One task's key.
#[derive(Debug)]
struct BareSeat {
    connection: Arc<Connection>,
    key: i64,
}

impl Seat for BareSeat {
    async fn acquire(&mut self) -> Result<()> {
        self.connection.call(&self.connection.lock, self.key).await
    }

    async fn release(&mut self) -> Result<()> {
        self.connection.call(&self.connection.unlock, self.key).await
    }
}
