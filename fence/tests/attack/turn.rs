//! Who hands out the tokens: a counter, or the engine whose lock is held meanwhile, for storages that look at the lock
//! itself.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use leasehold::{Client, Guard, Mode};
use leasehold_fence::Sequencer;
use tokio::sync::MutexGuard;

use crate::order::{LOCK, sequencer};
use crate::{Failure, Target};

/// All servers here offer this one.
const TTL: Duration = Duration::from_secs(10);

pub(crate) enum Locks {
    Counted { last: AtomicU64, turn: tokio::sync::Mutex<()> },
    Engine(Client),
}

/// Whoever has it has the lock; it is the next one's when it is dropped.
pub(crate) enum Turn<'l> {
    Counted { _turn: MutexGuard<'l, ()> },
    Engine(Guard),
}

impl Locks {
    pub(crate) async fn of(target: &Target) -> Result<Self, Failure> {
        Ok(match &target.engine {
            None => Self::Counted { last: AtomicU64::new(0), turn: tokio::sync::Mutex::default() },
            Some(url) => Self::Engine(connect(url).await?),
        })
    }

    /// Waits for the lock.
    pub(crate) async fn next(&self, mode: Mode) -> Result<(Turn<'_>, Sequencer), Failure> {
        match self {
            Self::Counted { last, turn } => {
                let turn = turn.lock().await;
                let token = last.fetch_add(1, SeqCst) + 1;
                Ok((Turn::Counted { _turn: turn }, sequencer(token, mode)))
            }
            Self::Engine(client) => {
                let lock = client.rwlock(LOCK)?;
                let guard = match mode {
                    Mode::Exclusive => lock.write().await?,
                    Mode::Shared => lock.read().await?,
                };
                let who = Sequencer::from(&guard);
                Ok((Turn::Engine(guard), who))
            }
        }
    }
}

impl Turn<'_> {
    /// Lets go, and returns when the lock is free.
    pub(crate) async fn over(self) -> Result<(), Failure> {
        match self {
            Self::Counted { .. } => Ok(()),
            Self::Engine(guard) => Ok(guard.release().await?),
        }
    }
}

pub(crate) async fn connect(url: &str) -> Result<Client, Failure> {
    Ok(leasehold::connect(url).ttl(TTL).await?)
}

/// Takes the lock for as short a session as there may be.
pub(crate) async fn hold(url: &str) -> Result<Guard, Failure> {
    let client = connect(url).await?;
    let shortest = client.info().ttl_min;
    Ok(client.rwlock(LOCK)?.ttl(shortest).write().await?)
}
