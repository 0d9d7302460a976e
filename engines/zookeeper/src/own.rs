//! How contenders end, and how we hear that somebody else has ended one of ours.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::future::ready;
use futures_util::stream;
use leasehold_core::ordered::store::SessionId;
use leasehold_core::ordered::{Key, Owned};
use leasehold_core::{Name, Result};
use zookeeper_client::{Error as Cause, EventType};

use crate::failure::{self, Request};
use crate::node::Node;
use crate::session::Session;
use crate::store::{Inner, lock};
use crate::wire::{self, Data};

/// How many requests of one operation are under way at a time.
const REQUESTS_AT_A_TIME: usize = 64;

impl Inner {
    pub(crate) async fn exit(&self, name: &Name, key: &Key) -> Result<()> {
        let (session, contender) = self.let_go(key);
        if let Some(id) = key.rsplit('/').next().and_then(|child| Node::parse(child.to_owned())?.id) {
            lock(&self.sessions).values().for_each(|session| session.end(id, None));
        }
        match session.writes.delete(key).await {
            Ok(()) | Err(Cause::NoNode) => {}
            Err(cause) => return Err(failure::request(Request { operation: "release", path: key }, cause)),
        }
        if let Some(contender) = contender.filter(|contender| contender.first) {
            lock(&self.locks).clear(name, contender.number, contender.token);
        }
        Ok(())
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

    pub(crate) async fn gone(&self, key: &Key) {
        loop {
            match self.any().client.get_and_watch_data(key).await {
                Ok((_, _, watcher)) => match watcher.changed().await.event_type {
                    EventType::NodeDataChanged => {}
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
            let (name, child) = self.layout.split(&path)?;
            let id = Node::parse(child.to_owned())?.id?;
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
        if session.is_unwatched(&owned.key) {
            match session.client.get_and_watch_data(&owned.key).await {
                Ok((data, _, watcher)) => {
                    owned.revoked =
                        data == wire::CURATOR_REVOKE || Data::read(&data).is_some_and(|d| d.revoked);
                    session.watch(&owned.key, watcher);
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
