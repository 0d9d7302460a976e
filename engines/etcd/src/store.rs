//! The store: sessions are leases, lines are the keys of a lock in the order of their create revisions.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hashbrown::HashMap;
use leasehold_core::engine::EngineInfo;
use leasehold_core::gather::{Gather, Work};
use leasehold_core::ordered::store::{Key, Line, Owned, Session, SessionId, Store};
use leasehold_core::{Claim, ClaimRef, Error, ErrorKind, Name, Result};

use crate::batch::{self, Done, Item};
use crate::failure;
use crate::hands::Hands;
use crate::link::Link;
use crate::messages::{
    LeaseGrantRequest, LeaseKeepAliveRequest, LeaseRevokeRequest, LeaseTimeToLiveRequest, PutRequest,
    RangeRequest, RangeResponse, WatchCreateRequest, revision,
};
use crate::place::{Place, hex};
use crate::watch::News;
use crate::wire::{self, Note};

/// How many keys are read at once when names are looked for.
const PAGE: i64 = 2000;
/// Before a watch is tried again that the server does not give.
const PAUSE: Duration = Duration::from_millis(100);
/// Of the kinds of events, those of keys that are put.
const NO_PUTS: i32 = 0;

/// Sessions and lines in etcd.
#[derive(Clone, Debug)]
pub(crate) struct Leases(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    link: Arc<Link>,
    info: EngineInfo,
    items: Gather<Item, Result<Done>>,
    hands: Hands,
    /// The sessions of this client.
    sessions: Mutex<HashMap<i64, Known>>,
}

/// What is known of a session.
#[derive(Clone, Copy, Debug)]
struct Known {
    ttl: Duration,
    /// Up to which revision it has been told what happened to it.
    told: u64,
}

impl Leases {
    pub(crate) fn new(link: Arc<Link>, info: EngineInfo) -> Self {
        let items = batch::gather(Arc::clone(&link));
        Self(Arc::new(Inner { link, info, items, hands: Hands::default(), sessions: Mutex::default() }))
    }

    fn work<T, F>(&self, work: impl FnOnce(Arc<Inner>) -> F) -> Work<T>
    where
        F: Future<Output = T> + Send + 'static,
    {
        Box::pin(work(Arc::clone(&self.0)))
    }
}

impl Store for Leases {
    fn info(&self) -> &EngineInfo {
        &self.0.info
    }

    fn open(&self, ttl: Duration) -> Work<Result<Session>> {
        self.work(|inner| async move { inner.open(ttl).await })
    }

    fn beat(&self, session: &SessionId) -> Work<Result<Session>> {
        let session = SessionId::clone(session);
        self.work(|inner| async move { inner.beat(session).await })
    }

    fn close(&self, session: &SessionId) -> Work<Result<()>> {
        let lease = lease(session);
        self.work(|inner| async move { inner.close(lease).await })
    }

    fn enter(&self, session: &SessionId, claim: &Claim) -> Work<Result<Line>> {
        let (lease, claim) = (lease(session), claim.clone());
        self.work(|inner| async move { inner.enter(lease, &claim).await })
    }

    fn line(&self, name: &Name) -> Work<Result<Line>> {
        let name = name.clone();
        self.work(|inner| async move { inner.line(&name).await })
    }

    fn line_up_to(&self, session: &SessionId, claim: &ClaimRef) -> Work<Result<Line>> {
        let (lease, claim) = (lease(session), claim.clone());
        self.work(|inner| async move { inner.line_up_to(lease, &claim).await })
    }

    fn exit(&self, name: &Name, key: &Key) -> Work<Result<()>> {
        let (name, key) = (name.clone(), Key::clone(key));
        self.work(|inner| async move { inner.exit(&name, &key).await })
    }

    fn revoke(&self, _name: &Name, key: &Key) -> Work<Result<()>> {
        let key = Key::clone(key);
        self.work(|inner| async move { inner.revoke(&key).await })
    }

