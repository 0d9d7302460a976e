//! The pair: a key for each task, all by one session.

use leasehold_core::Result;

use super::bare::{Bare, Servers};
use super::odd;
use crate::entrant::{Locker, Seat};
use crate::load::Load;

/// The client and its session.
#[derive(Debug)]
pub(super) struct Pairs {
    bare: Bare,
    session: String,
    prefix: String,
}

impl Pairs {
    pub(super) async fn open(servers: Servers, prefix: String, _load: Load) -> Result<Self> {
        let bare = Bare::new(servers);
        let session = bare.session().await?;
        Ok(Self { bare, session, prefix })
    }
}

impl Locker for Pairs {
    type Seat = PairSeat;

    async fn seat(&self, name: &str) -> Result<PairSeat> {
        let (bare, session) = (self.bare.clone(), self.session.clone());
        Ok(PairSeat { bare, session, key: format!("{}/{name}", self.prefix) })
    }

    fn requests(&self) -> Option<u64> {
        None
    }

    async fn close(&self) -> Result<()> {
        self.bare.delete(&self.prefix).await?;
        self.bare.destroy(&self.session).await
    }
}

/// One task's key.
#[derive(Debug)]
pub(super) struct PairSeat {
    bare: Bare,
    session: String,
    key: String,
}

impl Seat for PairSeat {
    async fn acquire(&mut self) -> Result<()> {
        if self.bare.acquire(&self.key, &self.session).await? { Ok(()) } else { Err(odd("taken")) }
    }

    async fn release(&mut self) -> Result<()> {
        if self.bare.release(&self.key, &self.session).await? { Ok(()) } else { Err(odd("not taken")) }
    }
}
