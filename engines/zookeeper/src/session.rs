//! A session: a connection that the library makes anew as long as the servers keep the session, and what is known of the
//! contenders that we have put in line under it.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use leasehold_core::ordered::Key;
use leasehold_core::ordered::store::SessionId;
use leasehold_core::{ClaimId, Name, Token};
use tokio::sync::{Notify, watch};
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
    /// Told when the end of one of our contenders has been tried.
    exits: Notify,
    /// Rings when somebody else has done something to one of our contenders.
    bell: watch::Sender<()>,
}

/// Our contenders.
#[derive(Debug, Default)]
struct Own {
    there: HashMap<ClaimId, Contender>,
    /// The same by lock and number.
    numbered: HashMap<(Name, i32), ClaimId>,
    /// Claims that have been sent and of which nobody knows what came.
    sent: HashSet<ClaimId>,
    /// Claims that are being put in line.
    turns: HashMap<ClaimId, Arc<tokio::sync::Mutex<()>>>,
}

/// The right to put a claim in line, which has it once: whoever asks again meanwhile waits for what comes of it.
#[derive(Debug)]
pub(crate) struct Turn {
    session: Arc<Session>,
    id: ClaimId,
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl Turn {
    pub(crate) async fn lock(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.turn.lock().await
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut own = self.session.own();
        // Ours and that of the table: nobody else has it.
        if Arc::strong_count(&self.turn) == 2 {
            own.turns.remove(&self.id);
        }
    }
}

/// One of our contenders.
#[derive(Clone, Debug)]
pub(crate) struct Contender {
    pub(crate) name: Name,
    pub(crate) key: Key,
    pub(crate) token: Token,
    pub(crate) number: i32,
    /// Whether nobody is before it. That stays so.
    pub(crate) first: bool,
    /// We are about to end it ourselves.
    leaving: bool,
    watched: bool,
}

impl Contender {
    pub(crate) fn new(name: Name, key: Key, token: Token, number: i32) -> Self {
        Self { name, key, token, number, first: false, leaving: false, watched: false }
    }
}

impl Own {
    fn begin(&mut self, id: ClaimId) -> bool {
        !self.there.contains_key(&id) && self.sent.insert(id)
    }

    fn end(&mut self, id: ClaimId, contender: Option<Contender>) {
        self.sent.remove(&id);
        if let Some(contender) = contender {
            self.numbered.insert((contender.name.clone(), contender.number), id);
            self.there.insert(id, contender);
        }
    }
}

impl Session {
    pub(crate) fn new(client: Client, granted: Duration, acls: Acls<'static>) -> Self {
        Self {
            id: client.session_id().to_string().into(),
            writes: Writes::new(&client, acls),
            client,
            granted,
            own: Mutex::default(),
            exits: Notify::new(),
            bell: watch::Sender::new(()),
        }
    }

    fn own(&self) -> MutexGuard<'_, Own> {
        // Each change of it is a single one.
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The turn of a claim to be put in line.
    pub(crate) fn turn(self: &Arc<Self>, id: ClaimId) -> Turn {
        let turn = Arc::clone(self.own().turns.entry(id).or_default());
        Turn { session: Arc::clone(self), id, turn }
    }

    /// A claim is about to be sent; `false` if it may have been before.
    pub(crate) fn begin(&self, id: ClaimId) -> bool {
        self.own().begin(id)
    }

    /// It is known what came of it: this contender, or nothing.
    pub(crate) fn end(&self, id: ClaimId, contender: Option<Contender>) {
        self.own().end(id, contender);
    }

    /// One of our contenders.
    pub(crate) fn contender(&self, id: ClaimId) -> Option<Contender> {
        self.own().there.get(&id).cloned()
    }

    /// The token of one of our contenders.
    pub(crate) fn token(&self, id: ClaimId) -> Option<Token> {
        self.own().there.get(&id).map(|contender| contender.token)
    }