    fn gone(&self, _name: &Name, key: &Key, stamp: u64) -> Work<()> {
        let key = Key::clone(key);
        self.work(|inner| async move { inner.gone(&key, stamp).await })
    }

    fn owned(&self, session: &SessionId) -> Work<Result<Vec<Owned>>> {
        let lease = lease(session);
        self.work(|inner| async move { inner.owned(lease).await })
    }

    fn names(&self, prefix: &str, after: Option<&Name>, limit: usize) -> Work<Result<Vec<Name>>> {
        let (prefix, after) = (prefix.to_owned(), after.cloned());
        self.work(|inner| async move { inner.names(&prefix, after.as_ref(), limit).await })
    }

    fn upset(&self, session: &SessionId) -> Work<()> {
        let lease = lease(session);
        self.work(|inner| async move { inner.upset(lease).await })
    }
}

/// The lease of a session of ours.
fn lease(session: &SessionId) -> i64 {
    hex(session).expect("sessions are named after their leases")
}

fn lost(operation: &'static str) -> Error {
    Error::new(ErrorKind::Lost, operation, "the session has ended: its lease is not there any more")
}

impl Inner {
    fn sessions(&self) -> MutexGuard<'_, HashMap<i64, Known>> {
        // Nothing in here panics half-way.
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn open(&self, ttl: Duration) -> Result<Session> {
        let grant = LeaseGrantRequest { ttl: seconds(ttl) };
        let granted = self.link.ask("open a session", grant).await?;
        // By its key, whoever watches it learns of its end.
        let key = self.link.places.session(granted.id);
        let put = PutRequest { key: key.into(), lease: granted.id, ..PutRequest::default() };
        let answer = match self.link.ask("open a session", put).await {
            Ok(answer) => answer,
            Err(error) => {
                // If that fails too, the lease ends by itself.
                let _ = self.close(granted.id).await;
                return Err(error);
            }
        };
        let ttl = Duration::from_secs(granted.ttl.unsigned_abs());
        self.sessions().insert(granted.id, Known { ttl, told: self.link.see(revision(answer.header)) });
        Ok(Session { id: format!("{:x}", granted.id).into(), ttl })
    }

    async fn beat(&self, session: SessionId) -> Result<Session> {
        let lease = lease(&session);
        let answer = self.link.ask("heartbeat", LeaseKeepAliveRequest { id: lease }).await?;
        match u64::try_from(answer.ttl) {
            Ok(seconds @ 1..) => Ok(Session { id: session, ttl: Duration::from_secs(seconds) }),
            _ => {
                self.forget(lease);
                Err(lost("heartbeat"))
            }
        }
    }

    async fn close(&self, lease: i64) -> Result<()> {
        match self.link.ask("close a session", LeaseRevokeRequest { id: lease }).await {
            Err(error) if error.kind() != ErrorKind::Lost => return Err(error),
            _ => {}
        }
        self.forget(lease);
        Ok(())
    }

    /// A session is over.
    fn forget(&self, lease: i64) {
        self.sessions().remove(&lease);
        self.hands.ended_with(lease);
    }

    async fn enter(&self, lease: i64, claim: &Claim) -> Result<Line> {
        let Some(Known { ttl, .. }) = self.sessions().get(&lease).copied() else { return Err(lost("lock")) };
        let lock = self.link.places.lock(&claim.name);
        let key: Key = self.link.places.claim(&claim.name, lease, claim.id).into();
        let value = Note::of(claim, ttl, self.link.env.clock.wall_micros()).write();
        let txn = wire::enter(&key, value, lease, self.link.places.line(&claim.name));
        let item = Item::Enter { lock: lock.as_str().into(), key: Key::clone(&key), txn };
        let Done::Entered(kvs, at) = self.items.submit(item, 1).await? else {
            return Err(failure::odd("lock", "no line"));
        };
        self.link.see(at);
        let mut contenders = match wire::contenders(&claim.name, &lock, &kvs) {
            Ok(contenders) => contenders,
            Err(odd) => {
                // It must not stand in a line that is none. If it cannot be removed now, that is done later.
                let _ = self.exit(&claim.name, &key).await;
                return Err(odd);
            }
        };
        let own = contenders.iter().position(|contender| contender.key == key);
        let own = own.ok_or_else(|| failure::odd("lock", "a line without our own claim"))?;
        contenders.truncate(own + 1);
        Ok(Line { contenders, stamp: at })
    }

