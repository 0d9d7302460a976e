//! The store: contenders are ephemeral nodes with a number, children of the lock's node; a session is a connection.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::{join, ready};
use futures_util::stream;
use leasehold_core::gather::Work;
use leasehold_core::ordered::store::SessionId;
use leasehold_core::ordered::{Contender, Key, Line, Owned, Store, store};
use leasehold_core::{Claim, EngineInfo, Error, ErrorKind, Name, Outcome, Result, Token};
use zookeeper_client::{Acls, Client, CreateMode, Error as Cause, EventType, MultiReadResult, Stat};

use crate::config::Acl;
use crate::connect::Door;
use crate::failure::{self, Request};
use crate::layout::Layout;
use crate::node::{self, Node};
use crate::session::{Session, terminal};
use crate::wire::{self, Data};

/// How often a contender is made again because its parent went away under it.
const PARENTS_TO_MAKE: usize = 5;
/// How many nodes are read in one request.
const READ_TOGETHER: usize = 128;
/// How many requests of one operation are under way at a time.
const REQUESTS_AT_A_TIME: usize = 64;
/// How many locks are remembered to have been looked at before we first put something there.
const LOCKS_REMEMBERED: usize = 50_000;

/// Sessions and lines in ZooKeeper.
pub(crate) struct Tree {
    inner: Arc<Inner>,
}

struct Inner {
    info: EngineInfo,
    door: Door,
    layout: Layout,
    /// The servers' unit of time.
    tick: Duration,
    /// The session in which we look around while there is no other.
    home: Client,
    sessions: Mutex<BTreeMap<SessionId, Arc<Session>>>,
    /// Locks that are known to be nothing else.
    locks: Mutex<HashSet<Name>>,
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
        Self { inner: Arc::new(Inner { info, door, layout, tick, home, sessions, locks }) }
    }
}

