//! How contenders end, and how we hear that somebody else has ended one of ours.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::future::ready;
use futures_util::stream;
use leasehold_core::ordered::store::SessionId;
use leasehold_core::ordered::{Key, Owned};
use leasehold_core::{ClaimId, Name, Result};
use zookeeper_client::{Error as Cause, EventType};

use crate::batch::Delete;
use crate::failure::{self, Request};
use crate::node;
use crate::session::Session;
use crate::store::{Inner, lock};
use crate::wire::{self, Data};

/// How many requests of one operation are under way at a time.
const REQUESTS_AT_A_TIME: usize = 64;

/// One of our contenders, while we try to end it.
struct Leaving {
    session: Arc<Session>,
    id: ClaimId,
    /// The one that comes next, if it is ours as well.
    next: Option<(ClaimId, Key)>,
}

impl Drop for Leaving {
    fn drop(&mut self) {
        self.session.has_tried(self.id);
    }
}

impl Inner {
    pub(crate) async fn exit(&self, name: &Name, key: &Key) -> Result<()> {
        let id = node::id_of(key);
        let Some(leaving) = id.and_then(|id| self.leave(id)) else {
            return self.delete(&self.any(), Delete { key: key.clone(), next: None }).await.map(drop);
        };
        // If the next one is ours too, and is there when this one goes, it has its turn: nobody need look.
        let next = leaving.next.as_ref().map(|(_, key)| key.clone());
        let next_is_there = self.delete(&leaving.session, Delete { key: key.clone(), next }).await?;
        self.is_gone(name, leaving.id);
        leaving.next.iter().filter(|_| next_is_there).for_each(|(next, _)| leaving.session.is_first(*next));
        leaving.session.forget(leaving.id);
        Ok(())
    }

    async fn delete(&self, session: &Session, delete: Delete) -> Result<bool> {
        let key = delete.key.clone();
        match session.writes.delete(delete).await {
            Ok(next_is_there) => Ok(next_is_there),
            Err(Cause::NoNode) => Ok(false),
            Err(cause) => Err(failure::request(Request { operation: "release", path: &key }, cause)),
        }
    }

    /// One of our contenders is about to be ended.
    fn leave(&self, id: ClaimId) -> Option<Leaving> {
        let sessions = lock(&self.sessions);
        let owner = |session: &Arc<Session>| Some((Arc::clone(session), session.leave(id)?));
        let (session, next) = sessions.values().find_map(owner)?;
        Some(Leaving { session, id, next })
    }

    /// A contender is gone. If it was ours, and the first, so are all that came before it.
    fn is_gone(&self, name: &Name, id: ClaimId) {
        let contender = lock(&self.sessions).values().find_map(|session| session.contender(id));
        if let Some(contender) = contender.filter(|contender| contender.first) {
            lock(&self.locks).clear(name, contender.number, contender.token);
        }
    }

    pub(crate) async fn revoke(&self, key: &Key) -> Result<()> {
        let session = self.any();
        let failed = |cause| failure::request(Request { operation: "revoke", path: key }, cause);
        loop {
            let (data, stat) = match session.client.get_data(key).await {
                Ok(read) => read,
                Err(Cause::NoNode) => return Ok(()),
                Err(cause) => return Err(failed(cause)),
            };
            let revoked = match Data::read(&data) {
                Some(data) if data.revoked => return Ok(()),
                Some(data) => data.revoked().write(),
                // What Curator's holders listen for.
                None => wire::CURATOR_REVOKE.to_vec(),
            };
            match session.client.set_data(key, &revoked, Some(stat.version)).await {
                Ok(_) | Err(Cause::NoNode) => return Ok(()),
                Err(Cause::BadVersion) => {}
                Err(cause) => return Err(failed(cause)),
            }
        }
    }

    pub(crate) async fn gone(&self, name: &Name, key: &Key) {
        loop {
            match self.any().client.get_and_watch_data(key).await {
                Ok((_, _, watcher)) => match watcher.changed().await.event_type {
                    EventType::NodeDataChanged => {}
                    EventType::NodeDeleted => {
                        node::id_of(key).inspect(|id| self.is_gone(name, *id));
                        return;
                    }
                    _ => return,
                },
                // The next one waits until there is a connection again.
                Err(cause) if !failure::is_answer(&cause) && !failure::is_lost(&cause) => {}
                Err(_) => return,
            }
        }
    }

    pub(crate) async fn owned(&self, id: &SessionId) -> Result<Vec<Owned>> {
        let session = self.session(id)?;
        let top = self.layout.top();
        let listed = session.client.list_ephemerals(top).await;
        let paths =
            listed.map_err(|cause| failure::request(Request { operation: "sweep", path: top }, cause))?;
        let ours = paths.into_iter().filter_map(|path| {
            let (name, _) = self.layout.split(&path)?;
            let id = node::id_of(&path)?;
            Some(Owned { name, key: path.into(), id, revoked: false })
        });
        stream::iter(ours)
            .map(|owned| self.check(&session, owned))
            .buffer_unordered(REQUESTS_AT_A_TIME)
            .filter_map(ready)
            .collect::<Vec<_>>()
            .await
            .into_iter()
            .collect()
    }

    /// Whether a contender of ours has been revoked, and has it watched from now on. `None` if it is gone meanwhile. One
    /// that is watched is what it was.
    async fn check(&self, session: &Arc<Session>, mut owned: Owned) -> Option<Result<Owned>> {
        if session.is_unwatched(owned.id) {
            match session.client.get_and_watch_data(&owned.key).await {
                Ok((data, _, watcher)) => {
                    owned.revoked =
                        data == wire::CURATOR_REVOKE || Data::read(&data).is_some_and(|d| d.revoked);
                    session.watch(owned.id, watcher);
                }
                Err(Cause::NoNode) => return None,
                Err(cause) => {
                    return Some(Err(failure::request(
                        Request { operation: "sweep", path: &owned.key },
                        cause,
                    )));
                }
            }
        }
        Some(Ok(owned))
    }
}
