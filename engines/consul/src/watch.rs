//! Questions that wait at the server for what nobody rings for: that another client's session ends, that another
//! program gives up a lock. Each is asked once, however many of this client's tasks want to know.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use hashbrown::HashMap;
use leasehold_core::{Clock, Result};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::wire::Api;

/// The most questions of this kind at a time: each takes a connection, and a server takes 200 from one address unless it
/// is told otherwise. Whoever wants to know more finds out when it looks at its line, every second or two.
const MAX: usize = 64;
/// After a question that failed, how long until the next.
const PAUSE: Duration = Duration::from_secs(1);

/// What is waited for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Until {
    /// This session is over.
    SessionOver(Arc<str>),
    /// This key is not any more as this session has taken it the time of this number.
    LockChanged(String, Arc<str>, u64),
}

impl Until {
    /// Asks once; whether it is so, and what to wait for otherwise.
    async fn ask(&self, api: &Api, index: u64) -> Result<(bool, u64)> {
        match self {
            Self::SessionOver(session) => {
                let (there, index) = api.news_of_session(session, index).await?;
                Ok((!there, index))
            }
            Self::LockChanged(key, session, taken) => {
                let (entry, index) = api.news_of_key(key, index).await?;
                let same = |entry: crate::wire::Entry| {
                    entry.session.as_deref() == Some(session) && entry.lock_index == *taken
                };
                Ok((!entry.is_some_and(same), index))
            }
        }
    }

    /// Asks until it is so.
    async fn come(self, api: Weak<Api>, clock: Arc<dyn Clock>, tell: watch::Sender<bool>) {
        let mut index = 0;
        while let Some(api) = api.upgrade() {
            match self.ask(&api, index).await {
                Ok((true, _)) => break,
                // It goes back if the cluster was restored from a snapshot.
                Ok((false, at)) => index = if at < index { 0 } else { at.max(1) },
                Err(_) => {
                    index = 0;
                    clock.sleep_until(clock.now() + PAUSE).await;
                }
            }
        }
        tell.send_replace(true);
    }
}

/// A question under way; it is not asked any more once nobody wants to know.
#[derive(Debug)]
struct Asked {
    come: watch::Receiver<bool>,
    task: AbortHandle,
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// All questions under way.
#[derive(Debug)]
pub(crate) struct Watches {
    api: Weak<Api>,
    clock: Arc<dyn Clock>,
    runtime: Handle,
    asked: Mutex<HashMap<Until, Weak<Asked>>>,
}

impl Watches {
    pub(crate) fn new(api: &Arc<Api>, clock: &Arc<dyn Clock>, runtime: &Handle) -> Self {
        Self {
            api: Arc::downgrade(api),
            clock: Arc::clone(clock),
            runtime: runtime.clone(),
            asked: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Until, Weak<Asked>>> {
        // A map of pointers: no change of it can be half done.
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until it is so, or for ever if too much is asked already.
    pub(crate) async fn until(&self, until: Until) {
        let Some(asked) = self.ask(until) else { return std::future::pending().await };
        // Its task tells before it ends, unless the runtime is shutting down.
        let _ = asked.come.clone().wait_for(|come| *come).await;
    }

    fn ask(&self, until: Until) -> Option<Arc<Asked>> {
        let mut all = self.lock();
        if let Some(asked) = all.get(&until).and_then(Weak::upgrade).filter(|asked| !*asked.come.borrow()) {
            return Some(asked);
        }
        all.retain(|_, asked| asked.strong_count() > 0);
        if all.len() >= MAX {
            return None;
        }
        let (tell, come) = watch::channel(false);
        let coming = until.clone().come(Weak::clone(&self.api), Arc::clone(&self.clock), tell);
        let asked = Arc::new(Asked { come, task: self.runtime.spawn(coming).abort_handle() });
        all.insert(until, Arc::downgrade(&asked));
        Some(asked)
    }
}