/// How much of a session's time-out cannot be counted on after a heartbeat. A heartbeat is agreed on by a majority, so
/// its leader is one; but the leader learns who is alive from what the other servers tell it every half tick. If the one
/// that we are connected to is cut off before it has, the leader counts from what it was told last: from the last request
/// or ping before that. The library pings after 3/20 of the time-out. A tick is twice the half that is meant.
pub(crate) fn unsure(timeout: Duration, tick: Duration) -> Duration {
    timeout * 3 / 20 + tick
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Maps and sets, each changed in one step.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn over() -> Error {
    Error::new(ErrorKind::Lost, "session", "the ZooKeeper session is over")
}

impl Inner {
    fn session(&self, id: &SessionId) -> Result<Arc<Session>> {
        lock(&self.sessions).get(id).filter(|session| !session.is_over()).cloned().ok_or_else(over)
    }

    /// A client to look around with.
    fn any(&self) -> Client {
        let sessions = lock(&self.sessions);
        let connected = sessions.values().find(|session| session.is_connected());
        connected.map_or_else(|| self.home.clone(), |session| session.client.clone())
    }

    /// The client that has put this contender in line, or else any.
    fn owner(&self, key: &Key) -> Client {
        let owner = lock(&self.sessions).values().find(|session| session.let_go(key)).cloned();
        owner.map_or_else(|| self.any(), |session| session.client.clone())
    }

    fn acls(&self) -> Acls<'static> {
        match self.door.config.acl {
            Acl::Open => Acls::anyone_all(),
            Acl::Creator => Acls::creator_all(),
        }
    }

    fn token(&self, key: &str, stat: &Stat) -> Result<Token> {
        let number = u64::try_from(stat.czxid).unwrap_or_default();
        Token::new(number).ok_or_else(|| failure::out_of_tokens(key))
    }

    async fn open(&self, ttl: Duration) -> Result<store::Session> {
        let client = self.door.open(ttl).await?;
        let granted = client.session_timeout().saturating_sub(unsure(client.session_timeout(), self.tick));
        let session = Arc::new(Session::new(client, granted));
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

    async fn enter(&self, id: &SessionId, claim: &Claim) -> Result<Line> {
        let session = self.session(id)?;
        let parent = self.layout.path(&claim.name);
        if !session.begin(claim.id) {
            if let Some(line) = self.find(&session, &parent, claim).await? {
                return Ok(line);
            }
        } else if !lock(&self.locks).contains(&claim.name)
            && let Err(error) = self.look_before(&session.client, &parent, claim).await
        {
            session.end(claim.id, None);
            return Err(error);
        }
        let made = self.make(&session, &parent, claim).await;
        if !matches!(&made, Err(error) if error.outcome() == Outcome::Unknown) {
            let contender = made.as_ref().ok().map(|(key, token, _)| (key.clone(), *token));
            session.end(claim.id, contender);
        }
        let (_, _, children) = made?;
        self.line_up_to(&session, &parent, children?, claim).await
    }

    /// Looks whether a lock's path is that of something else, before anything is put there.
    async fn look_before(&self, client: &Client, parent: &str, claim: &Claim) -> Result<()> {
        let request = Request { operation: "lock", path: parent };
        match join(client.get_data(parent), client.list_children(parent)).await {
            (Ok((data, _)), _) if !data.is_empty() => {
                return Err(failure::not_a_lock("lock", parent, "holds somebody's data"));
            }
            (Ok(_), Ok(children)) => {
                if let Some(other) = children.into_iter().find(|child| Node::parse(child.clone()).is_none()) {
                    let what = format!("has the child `{other}`, which no lock has");
                    return Err(failure::not_a_lock("lock", parent, &what));
                }
            }
            (Err(Cause::NoNode), _) | (_, Err(Cause::NoNode)) => {
                self.make_parent(client, parent).await?;
            }
            (Err(cause), _) | (_, Err(cause)) => {
                return Err(failure::request(request, cause).with_outcome(Outcome::NotApplied));
            }
        }
        let mut locks = lock(&self.locks);
        if locks.len() >= LOCKS_REMEMBERED {
            locks.clear();
        }
        locks.insert(claim.name.clone());
        Ok(())
    }

    /// Makes a contender's node and lists all, in one go: requests of a session are done in order.
    async fn make(
        &self,
        session: &Session,
        parent: &str,
        claim: &Claim,
    ) -> Result<(Key, Token, Result<Vec<String>>)> {
        let (client, prefix) = (&session.client, format!("{parent}/{}", node::prefix(claim)));
        let data = Data::of(claim).write();
        let options = CreateMode::EphemeralSequential.with_acls(self.acls());
        let request = Request { operation: "lock", path: parent };
        for _ in 0..PARENTS_TO_MAKE {
            let created = client.create(&prefix, &data, &options);
            let listed = client.list_children(parent);
            match join(created, listed).await {
                (Ok((stat, number)), listed) => {
                    let key: Key = format!("{prefix}{number}").into();
                    let token = self.token(&key, &stat)?;
                    // It is there, so without the line its outcome is not unknown; but asking again is the cure.
                    let listed = listed
                        .map_err(|cause| failure::request(request, cause).with_outcome(Outcome::Unknown));
                    return Ok((key, token, listed));
                }
                (Err(Cause::NoNode), _) => self.make_parent(client, parent).await?,
                (Err(cause), _) => return Err(failure::request(request, cause)),
            }
        }
        Err(failure::request(request, Cause::NoNode))
    }

    /// Makes a lock's node, of the kind that goes away by itself.
    async fn make_parent(&self, client: &Client, parent: &str) -> Result<()> {
        let options = CreateMode::Container.with_acls(self.acls());
        let made = client.mkdir(parent, &options).await;
        // Nothing of the claim has been sent.
        made.map_err(|cause| {
            failure::request(Request { operation: "lock", path: parent }, cause)
                .with_outcome(Outcome::NotApplied)
        })
    }

    /// Looks for a contender that may have been made by a request whose answer was lost.
    async fn find(&self, session: &Session, parent: &str, claim: &Claim) -> Result<Option<Line>> {
        let failed = |cause| {
            failure::request(Request { operation: "lock", path: parent }, cause)
                .with_outcome(Outcome::Unknown)
        };
        let client = &session.client;
        // The request may have gone through another server, and be known to the leader and not yet to this one.
        let (synced, listed) = join(client.sync(parent), client.list_children(parent)).await;
        let children = match (synced, listed) {
            (_, Err(Cause::NoNode)) => return Ok(None),
            (Err(cause), _) | (_, Err(cause)) => return Err(failed(cause)),
            (Ok(()), Ok(children)) => children,
        };
        let begins = node::protection(claim.id);
        let Some(child) = children.iter().find(|child| child.starts_with(&begins)) else { return Ok(None) };
        let key: Key = format!("{parent}/{child}").into();
        let Some(stat) = client.check_stat(&key).await.map_err(failed)? else { return Ok(None) };
        let token = self.token(&key, &stat)?;
        session.end(claim.id, Some((key, token)));
        self.line_up_to(session, parent, children, claim).await.map(Some)
    }

    async fn line_up_to(
        &self,
        session: &Session,
        parent: &str,
        children: Vec<String>,
        claim: &Claim,
    ) -> Result<Line> {
        let mut line = self.order(&session.client, parent, children).await?;
        if let Some(at) = line.contenders.iter().position(|contender| contender.id == Some(claim.id)) {
            line.contenders.truncate(at + 1);
        }
        Ok(line)
    }

    async fn line(&self, client: &Client, name: &Name) -> Result<Line> {
        let parent = self.layout.path(name);
        match client.list_children(&parent).await {
            Ok(children) => self.order(client, &parent, children).await,
            Err(Cause::NoNode) => Ok(Line::default()),
            Err(cause) => Err(failure::request(Request { operation: "look", path: &parent }, cause)),
        }
    }

    /// The line that these children are.
    async fn order(&self, client: &Client, parent: &str, children: Vec<String>) -> Result<Line> {
        let mut nodes: Vec<_> = children.into_iter().filter_map(Node::parse).collect();
        if !node::order(&mut nodes) {
            nodes = self.order_by_transaction(client, parent, nodes).await?;
        }
        let sessions: Vec<_> = lock(&self.sessions).values().cloned().collect();
        let contender = |node: Node| {
            let key: Key = format!("{parent}/{}", node.child).into();
            let token = node.id.and_then(|_| sessions.iter().find_map(|session| session.token(&key)));
            Contender {
                key,
                id: node.id,
                capacity: node.share.capacity,
                weight: node.share.weight,
                token,
                ttl: None,
                since: None,
                revoked: false,
                meta: leasehold_core::Meta::default(),
            }
        };
        Ok(Line { contenders: nodes.into_iter().map(contender).collect(), stamp: 0 })
    }

    /// Sorts contenders by the transactions that made them. Those that are gone meanwhile are left out.
    async fn order_by_transaction(
        &self,
        client: &Client,
        parent: &str,
        nodes: Vec<Node>,
    ) -> Result<Vec<Node>> {
        let paths: Vec<_> = nodes.iter().map(|node| format!("{parent}/{}", node.child)).collect();
        let read = self.read(client, &paths).await?;
        let mut found: Vec<_> =
            read.into_iter().zip(nodes).filter_map(|(read, node)| Some((read?.1.czxid, node))).collect();
        found.sort_unstable_by_key(|(transaction, _)| *transaction);
        Ok(found.into_iter().map(|(_, node)| node).collect())
    }

    /// Reads nodes; `None` for those that are not there or not for us to read.
    async fn read(&self, client: &Client, paths: &[String]) -> Result<Vec<Option<(Vec<u8>, Stat)>>> {
        // Each is sent when it is made.
        let mut requests = Vec::new();
        for chunk in paths.chunks(READ_TOGETHER) {
            let mut reader = client.new_multi_reader();
            for path in chunk {
                reader.add_get_data(path).expect("the servers themselves have named these paths");
            }
            requests.push((Request { operation: "look", path: &chunk[0] }, reader.commit()));
        }
        let mut out = Vec::with_capacity(paths.len());
        for (request, results) in requests {
            let results = results.await.map_err(|cause| failure::request(request, cause))?;
            out.extend(results.into_iter().map(|result| match result {
                MultiReadResult::Data { data, stat } => Some((data, stat)),
                _ => None,
            }));
        }
        Ok(out)
    }

    async fn describe(&self, mut line: Line) -> Result<Line> {
        let client = self.any();
        let paths: Vec<_> = line.contenders.iter().map(|contender| contender.key.to_string()).collect();
        let read = self.read(&client, &paths).await?;
        let described = line.contenders.drain(..).zip(read).filter_map(|(mut contender, read)| {
            let (data, stat) = read?;
            contender.token = u64::try_from(stat.czxid).ok().and_then(Token::new);
            contender.since = u64::try_from(stat.ctime).ok().map(|millis| millis.saturating_mul(1000));
            match Data::read(&data).filter(|_| contender.id.is_some()) {
                Some(data) => {
                    contender.ttl = Some(data.ttl());
                    contender.revoked = data.revoked;
                    contender.meta = data.meta();
                }
                // Curator's are spelled as ours are.
                None => {
                    contender.id = None;
                    contender.meta = wire::foreign(&data);
                }
            }
            Some(contender)
        });
        let contenders = described.collect();
        Ok(Line { contenders, ..line })
    }

    async fn exit(&self, key: &Key) -> Result<()> {
        let client = self.owner(key);
        if let Some(id) = key.rsplit('/').next().and_then(|child| Node::parse(child.to_owned())?.id) {
            lock(&self.sessions).values().for_each(|session| session.end(id, None));
        }
        match client.delete(key, None).await {
            Ok(()) | Err(Cause::NoNode) => Ok(()),
            Err(cause) => Err(failure::request(Request { operation: "release", path: key }, cause)),
        }
    }

    async fn revoke(&self, key: &Key) -> Result<()> {
        let client = self.any();
        let failed = |cause| failure::request(Request { operation: "revoke", path: key }, cause);
        loop {
            let (data, stat) = match client.get_data(key).await {
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
            match client.set_data(key, &revoked, Some(stat.version)).await {
                Ok(_) | Err(Cause::NoNode) => return Ok(()),
                Err(Cause::BadVersion) => {}
                Err(cause) => return Err(failed(cause)),
            }
        }
    }

    async fn gone(&self, key: &Key) {
        loop {
            match self.any().get_and_watch_data(key).await {
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

    async fn owned(&self, id: &SessionId) -> Result<Vec<Owned>> {
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

    async fn names(&self, prefix: &str, after: Option<&Name>, limit: usize) -> Result<Vec<Name>> {
        let (client, top) = (self.any(), self.layout.top());
        let failed = |cause| failure::request(Request { operation: "look", path: top }, cause);
        let children = match client.list_children(top).await {
            Ok(children) => children,
            Err(Cause::NoNode) => return Ok(Vec::new()),
            Err(cause) => return Err(failed(cause)),
        };
        let mut names: Vec<_> = children
            .iter()
            .filter_map(|child| self.layout.name(child))
            .filter(|name| name.as_str().starts_with(prefix) && after.is_none_or(|after| name > after))
            .collect();
        names.sort_unstable();
        let mut found = Vec::new();
        for chunk in names.chunks(READ_TOGETHER) {
            let mut reader = client.new_multi_reader();
            for name in chunk {
                reader.add_get_children(&self.layout.path(name)).map_err(failed)?;
            }
            let lines = reader.commit().await.map_err(failed)?;
            found.extend(
                chunk.iter().zip(lines).filter(|(_, line)| is_a_line(line)).map(|(name, _)| name.clone()),
            );
            if found.len() >= limit {
                break;
            }
        }
        found.truncate(limit);
        Ok(found)
    }
}

/// Whether somebody stands there.
fn is_a_line(read: &MultiReadResult) -> bool {
    match read {
        MultiReadResult::Children { children } => {
            children.iter().any(|child| Node::parse(child.clone()).is_some())
        }
        _ => false,
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
        Box::pin(async move { inner.line(&inner.any(), &name).await })
    }

    fn line_of(&self, session: &SessionId, name: &Name) -> Work<Result<Line>> {
        let (inner, session, name) = (Arc::clone(&self.inner), session.clone(), name.clone());
        Box::pin(async move {
            let client = inner.session(&session)?.client.clone();
            inner.line(&client, &name).await
        })
    }

    fn describe(&self, line: Line) -> Work<Result<Line>> {
        let inner = Arc::clone(&self.inner);
        Box::pin(async move { inner.describe(line).await })
    }

    fn exit(&self, _name: &Name, key: &Key) -> Work<Result<()>> {
        let (inner, key) = (Arc::clone(&self.inner), key.clone());
        Box::pin(async move { inner.exit(&key).await })
    }

    fn revoke(&self, _name: &Name, key: &Key) -> Work<Result<()>> {
        let (inner, key) = (Arc::clone(&self.inner), key.clone());
        Box::pin(async move { inner.revoke(&key).await })
    }

    fn gone(&self, _name: &Name, key: &Key, _stamp: u64) -> Work<()> {
        let (inner, key) = (Arc::clone(&self.inner), key.clone());
        Box::pin(async move { inner.gone(&key).await })
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