    /// If this is a contender of ours, it is the first in its line.
    pub(crate) fn is_first(&self, id: ClaimId) {
        if let Some(contender) = self.own().there.get_mut(&id) {
            contender.first = true;
        }
    }

    /// If this is a contender of ours, we are about to end it: and if the next one is ours as well, which that is.
    pub(crate) fn leave(&self, id: ClaimId) -> Option<Option<(ClaimId, Key)>> {
        let mut own = self.own();
        own.sent.remove(&id);
        let contender = own.there.get_mut(&id)?;
        contender.leaving = true;
        let contender = contender.clone();
        let next = contender.number.checked_add(1).filter(|_| contender.first);
        let next = next.and_then(|number| own.numbered.get(&(contender.name.clone(), number)));
        let next = next.and_then(|id| own.there.get(id).map(|next| (*id, next.key.clone())));
        Some(next)
    }

    /// The end of this contender has been tried: it is forgotten, or stays for now.
    pub(crate) fn has_tried(&self, id: ClaimId) {
        if let Some(contender) = self.own().there.get_mut(&id) {
            contender.leaving = false;
        }
        self.exits.notify_waiters();
    }

    /// If this was a contender of ours, it is gone; whether we have not ended it ourselves.
    pub(crate) fn forget(&self, id: ClaimId) -> bool {
        let mut own = self.own();
        let Some(contender) = own.there.remove(&id) else { return false };
        own.numbered.remove(&(contender.name, contender.number));
        !contender.leaving
    }

    /// Whether a contender of ours is the first, as far as is known or is about to be: if the one just before it is ours
    /// and we are ending that, the answer to this will tell.
    pub(crate) async fn comes_first(&self, id: ClaimId) -> bool {
        loop {
            let exit = self.exits.notified();
            {
                let own = self.own();
                let Some(contender) = own.there.get(&id) else { return false };
                if contender.first {
                    return true;
                }
                let before = own.numbered.get(&(contender.name.clone(), contender.number.wrapping_sub(1)));
                if !before.and_then(|before| own.there.get(before)).is_some_and(|before| before.leaving) {
                    return false;
                }
            }
            exit.await;
        }
    }

    /// Whether nobody watches this contender of ours yet, and the caller shall.
    pub(crate) fn is_unwatched(&self, id: ClaimId) -> bool {
        !self.own().there.get(&id).is_some_and(|contender| contender.watched)
    }

    /// Watches one of our contenders, so that we hear at once if somebody else revokes or ends it.
    pub(crate) fn watch(self: &Arc<Self>, id: ClaimId, watcher: OneshotWatcher) {
        // If it is not known, we have ended it meanwhile, or will.
        let Some(()) = self.own().there.get_mut(&id).map(|contender| contender.watched = true) else {
            return;
        };
        let session = Arc::downgrade(self);
        tokio::spawn(async move {
            let event = watcher.changed().await;
            let Some(session) = session.upgrade() else { return };
            let by_others = match event.event_type {
                EventType::NodeDeleted => session.forget(id),
                EventType::NodeDataChanged => session.unwatch(id),
                // The session is over, and tells that itself.
                _ => false,
            };
            if by_others {
                session.bell.send_replace(());
            }
        });
    }

    /// A watch has ended; whether the contender is still ours.
    fn unwatch(&self, id: ClaimId) -> bool {
        let mut own = self.own();
        let contender = own.there.get_mut(&id);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_been_sent_or_stands_is_not_sent_again() {
        let (mut own, id) = (Own::default(), ClaimId(1));
        assert!(own.begin(id) && !own.begin(id));
        own.end(id, None);
        assert!(own.begin(id), "nothing came of it");
        let (name, token) = (Name::new("m").unwrap(), Token::new(7).unwrap());
        own.end(id, Some(Contender::new(name, "/m/lock-0000000000".into(), token, 0)));
        assert!(!own.begin(id), "it stands, though nobody may know yet how");
    }
}
