//! Waiting in the server: a session that waits can do nothing else, so it holds nothing, and what it gets it keeps.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use leasehold_core::desk::{Pursuit, Session as _};
use leasehold_core::{Result, Token};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_postgres::types::Type;

use crate::advisory::key::Key;
use crate::advisory::link::Link;
use crate::advisory::{Act, Grip, Inner};
use crate::failure;
use crate::lane::Opened;

/// How often those look for whom no session is left to wait with.
const LOOK: Duration = Duration::from_millis(250);
/// The pause after a session that waited was lost.
const PAUSE: Duration = Duration::from_millis(100);

/// The sessions that wait, and hold what they have waited for.
pub(super) struct Pool {
    seats: Arc<Semaphore>,
    idle: Mutex<Vec<Arc<Link>>>,
}

impl Pool {
    pub(super) fn new(size: usize) -> Self {
        Self { seats: Arc::new(Semaphore::new(size)), idle: Mutex::default() }
    }

    /// A session that holds nothing. The server ends it if it is not used again for long.
    pub(super) fn give(&self, link: Arc<Link>, seat: OwnedSemaphorePermit) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(link);
        drop(seat);
    }

    fn take(&self) -> Option<Arc<Link>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        std::iter::from_fn(|| idle.pop()).find(|link| !link.is_over())
    }
}

/// How a try to get a key has ended.
enum Try {
    Caught(Grip, Token),
    Busy,
    /// Nobody needs it any more.
    Over,
}

impl Inner {
    /// Waits for a key until it is had or nobody needs it any more.
    pub(super) async fn pursue(self: &Arc<Self>, key: Key, pursuit: Arc<Pursuit>) {
        let next = loop {
            if self.closed.load(std::sync::atomic::Ordering::Acquire) {
                return;
            }
            let pause = match self.try_catch(key, &pursuit).await {
                Ok(Try::Caught(grip, token)) => {
                    let caught = self.desk().caught(&key, &pursuit, (grip, token), self.world.env.now());
                    match caught {
                        Ok(Some((id, hint))) => {
                            self.world.inbox.deliver(id, hint);
                            break self.desk().next(&key);
                        }
                        Ok(None) => break self.desk().next(&key),
                        Err(grip) => {
                            drop(self.let_go(key, grip).await);
                            break self.abandon(key);
                        }
                    }
                }
                Ok(Try::Over) => break self.abandon(key),
                Ok(Try::Busy) => LOOK,
                Err(_) => PAUSE,
            };
            let clock = &self.world.env.clock;
            let full = self.pool.seats.available_permits() == 0;
            let over = tokio::select! {
                () = pursuit.over.notified() => true,
                () = clock.sleep_until(clock.now() + pause) => false,
                // A session has become free.
                Ok(_) = self.pool.seats.acquire(), if full => false,
            };
            if over {
                break self.abandon(key);
            }
        };
        self.follow(next);
    }

    fn abandon(&self, key: Key) -> Option<Act> {
        let mut desk = self.desk();
        desk.abandoned(&key);
        desk.next(&key)
    }

    /// A session to wait with, unless all are in use or the server takes no more.
    async fn waiter(self: &Arc<Self>) -> Option<(Arc<Link>, OwnedSemaphorePermit)> {
        let seat = Arc::clone(&self.pool.seats).try_acquire_owned().ok()?;
        let link = match self.pool.take() {
            Some(link) => link,
            None => {
                let connection = self.world.connect().await.ok()?;
                Arc::new(Link::on(connection, &self.world, &Arc::downgrade(self)).await.ok()?)
            }
        };
        Some((link, seat))
    }

    async fn try_catch(self: &Arc<Self>, key: Key, pursuit: &Pursuit) -> Result<Try> {
        let fail = |e| failure::request("join", &self.world.place, e);
        let Some((link, seat)) = self.waiter().await else {
            let main = self.main(self.longest()).await?;
            let token = self.try_on(&main, key, pursuit.shared).await?;
            return Ok(match token {
                Some(token) => Try::Caught(Grip { link: main, shared: pursuit.shared, seat: None }, token),
                None => Try::Busy,
            });
        };
        link.keep(self.longest()).await.map_err(fail)?;
        {
            let waiting = link.lock(key, pursuit.shared);
            tokio::pin!(waiting);
            let waited = tokio::select! {
                biased;
                waited = &mut waiting => waited,
                () = pursuit.over.notified() => {
                    self.cancel(&link).await?;
                    match waiting.await {
                        // It was faster.
                        Ok(()) => Ok(()),
                        Err(e) if failure::is_cancelled(&e) => {
                            self.pool.give(Arc::clone(&link), seat);
                            return Ok(Try::Over);
                        }
                        Err(e) => Err(e),
                    }
                }
            };
            waited.map_err(fail)?;
        }
        // Only an answer to what is asked now tells how long the server keeps the session from now on.
        match link.draw().await.map_err(fail) {
            Ok(Some(token)) => {
                Ok(Try::Caught(Grip { link, shared: pursuit.shared, seat: Some(seat) }, token))
            }
            // It must not keep the key.
            Ok(None) => {
                link.give_up();
                Ok(Try::Busy)
            }
            Err(error) => {
                link.give_up();
                Err(error)
            }
        }
    }

    /// Has the server cancel what a session waits for.
    async fn cancel(&self, link: &Link) -> Result<()> {
        let cancel = async {
            let side = self.side().await?;
            let client = &side.connection().client;
            let asked =
                client.query_typed("SELECT pg_cancel_backend($1)", &[(&link.pid(), Type::INT4)]).await;
            asked.map(drop).map_err(|e| failure::request("cancel", &self.world.place, e))
        };
        let cancelled = self.world.in_time(cancel).await;
        cancelled.unwrap_or_else(|| Err(failure::late("cancel", &self.world.place)))
    }
}