    async fn line(&self, name: &Name) -> Result<Line> {
        let answer = self.read(wire::line(self.link.places.line(name)), self.link.seen()).await?;
        let stamp = self.link.see(revision(answer.header));
        let contenders = wire::contenders(name, &self.link.places.lock(name), &answer.kvs)?;
        Ok(Line { contenders, stamp })
    }

    /// Who is first may have been told by the request that made it so.
    async fn line_up_to(&self, lease: i64, claim: &ClaimRef) -> Result<Line> {
        let places = &self.link.places;
        match self.hands.take_first(&places.claim(&claim.name, lease, claim.id)) {
            Some((kv, stamp)) => {
                let contenders = wire::contenders(&claim.name, &places.lock(&claim.name), &[kv])?;
                Ok(Line { contenders, stamp })
            }
            None => self.line(&claim.name).await,
        }
    }

    async fn exit(&self, name: &Name, key: &Key) -> Result<()> {
        if let Some((_, Place::Claim(lease, id))) = self.link.places.read(key)
            && !self.sessions().contains_key(&lease)
        {
            // Another client's: it is told.
            let evict = wire::evict(key, &self.link.places.bell(lease, id), lease);
            return match self.link.ask("unlock", evict).await {
                Err(error) if error.kind() != ErrorKind::Lost => Err(error),
                // What was to be told has ended with its session, or has been.
                _ => Ok(()),
            };
        }
        let first = self.hands.is_awaited(key).then(|| wire::first(self.link.places.line(name)));
        let Done::Left(first, at) = self.items.submit(Item::Exit { key: Key::clone(key), first }, 1).await?
        else {
            return Err(failure::odd("release", "a line"));
        };
        self.link.see(at);
        let ours = first.filter(|kv| self.sessions().contains_key(&kv.lease));
        self.hands.ended(key, ours.map(|kv| (kv, at)));
        Ok(())
    }

