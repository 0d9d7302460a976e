//! The store: contenders are ephemeral nodes with a number, children of the lock's node; a session is a connection.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::ready;
use leasehold_core::gather::Work;
use leasehold_core::ordered::store::SessionId;
use leasehold_core::ordered::{Key, Line, Owned, Store, store};
use leasehold_core::{Claim, ClaimRef, EngineInfo, Error, ErrorKind, Name, Result, Token};
use zookeeper_client::{Acls, Client, Error as Cause};

use crate::config::{Acl, Config};
use crate::connect::{Door, silence};
use crate::failure::{self, Request};
use crate::layout::Layout;
use crate::locks::Locks;
use crate::session::{Session, terminal};

/// Sessions and lines in ZooKeeper.
pub(crate) struct Tree {
    inner: Arc<Inner>,
}

/// What all that a store does knows. [`enter`](crate::enter), [`line`](crate::line) and [`own`](crate::own) say more.
pub(crate) struct Inner {
    info: EngineInfo,
    door: Door,
    pub(crate) layout: Layout,
    /// The servers' unit of time.
    tick: Duration,
    /// The session in which we look around while there is no other.
    home: Arc<Session>,
    pub(crate) sessions: Mutex<BTreeMap<SessionId, Arc<Session>>>,
    /// What is known of locks.
    pub(crate) locks: Mutex<Locks>,
}

impl fmt::Debug for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tree").field("config", &self.inner.door.config).finish_non_exhaustive()
    }
}

impl Tree {
    pub(crate) fn new(info: EngineInfo, door: Door, home: Client, tick: Duration) -> Self {
        let layout = Layout::new(&door.config.chroot);
        let (sessions, locks) = (Mutex::default(), Mutex::default());
        let home = Arc::new(Session::new(home, Duration::ZERO, acls(&door.config)));
        Self { inner: Arc::new(Inner { info, door, layout, tick, home, sessions, locks }) }
    }
}

/// How much of a session's time-out cannot be counted on after a heartbeat. A heartbeat is agreed on by a majority, so
/// its leader is one; but the leader learns who is alive from what the other servers tell it every half tick. If the one
/// that we are connected to is cut off before it has, the leader counts from what it was told last: from the last request
/// or ping before that. The library looks every eighth of the time that a server may be silent, and pings if it has sent
/// nothing for three of them: between two pings is less than half of that time. A tick is twice the half that is meant.
pub(crate) fn unsure(timeout: Duration, tick: Duration) -> Duration {
    silence(timeout) / 2 + tick
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Maps and sets, each changed in one step.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn acls(config: &Config) -> Acls<'static> {
    match config.acl {
        Acl::Open => Acls::anyone_all(),
        Acl::Creator => Acls::creator_all(),
    }
}

fn over() -> Error {
    Error::new(ErrorKind::Lost, "session", "the ZooKeeper session is over")
}

impl Inner {
    pub(crate) fn session(&self, id: &SessionId) -> Result<Arc<Session>> {
        lock(&self.sessions).get(id).filter(|session| !session.is_over()).cloned().ok_or_else(over)
    }

    /// A session to look around with.
    pub(crate) fn any(&self) -> Arc<Session> {
        let sessions = lock(&self.sessions);
        let connected = sessions.values().find(|session| session.is_connected());
        Arc::clone(connected.unwrap_or(&self.home))
    }

    pub(crate) fn token(&self, key: &str, zxid: i64) -> Result<Token> {
        Token::new(u64::try_from(zxid).unwrap_or_default()).ok_or_else(|| failure::out_of_tokens(key))
    }

    pub(crate) fn acls(&self) -> Acls<'static> {
        acls(&self.door.config)
    }

    async fn open(&self, ttl: Duration) -> Result<store::Session> {
        let client = self.door.open(ttl).await?;
        let granted = client.session_timeout().saturating_sub(unsure(client.session_timeout(), self.tick));
        let session = Arc::new(Session::new(client, granted, self.acls()));
        let opened = store::Session { id: session.id.clone(), ttl: granted };
        lock(&self.sessions).insert(session.id.clone(), session);
        Ok(opened)
    }

    /// A transaction that changes nothing, which a majority must agree on all the same: so the session was there when
    /// the leader took it up, and the leader was one.
    async fn beat(&self, id: &SessionId) -> Result<store::Session> {
        let session = self.session(id)?;
        let request = Request { operation: "heartbeat", path: self.layout.top() };
        let failed = |cause| failure::request(request, cause);
        let transaction = session.client.new_check_writer(request.path, None).map_err(failed)?;
        match transaction.commit().await.map_err(Cause::from) {
            Ok(_) => {}
            // Whatever is wrong with that node, it was said by the majority.
            Err(cause) if failure::is_answer(&cause) || cause == Cause::RuntimeInconsistent => {}
            Err(cause) => return Err(failed(cause)),
        }
        Ok(store::Session { id: id.clone(), ttl: session.granted })
    }

    async fn close(&self, id: &SessionId) {
        let Some(session) = lock(&self.sessions).remove(id) else { return };
        let mut state = session.client.state_watcher();
        if session.is_over() {
            return;
        }
        // The library ends a session when nobody can use it any more.
        drop(session);
        terminal(&mut state).await;
    }
}

