//! Under the PostgreSQL engine: the common recipe's `INSERT ... ON CONFLICT DO NOTHING` and `DELETE`, prepared, each a
//! transaction of its own that waits for the disk. No token, no queue; whoever finds the row there asks again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use leasehold::postgres::Config;
use leasehold_core::url::EngineUrl;
use leasehold_core::{Env, Error, ErrorKind, Result};
use tokio_postgres::{Client, NoTls, Statement};

use crate::entrant::{Entrant, Locker, Role, Seat};
use crate::site::Site;

/// The pause before a held lock is asked for again.
const POLL_EVERY: Duration = Duration::from_millis(1);
/// Among how many connections the tasks are shared out.
const CONNECTIONS: usize = 8;

const LOCK: &str = "INSERT INTO bare_locks VALUES ($1, 'bare', clock_timestamp() + interval '30 s', clock_timestamp()) \
                    ON CONFLICT (lock_name) DO NOTHING";
const UNLOCK: &str = "DELETE FROM bare_locks WHERE lock_name = $1 AND owner_id = 'bare'";
const TABLE: &str = "
    SET synchronous_commit = on;
    CREATE TABLE IF NOT EXISTS bare_locks (lock_name text PRIMARY KEY, owner_id text NOT NULL,
        expires_at timestamptz NOT NULL, created_at timestamptz NOT NULL)";

fn refused(error: tokio_postgres::Error) -> Error {
    Error::new(ErrorKind::Unexpected, "floor", "bare PostgreSQL failed").with_source(error)
}

/// The bare client of this engine's database.
pub(crate) fn entrant(site: &Site<'_>) -> Result<Entrant> {
    let config = Config::from_url(EngineUrl::parse(site.url)?)?.server;
    let (env, prefix) = (site.env.clone(), site.prefix());
    Ok(Entrant::opened("tokio-postgres", Role::Floor, site.env, move |load| {
        let (config, env, prefix) = (config.clone(), env.clone(), prefix.clone());
        async move {
            let mut connections = Vec::new();
            for _ in 0..CONNECTIONS.min(load.tasks) {
                connections.push(Arc::new(Connection::open(&config).await?));
            }
            Ok(Bare { connections, next: AtomicUsize::new(0), prefix, env })
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
    async fn open(config: &tokio_postgres::Config) -> Result<Self> {
        let (client, connection) = config.connect(NoTls).await.map_err(refused)?;
        tokio::spawn(connection);
        client.batch_execute(TABLE).await.map_err(refused)?;
        let lock = client.prepare(LOCK).await.map_err(refused)?;
        let unlock = client.prepare(UNLOCK).await.map_err(refused)?;
        Ok(Self { client, lock, unlock })
    }
}

#[derive(Debug)]
struct Bare {
    connections: Vec<Arc<Connection>>,
    next: AtomicUsize,
    prefix: String,
    env: Env,
}

impl Locker for Bare {
    type Seat = BareSeat;

    async fn seat(&self, name: &str) -> Result<BareSeat> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % self.connections.len();
        let name = format!("{}/{name}", self.prefix);
        Ok(BareSeat { connection: Arc::clone(&self.connections[turn]), name, env: self.env.clone() })
    }

    fn requests(&self) -> Option<u64> {
        None
    }
}

/// One task's row.
#[derive(Debug)]
struct BareSeat {
    connection: Arc<Connection>,
    name: String,
    env: Env,
}

impl Seat for BareSeat {
    async fn acquire(&mut self) -> Result<()> {
        let Connection { client, lock, .. } = &*self.connection;
        while client.execute(lock, &[&self.name]).await.map_err(refused)? == 0 {
            self.env.clock.sleep_until(self.env.now() + POLL_EVERY).await;
        }
        Ok(())
    }

    async fn release(&mut self) -> Result<()> {
        let Connection { client, unlock, .. } = &*self.connection;
        match client.execute(unlock, &[&self.name]).await.map_err(refused)? {
            1 => Ok(()),
            _ => Err(Error::new(ErrorKind::Unexpected, "floor", "somebody else deleted the lock")),
        }
    }
}
