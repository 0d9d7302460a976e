//! Under the etcd engine: the requests that a lock cannot do without, by a client that adds nothing to etcd's API, and
//! the server's own lock service. All tasks share one connection.

use std::io;
use std::sync::{Mutex, PoisonError};

use leasehold_core::{Error, ErrorKind, Result};
use leasehold_testkit::etcd::Bare;

use crate::entrant::{Entrant, Locker, Role, Seat};
use crate::load::{Case, Load};
use crate::site::Site;

/// The first member of a URL of ours, for a client that knows one; without passwords and encryption.
pub(crate) fn member(site: &Site<'_>) -> Option<String> {
    let rest = site.url.strip_prefix("etcd://")?;
    let hosts = rest.split(['/', '?']).next()?;
    let first = hosts.split(',').next()?;
    (!first.contains('@')).then(|| first.to_owned())
}

/// The floor, where the bare client can get in.
pub(super) fn of(site: &Site<'_>, case: Case) -> Option<Entrant> {
    let member = member(site)?;
    match case {
        Case::Pair => {
            let prefix = site.prefix();
            Some(Entrant::opened("Txn + DeleteRange", Role::Floor, site.env, move |load| {
                Pairs::open(member.clone(), prefix.clone(), load)
            }))
        }
        Case::Handoff => Some(service(site, member, Role::Floor)),
        Case::Renew => None,
    }
}

/// The server's own lock service.
pub(crate) fn service(site: &Site<'_>, member: String, role: Role) -> Entrant {
    let prefix = site.prefix();
    Entrant::opened("v3lock", role, site.env, move |load| Service::open(member.clone(), prefix.clone(), load))
}

fn refused(error: io::Error) -> Error {
    Error::new(ErrorKind::Unexpected, "floor", "bare etcd failed").with_source(error)
}

fn taken(key: &str) -> Error {
    Error::new(ErrorKind::Unexpected, "floor", format!("the key `{key}` is not as we left it"))
}

/// Leases are counted in seconds.
fn seconds(load: Load) -> i64 {
    i64::try_from(load.ttl.as_secs().max(1)).unwrap_or(i64::MAX)
}

/// A connection, and a lease for all keys.
#[derive(Debug)]
struct Pairs {
    bare: Bare,
    lease: i64,
    prefix: String,
}

impl Pairs {
    async fn open(member: String, prefix: String, load: Load) -> Result<Self> {
        let bare = Bare::connect(&member).await.map_err(refused)?;
        let lease = bare.grant(seconds(load)).await.map_err(refused)?;
        Ok(Self { bare, lease, prefix })
    }
}

impl Locker for Pairs {
    type Seat = PairSeat;

    async fn seat(&self, name: &str) -> Result<PairSeat> {
        let key = format!("{}/{name}/{:x}", self.prefix, self.lease);
        Ok(PairSeat { bare: self.bare.clone(), lease: self.lease, key })
    }

    fn requests(&self) -> Option<u64> {
        None
    }

    async fn close(&self) -> Result<()> {
        self.bare.revoke(self.lease).await.map_err(refused)
    }
}

/// One task's key.
#[derive(Debug)]
struct PairSeat {
    bare: Bare,
    lease: i64,
    key: String,
}

impl Seat for PairSeat {
    async fn acquire(&mut self) -> Result<()> {
        let put = self.bare.put_if_absent(&self.key, "", self.lease).await.map_err(refused)?;
        if put { Ok(()) } else { Err(taken(&self.key)) }
    }

    async fn release(&mut self) -> Result<()> {
        let deleted = self.bare.delete(&self.key).await.map_err(refused)?;
        if deleted { Ok(()) } else { Err(taken(&self.key)) }
    }
}

/// The lock service. One that locks twice with one lease holds already, so each task has its own.
#[derive(Debug)]
struct Service {
    bare: Bare,
    seconds: i64,
    prefix: String,
    leases: Mutex<Vec<i64>>,
}

impl Service {
    async fn open(member: String, prefix: String, load: Load) -> Result<Self> {
        let bare = Bare::connect(&member).await.map_err(refused)?;
        Ok(Self { bare, seconds: seconds(load), prefix, leases: Mutex::default() })
    }
}

impl Locker for Service {
    type Seat = ServiceSeat;

    async fn seat(&self, name: &str) -> Result<ServiceSeat> {
        let lease = self.bare.grant(self.seconds).await.map_err(refused)?;
        self.leases.lock().unwrap_or_else(PoisonError::into_inner).push(lease);
        let name = format!("{}/{name}", self.prefix);
        Ok(ServiceSeat { bare: self.bare.clone(), lease, name, key: None })
    }

    fn requests(&self) -> Option<u64> {
        None
    }

    async fn close(&self) -> Result<()> {
        let leases = std::mem::take(&mut *self.leases.lock().unwrap_or_else(PoisonError::into_inner));
        for lease in leases {
            self.bare.revoke(lease).await.map_err(refused)?;
        }
        Ok(())
    }
}

/// One task's hold.
#[derive(Debug)]
struct ServiceSeat {
    bare: Bare,
    lease: i64,
    name: String,
    key: Option<Vec<u8>>,
}

impl Seat for ServiceSeat {
    async fn acquire(&mut self) -> Result<()> {
        self.key = Some(self.bare.lock(&self.name, self.lease).await.map_err(refused)?);
        Ok(())
    }

    async fn release(&mut self) -> Result<()> {
        match self.key.take() {
            Some(key) => self.bare.unlock(key).await.map_err(refused),
            None => Err(Error::new(ErrorKind::Unexpected, "floor", "released before it was acquired")),
        }
    }
}