impl Store for Tree {
    fn info(&self) -> &EngineInfo {
        &self.inner.info
    }

    fn open(&self, ttl: Duration) -> Work<Result<store::Session>> {
        let inner = Arc::clone(&self.inner);
        Box::pin(async move { inner.open(ttl).await })
    }

    fn beat(&self, session: &SessionId) -> Work<Result<store::Session>> {
        let (inner, session) = (Arc::clone(&self.inner), session.clone());
        Box::pin(async move { inner.beat(&session).await })
    }

    fn close(&self, session: &SessionId) -> Work<Result<()>> {
        let (inner, session) = (Arc::clone(&self.inner), session.clone());
        Box::pin(async move {
            inner.close(&session).await;
            Ok(())
        })
    }

    fn enter(&self, session: &SessionId, claim: &Claim) -> Work<Result<Line>> {
        let (inner, session, claim) = (Arc::clone(&self.inner), session.clone(), claim.clone());
        Box::pin(async move { inner.enter(&session, &claim).await })
    }

    fn line(&self, name: &Name) -> Work<Result<Line>> {
        let (inner, name) = (Arc::clone(&self.inner), name.clone());
        Box::pin(async move { inner.line(&inner.any().client, &name).await })
    }

    fn line_of(&self, session: &SessionId, name: &Name) -> Work<Result<Line>> {
        let (inner, session, name) = (Arc::clone(&self.inner), session.clone(), name.clone());
        Box::pin(async move {
            let session = inner.session(&session)?;
            inner.line(&session.client, &name).await
        })
    }

    fn line_up_to(&self, session: &SessionId, claim: &ClaimRef) -> Work<Result<Line>> {
        let (inner, session, claim) = (Arc::clone(&self.inner), session.clone(), claim.clone());
        Box::pin(async move {
            let session = inner.session(&session)?;
            inner.line_up_to(&session, &claim).await
        })
    }

    fn describe(&self, line: Line) -> Work<Result<Line>> {
        let inner = Arc::clone(&self.inner);
        Box::pin(async move { inner.describe(line).await })
    }

    fn exit(&self, name: &Name, key: &Key) -> Work<Result<()>> {
        let (inner, name, key) = (Arc::clone(&self.inner), name.clone(), key.clone());
        Box::pin(async move { inner.exit(&name, &key).await })
    }

    fn revoke(&self, _name: &Name, key: &Key) -> Work<Result<()>> {
        let (inner, key) = (Arc::clone(&self.inner), key.clone());
        Box::pin(async move { inner.revoke(&key).await })
    }

    fn gone(&self, name: &Name, key: &Key, _stamp: u64) -> Work<()> {
        let (inner, name, key) = (Arc::clone(&self.inner), name.clone(), key.clone());
        Box::pin(async move { inner.gone(&name, &key).await })
    }

    fn owned(&self, session: &SessionId) -> Work<Result<Vec<Owned>>> {
        let (inner, session) = (Arc::clone(&self.inner), session.clone());
        Box::pin(async move { inner.owned(&session).await })
    }

    fn names(&self, prefix: &str, after: Option<&Name>, limit: usize) -> Work<Result<Vec<Name>>> {
        let (inner, prefix, after) = (Arc::clone(&self.inner), prefix.to_owned(), after.cloned());
        Box::pin(async move { inner.names(&prefix, after.as_ref(), limit).await })
    }

    fn upset(&self, session: &SessionId) -> Work<()> {
        match self.inner.session(session) {
            Ok(session) => Box::pin(session.upset()),
            Err(_) => Box::pin(ready(())),
        }
    }
}