    async fn revoke(&self, key: &Key) -> Result<()> {
        let Some((name, Place::Claim(lease, id))) = self.link.places.read(key) else {
            let message =
                "the lock is held by another program's client, which cannot be told; `--force` ends it";
            return Err(Error::new(ErrorKind::Refused, "unlock", message));
        };
        loop {
            let Some(kv) = self.link.ask("unlock", wire::one(key)).await?.kvs.into_iter().next() else {
                return Ok(());
            };
            let Some(mut note) = Note::read(&kv.value) else {
                wire::contenders(&name, &self.link.places.lock(&name), &[kv])?;
                return Err(failure::odd("unlock", "a contender that says nothing of itself"));
            };
            note.revoked = true;
            let bell = self.link.places.bell(lease, id);
            let change = wire::change(key, kv.mod_revision, note.write(), &bell, lease);
            match self.link.ask("unlock", change).await {
                Ok(answer) if answer.succeeded => return Ok(()),
                // It has been changed or has ended meanwhile.
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Lost => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    async fn gone(&self, key: &Key, stamp: u64) {
        let by_us = self.hands.wait(key).end();
        tokio::select! {
            () = by_us => {}
            () = self.gone_from_there(key, stamp) => {}
        }
    }

    /// The same for whoever ends it.
    async fn gone_from_there(&self, key: &Key, stamp: u64) {
        let what = WatchCreateRequest {
            key: key.as_bytes().to_vec(),
            filters: vec![NO_PUTS],
            ..WatchCreateRequest::default()
        };
        // From now on, and not from the stamp, which is past.
        let Some((mut watching, since)) = self.link.watch_from_now(what).await else {
            return self.link.pause(PAUSE).await;
        };
        if since > stamp && !self.stands(key, stamp, since).await {
            return;
        }
        if let Some(News::Happened(at)) = watching.next().await {
            self.link.see(at);
        }
    }

    /// Whether what stood there at the stamp still does at the revision `since`.
    async fn stands(&self, key: &Key, stamp: u64, since: u64) -> bool {
        let answer = self.read(wire::one(key), since).await;
        answer.is_ok_and(|answer| {
            answer.kvs.iter().any(|kv| u64::try_from(kv.create_revision).is_ok_and(|made| made <= stamp))
        })
    }

    /// Reads what is there at this revision or later: what the member has itself, if that is late enough. An older look
    /// at a line shows some who have gone; whoever is first in it is first.
    async fn read(&self, request: RangeRequest, at_least: u64) -> Result<RangeResponse> {
        let own = self.link.ask("look", RangeRequest { serializable: true, ..request.clone() }).await?;
        if revision(own.header) >= at_least {
            return Ok(own);
        }
        self.link.ask("look", request).await
    }

    async fn owned(&self, lease: i64) -> Result<Vec<Owned>> {
        let answer = self.link.ask("sweep", LeaseTimeToLiveRequest { id: lease, keys: true }).await?;
        if answer.ttl < 0 {
            return Err(lost("sweep"));
        }
        let keys: Vec<&str> = answer.keys.iter().filter_map(|key| std::str::from_utf8(key).ok()).collect();
        let rung: Vec<_> = keys.iter().filter_map(|key| self.link.places.rung(lease, key)).collect();
        let owned = keys.iter().filter_map(|key| {
            let (name, Place::Claim(of, id)) = self.link.places.read(key)? else { return None };
            (of == lease).then(|| Owned { name, key: Key::from(*key), id, revoked: rung.contains(&id) })
        });
        Ok(owned.collect())
    }

    async fn names(&self, prefix: &str, after: Option<&Name>, limit: usize) -> Result<Vec<Name>> {
        let span = self.link.places.names(prefix);
        let mut request = RangeRequest {
            key: span.from,
            range_end: span.to,
            limit: PAGE,
            keys_only: true,
            ..RangeRequest::default()
        };
        // Keys come in another order than names, so all are read, and the first names kept.
        let mut names = BTreeSet::new();
        loop {
            let answer = self.link.ask("look", request.clone()).await?;
            request.revision = answer.header.map_or(0, |header| header.revision);
            self.link.see(revision(answer.header));
            let Some(last) = answer.kvs.last() else { break };
            request.key = [&last.key[..], &[0]].concat();
            let found =
                answer.kvs.iter().filter_map(|kv| self.link.places.read(std::str::from_utf8(&kv.key).ok()?));
            names.extend(found.map(|(name, _)| name).filter(|name| after.is_none_or(|after| name > after)));
            while names.len() > limit {
                names.pop_last();
            }
            if !answer.more {
                break;
            }
        }
        Ok(names.into_iter().collect())
    }

    async fn upset(&self, lease: i64) {
        let span = self.link.places.bells(lease);
        loop {
            let Some(told) = self.sessions().get(&lease).map(|known| known.told) else {
                // It has ended, and that is known.
                return;
            };
            let what = WatchCreateRequest {
                key: span.from.clone(),
                range_end: span.to.clone(),
                start_revision: i64::try_from(told + 1).unwrap_or(i64::MAX),
                ..WatchCreateRequest::default()
            };
            if let Ok(mut watching) = self.link.watch(what).await {
                while let Some(news) = watching.next().await {
                    if let News::Happened(at) = news {
                        self.link.see(at);
                        if let Some(known) = self.sessions().get_mut(&lease) {
                            known.told = at;
                        }
                        return;
                    }
                }
            }
            // The connection is lost; another watch begins where this one ended.
            self.link.pause(PAUSE).await;
        }
    }
}

/// Leases are counted in seconds.
fn seconds(ttl: Duration) -> i64 {
    i64::try_from(ttl.as_nanos().div_ceil(1_000_000_000)).unwrap_or(i64::MAX)
}
