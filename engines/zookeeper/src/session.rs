//! A session: a connection that the library makes anew as long as the servers keep the session, and what is known of the
//! contenders that we have put in line under it.

use std::collections::HashSet;
use std::collections::hash_map::{Entry, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use leasehold_core::ordered::Key;
use leasehold_core::ordered::store::SessionId;
use leasehold_core::{ClaimId, Token};
use tokio::sync::watch;
use zookeeper_client::{Acls, Client, EventType, OneshotWatcher, SessionState};

use crate::batch::Writes;

/// A session.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: SessionId,
    pub(crate) client: Client,
    /// How long the servers keep it, for sure, after a heartbeat.
    pub(crate) granted: Duration,
    pub(crate) writes: Writes,
    own: Mutex<Own>,
    /// Rings when somebody else has done something to one of our contenders.
    bell: watch::Sender<()>,
}

/// Our contenders.
#[derive(Debug, Default)]
struct Own {
    there: HashMap<Key, Contender>,
    /// Claims that have been sent and of which nobody knows what came.
    sent: HashSet<ClaimId>,
}

/// One of our contenders.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Contender {
    pub(crate) token: Token,
    pub(crate) number: i32,
    /// Whether nobody is before it.
    pub(crate) first: bool,
    watched: bool,
}

impl Session {
    pub(crate) fn new(client: Client, granted: Duration, acls: Acls<'static>) -> Self {
        Self {
            id: client.session_id().to_string().into(),
            writes: Writes::new(&client, acls),
            client,
            granted,
            own: Mutex::default(),
            bell: watch::Sender::new(()),
        }
    }

    fn own(&self) -> MutexGuard<'_, Own> {
        // Each change of it is a single one.
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A claim is about to be sent; `false` if it may have been before.
    pub(crate) fn begin(&self, id: ClaimId) -> bool {
        self.own().sent.insert(id)
    }

    /// It is known what came of it: this contender, or nothing.
    pub(crate) fn end(&self, id: ClaimId, contender: Option<(&Key, Token, i32)>) {
        let mut own = self.own();
        own.sent.remove(&id);
        if let Some((key, token, number)) = contender {
            own.there.insert(key.clone(), Contender { token, number, first: false, watched: false });
        }
    }

    /// The token of one of our contenders.
    pub(crate) fn token(&self, key: &str) -> Option<Token> {
        self.own().there.get(key).map(|contender| contender.token)
    }

    /// This is the first in its line, and if it is ours, it stays so.
    pub(crate) fn is_first(&self, key: &str) {
        if let Some(contender) = self.own().there.get_mut(key) {
            contender.first = true;
        }
    }

    /// If this is one of our contenders, it is not any more: it is about to be ended, or has been.
    pub(crate) fn let_go(&self, key: &str) -> Option<Contender> {
        self.own().there.remove(key)
    }

    /// Whether nobody watches this contender of ours yet, and the caller shall.
    pub(crate) fn is_unwatched(&self, key: &str) -> bool {
        !self.own().there.get(key).is_some_and(|contender| contender.watched)
    }

    /// Watches one of our contenders, so that we hear at once if somebody else revokes or ends it.
    pub(crate) fn watch(self: &Arc<Self>, key: &Key, watcher: OneshotWatcher) {
        let mut own = self.own();
        match own.there.entry(key.clone()) {
            Entry::Occupied(mut contender) => contender.get_mut().watched = true,
            // We have ended it meanwhile, or nobody knows of it and it will be.
            Entry::Vacant(_) => return,
        }
        drop(own);
        let (session, key) = (Arc::downgrade(self), key.clone());
        tokio::spawn(async move {
            let event = watcher.changed().await;
            let Some(session) = session.upgrade() else { return };
            let was_ours = match event.event_type {
                EventType::NodeDeleted => session.let_go(&key).is_some(),
                EventType::NodeDataChanged => session.unwatch(&key),
                // The session is over, and tells that itself.
                _ => false,
            };
            if was_ours {
                session.bell.send_replace(());
            }
        });
    }

    /// A watch has ended; whether the contender was still ours.
    fn unwatch(&self, key: &Key) -> bool {
        let mut own = self.own();
        let contender = own.there.get_mut(key);
        contender.map(|contender| contender.watched = false).is_some()
    }

    /// Resolves when the session is over, or somebody else has done something to one of our contenders.
    pub(crate) fn upset(&self) -> impl Future<Output = ()> + Send + use<> {
        let (mut state, mut bell) = (self.client.state_watcher(), self.bell.subscribe());
        let over = self.is_over();
        async move {
            if over {
                return;
            }
            tokio::select! {
                () = terminal(&mut state) => {}
                // The bell is the session's: when it is gone, so is the session.
                _ = bell.changed() => {}
            }
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.client.state().is_terminated()
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.client.state() == SessionState::SyncConnected
    }
}

/// Resolves when a session is over.
pub(crate) async fn terminal(state: &mut zookeeper_client::StateWatcher) {
    while !state.changed().await.is_terminated() {}
}
