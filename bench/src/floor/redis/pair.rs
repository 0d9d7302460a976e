//! The pair: `SET NX PX`, and a script that deletes what is still one's own. All tasks share one connection.

use std::sync::Arc;

use leasehold_core::Result;

use super::servers::Connect;
use super::{PATIENCE, Value, delete, load_script, millis, refused, set, taken};
use crate::entrant::{Locker, Seat};
use crate::load::Load;

/// The connection.
#[derive(Debug)]
pub(super) struct Pairs<C: Connect> {
    connection: C::Connection,
    script: Arc<str>,
    prefix: String,
    ttl_ms: u64,
}

impl<C: Connect> Pairs<C> {
    pub(super) async fn open(servers: C, prefix: String, load: Load) -> Result<Self> {
        let mut connection = servers.connect(PATIENCE).await?;
        let script = load_script(&mut connection).await?.into();
        Ok(Self { connection, script, prefix, ttl_ms: millis(load.ttl) })
    }
}

impl<C: Connect> Locker for Pairs<C> {
    type Seat = PairSeat<C>;

    async fn seat(&self, name: &str) -> Result<PairSeat<C>> {
        Ok(PairSeat {
            connection: self.connection.clone(),
            script: Arc::clone(&self.script),
            key: format!("{}/{name}", self.prefix),
            value: Value::default(),
            ttl_ms: self.ttl_ms,
        })
    }

    fn requests(&self) -> Option<u64> {
        None
    }
}

/// One task's key.
#[derive(Debug)]
pub(super) struct PairSeat<C: Connect> {
    connection: C::Connection,
    script: Arc<str>,
    key: String,
    value: Value,
    ttl_ms: u64,
}

impl<C: Connect> Seat for PairSeat<C> {
    async fn acquire(&mut self) -> Result<()> {
        let set = set(&mut self.connection, &self.key, &self.value.next(), self.ttl_ms).await;
        if set.map_err(refused)? { Ok(()) } else { Err(taken(&self.key)) }
    }

    async fn release(&mut self) -> Result<()> {
        let deleted = delete(&mut self.connection, &self.script, &self.key, &self.value.bytes()).await;
        if deleted.map_err(refused)? { Ok(()) } else { Err(taken(&self.key)) }
    }
}
