//! rslock: `SET NX PX` and compare-and-delete on one server or a majority of several. Whoever finds a lock held
//! sleeps up to 200 ms and tries again; nobody is told of a release.

use std::sync::Arc;
use std::time::Duration;

use leasehold_core::{Error, ErrorKind, Result};
use redis::cluster::ClusterClient;
use rslock::{LockError, LockGuard, LockManager};

use crate::entrant::{Entrant, Locker, Role, Seat};
use crate::floor::redis::servers::Servers;
use crate::load::Load;
use crate::site::Site;

pub(super) fn entrant(servers: Servers, site: &Site<'_>) -> Entrant {
    let (servers, prefix) = (Arc::new(servers), site.prefix());
    Entrant::opened("rslock", Role::Peer, site.env, move |load| {
        Manager::open(Arc::clone(&servers), prefix.clone(), load)
    })
}

fn refused(error: LockError) -> Error {
    Error::new(ErrorKind::Unexpected, "peer", "rslock failed").with_source(error)
}

/// One manager for all tasks, as it is made to be used.
#[derive(Debug)]
struct Manager {
    manager: LockManager,
    prefix: String,
    ttl: Duration,
}

impl Manager {
    async fn open(servers: Arc<Servers>, prefix: String, load: Load) -> Result<Self> {
        let manager = match &*servers {
            Servers::One(client) => LockManager::from_clients(vec![client.clone()]),
            Servers::Sentinel(master) => LockManager::from_clients(vec![master.find().await?]),
            Servers::Cluster(client) => LockManager::from_cluster_client(ClusterClient::clone(client)),
            Servers::Many(clients) => LockManager::from_clients(clients.clone()),
        };
        // It connects when it is first used.
        let first = manager.lock(format!("{prefix}/first").as_bytes(), load.ttl).await.map_err(refused)?;
        first.release().await;
        Ok(Self { manager, prefix, ttl: load.ttl })
    }
}

impl Locker for Manager {
    type Seat = ManagedSeat;

    async fn seat(&self, name: &str) -> Result<ManagedSeat> {
        let key = format!("{}/{name}", self.prefix);
        Ok(ManagedSeat { manager: self.manager.clone(), key, ttl: self.ttl, guard: None })
    }

    fn requests(&self) -> Option<u64> {
        None
    }
}

/// One task's guard. Dropping it would not release the lock.
#[derive(Debug)]
struct ManagedSeat {
    manager: LockManager,
    key: String,
    ttl: Duration,
    guard: Option<LockGuard>,
}

impl Seat for ManagedSeat {
    async fn acquire(&mut self) -> Result<()> {
        let guard = self.manager.acquire(self.key.as_bytes(), self.ttl).await.map_err(refused)?;
        self.guard = Some(guard);
        Ok(())
    }

    async fn release(&mut self) -> Result<()> {
        match self.guard.take() {
            Some(guard) => guard.release().await,
            None => return Err(Error::new(ErrorKind::Unexpected, "peer", "released before it was acquired")),
        }
        Ok(())
    }
}
