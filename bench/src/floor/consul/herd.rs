//! The hand-over: a session for each task. Whoever does not get the key waits until it is free, and so do all others.

use std::sync::{Mutex, PoisonError};

use leasehold_core::Result;

use super::bare::{Bare, Servers};
use super::odd;
use crate::entrant::{Locker, Seat};
use crate::load::Load;

/// The client, and the sessions of its tasks.
#[derive(Debug)]
pub(super) struct Herd {
    bare: Bare,
    prefix: String,
    sessions: Mutex<Vec<String>>,
}

impl Herd {
    pub(super) async fn open(servers: Servers, prefix: String, _load: Load) -> Result<Self> {
        Ok(Self { bare: Bare::new(servers), prefix, sessions: Mutex::default() })
    }

    fn sessions(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        // A list: no change of it can be half done.
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Locker for Herd {
    type Seat = HerdSeat;

    async fn seat(&self, name: &str) -> Result<HerdSeat> {
        let session = self.bare.session().await?;
        self.sessions().push(session.clone());
        Ok(HerdSeat { bare: self.bare.clone(), session, key: format!("{}/{name}", self.prefix) })
    }

    fn requests(&self) -> Option<u64> {
        None
    }

    async fn close(&self) -> Result<()> {
        self.bare.delete(&self.prefix).await?;
        let sessions = std::mem::take(&mut *self.sessions());
        for session in sessions {
            self.bare.destroy(&session).await?;
        }
        Ok(())
    }
}

/// One task's session.
#[derive(Debug)]
pub(super) struct HerdSeat {
    bare: Bare,
    session: String,
    key: String,
}

impl Seat for HerdSeat {
    async fn acquire(&mut self) -> Result<()> {
        let mut index = 0;
        while !self.bare.acquire(&self.key, &self.session).await? {
            loop {
                let (taken, at) = self.bare.taken(&self.key, index).await?;
                index = at;
                if !taken {
                    break;
                }
            }
        }
        Ok(())
    }

    async fn release(&mut self) -> Result<()> {
        if self.bare.release(&self.key, &self.session).await? { Ok(()) } else { Err(odd("not taken")) }
    }
}
