//! Under the memory engine: a shared map where nobody waits, tokio's mutex where somebody does.

use std::sync::Arc;

use dashmap::DashMap;
use leasehold_core::{Error, ErrorKind, Result};

use crate::entrant::{Locker, Seat};
use crate::owned::owned;

/// A map from names to holders: to lock is to insert, to release is to remove. It cannot wait.
#[derive(Debug, Default)]
pub(super) struct Map(Arc<DashMap<Arc<str>, u64>>);

#[derive(Debug)]
pub(super) struct MapSeat {
    map: Arc<DashMap<Arc<str>, u64>>,
    name: Arc<str>,
    token: u64,
}

impl Locker for Map {
    type Seat = MapSeat;

    async fn seat(&self, name: &str) -> Result<MapSeat> {
        Ok(MapSeat { map: Arc::clone(&self.0), name: name.into(), token: 0 })
    }

    fn requests(&self) -> Option<u64> {
        None
    }
}

impl Seat for MapSeat {
    async fn acquire(&mut self) -> Result<()> {
        self.token += 1;
        match self.map.insert(Arc::clone(&self.name), self.token) {
            None => Ok(()),
            Some(_) => Err(Error::new(ErrorKind::Unexpected, "floor", "a lock that nobody shares was held")),
        }
    }

    async fn release(&mut self) -> Result<()> {
        match self.map.remove(&self.name) {
            Some((_, token)) if token == self.token => Ok(()),
            _ => Err(Error::new(ErrorKind::Unexpected, "floor", "somebody else removed the lock")),
        }
    }
}

owned! {
    /// tokio's mutexes by name, first come, first served.
    TokioLocks, TokioSeat, tokio::sync::Mutex<()>, tokio::sync::OwnedMutexGuard<()>, lock_owned
}
