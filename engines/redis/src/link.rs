//! The connection: one that all requests share, made anew whenever it is lost, with the inbox subscribed on it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use leasehold_core::engine::Hint;
use leasehold_core::inbox::Inbox;
use leasehold_core::{Env, Error, Outcome, Result};
use redis::{PushInfo, PushKind, RedisError, Value};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use crate::config::{Config, Target};
use crate::connect::{self, Hook};
use crate::foreign::Foreign;
use crate::sentinel::Master;
use crate::session::{Session, Wire};
use crate::wire::{self, InboxName, Place};
use crate::{failure, sentinel, slots};

/// The pauses between two tries to connect.
const PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// A connection that keeps itself.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) shared: Arc<Shared>,
    current: watch::Receiver<Option<Arc<Session>>>,
    /// The keeper of the connection, and who listens to Sentinels.
    tasks: Vec<JoinHandle<()>>,
}

/// What the keeper and the requests share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) env: Env,
    pub(crate) inbox: Inbox,
    pub(crate) inbox_name: InboxName,
    /// Who waits behind other clients' locks, if the server tells of these.
    pub(crate) foreign: Foreign,
    /// The master, as the Sentinels said last.
    pub(crate) master: watch::Sender<Option<Master>>,
    /// Slots of a cluster in which the inbox is to be subscribed.
    subscribed: Mutex<BTreeSet<usize>>,
    /// Why the last try to connect failed.
    trouble: Mutex<Option<Error>>,
}

impl Link {
    /// Connects, and keeps connected until it is dropped. If the server does not answer, that is an error, or, for
    /// the patient, it is tried again in the background.
    pub(crate) async fn open(config: Config, env: Env, patient: bool) -> Result<(Self, connect::Found)> {
        let mut inbox_name = [0; 8];
        let random = env.rng.next().to_be_bytes();
        for (letter, byte) in inbox_name.iter_mut().zip(random) {
            *letter = b'a' + byte % 26;
        }
        let shared = Arc::new(Shared {
            config,
            env,
            inbox: Inbox::default(),
            inbox_name,
            foreign: Foreign::default(),
            master: watch::Sender::new(None),
            subscribed: Mutex::default(),
            trouble: Mutex::default(),
        });
        let (first, found) = match shared.connect().await {
            Ok(first) => {
                let found = connect::look_over(&shared.config, &first).await?;
                (Some(Arc::new(first)), found)
            }
            Err(error) if patient && error.is_transient() => {
                shared.set_trouble(Some(error));
                (None, connect::Found::default())
            }
            Err(error) => return Err(error),
        };
        let (sender, current) = watch::channel(first.clone());
        let keeper = match (&shared.config.target, first) {
            (Target::Cluster(_), Some(first)) => {
                tokio::spawn(keep_cluster(Arc::clone(&shared), sender, first))
            }
            (_, first) => tokio::spawn(keep(Arc::clone(&shared), sender, first)),
        };
        let mut tasks = vec![keeper];
        if let Target::Sentinel { sentinels, master } = &shared.config.target {
            tasks.extend(sentinels.iter().map(|sentinel| {
                tokio::spawn(sentinel::listen(Arc::clone(&shared), sentinel.clone(), master.clone()))
            }));
        }
        Ok((Self { shared, current, tasks }, found))
    }

    /// The connection there is, or the next one if it comes soon.
    ///
    /// # Errors
    /// Unavailable, and nothing was sent.
    pub(crate) async fn session(&self) -> Result<Arc<Session>> {
        if let Some(session) = &*self.current.borrow() {
            return Ok(Arc::clone(session));
        }
        let mut current = self.current.clone();
        let until = self.shared.env.now() + self.shared.config.timeout;
        tokio::select! {
            biased;
            found = current.wait_for(Option::is_some) => {
                if let Ok(found) = found && let Some(session) = &*found {
                    return Ok(Arc::clone(session));
                }
            }
            () = self.shared.env.clock.sleep_until(until) => {}
        }
        let trouble = self.shared.trouble();
        Err(failure::not_connected(&self.shared.config.target.to_string(), trouble.as_ref()))
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Shared {
    fn trouble(&self) -> Option<Error> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_trouble(&self, trouble: Option<Error>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    /// The Sentinels say which server is the master.
    pub(crate) fn announce(&self, master: Master) {
        self.master.send_if_modified(|known| {
            let news = known.as_ref() != Some(&master);
            if news {
                *known = Some(master);
            }
            news
        });
    }

    /// One try to connect.
    async fn connect(self: &Arc<Self>) -> Result<Session> {
        let (broken, replaced) = (Arc::new(Notify::new()), watch::Sender::new(false));
        let (shared, tell, over) = (Arc::downgrade(self), Arc::clone(&broken), replaced.clone());
        let hook: Hook = Arc::new(move |news| {
            if let Some(shared) = shared.upgrade()
                && !*over.borrow()
            {
                shared.receive(&tell, &news);
            }
            Ok::<(), redis::aio::SendError>(())
        });
        let made = connect::connect(self, hook).await?;
        let session = Session::new(made, broken, replaced);
        for key in self.foreign.keys() {
            self.watch_key(&session, &key).await;
        }
        Ok(session)
    }

    /// Has the server tell when a key changes that is another client's.
    pub(crate) async fn watch_key(&self, session: &Session, key: &str) {
        if let Wire::One(connection) = &session.wire {
            // If it cannot be subscribed, there is still the next look.
            let _ = connection.clone().subscribe(self.channel_of(key)).await;
        }
    }

    /// The reverse.
    pub(crate) async fn unwatch_key(&self, session: &Session, key: &str) {
        if let Wire::One(connection) = &session.wire {
            let _ = connection.clone().unsubscribe(self.channel_of(key)).await;
        }
    }

    fn channel_of(&self, key: &str) -> String {
        format!("__keyspace@{}__:{key}", self.config.access.db)
    }

    fn subscribed(&self) -> MutexGuard<'_, BTreeSet<usize>> {
        self.subscribed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// In a cluster, has the inbox subscribed in the slot of a lock; `true` if it was not before. It stays subscribed:
    /// who has waited there will wait there again.
    pub(crate) async fn watch_slot(&self, session: &Session, place: &Place) -> bool {
        if !self.subscribed().insert(place.slot) {
            return false;
        }
        if !self.subscribe_in(session, place.slot).await {
            session.broken.notify_one();
        }
        true
    }

    /// Has the inbox subscribed where it was before. The library does so too, but not for several slots of one node:
    /// it asks for all at once, which the node refuses; and what a node that gives a slot away has ended, it forgets.
    async fn subscribe_again(&self, session: &Session) -> bool {
        let slots = self.subscribed().clone();
        join_all(slots.into_iter().map(|slot| self.subscribe_in(session, slot)))
            .await
            .into_iter()
            .all(|done| done)
    }

    async fn subscribe_in(&self, session: &Session, slot: usize) -> bool {
        let Wire::Cluster(connection) = &session.wire else { return true };
        let channel = [b"leasehold:{", &slots::tag(slot)[..], b"}:inbox:", &self.inbox_name[..]].concat();
        connection.clone().ssubscribe(channel).await.inspect_err(|error| session.heed(error)).is_ok()
    }

    /// What the server, or the library, tells without being asked.
    fn receive(&self, broken: &Notify, news: &PushInfo) {
        match news.kind {
            PushKind::Message | PushKind::SMessage => {
                let [Value::BulkString(channel), Value::BulkString(payload)] = &news.data[..] else { return };
                if let Some(key) = channel.strip_prefix(b"__keyspace@") {
                    let key = key.splitn(2, |b| *b == b':').nth(1).unwrap_or_default();
                    for id in self.foreign.behind(&String::from_utf8_lossy(key)) {
                        self.inbox.deliver(id, Hint::Look);
                    }
                } else if let Some((id, token)) = wire::news_from(payload) {
                    // Where replicas count, the holder must hear from them first.
                    let hint = if self.config.wait_replicas > 0 { Hint::Look } else { Hint::Held(token) };
                    self.inbox.deliver(id, hint);
                }
            }
            // The second: a node has given away a slot.
            PushKind::Disconnection | PushKind::SUnsubscribe => broken.notify_one(),
            _ => {}
        }
    }
}

/// Keeps a connection: whenever it is of no more use, or leads to a server that is the master no more, makes another.
async fn keep(
    shared: Arc<Shared>,
    sender: watch::Sender<Option<Arc<Session>>>,
    mut current: Option<Arc<Session>>,
) {
    let clock = &shared.env.clock;
    let mut master = shared.master.subscribe();
    loop {
        if let Some(session) = current.take() {
            tokio::select! {
                () = session.broken.notified() => {}
                _ = master.wait_for(|master| *master > session.master) => {}
            }
            sender.send_replace(None);
            session.replace();
        }
        let mut pause = PAUSE.0;
        let session = loop {
            let announced = master.borrow_and_update().clone();
            tokio::select! {
                made = shared.connect() => match made {
                    Ok(session) => break Arc::new(session),
                    Err(error) => shared.set_trouble(Some(error)),
                },
                // What hangs at the old one is of no use.
                _ = master.wait_for(|master| *master > announced) => continue,
            }
            tokio::select! {
                () = clock.sleep_until(shared.env.now() + pause) => pause = (pause * 2).min(PAUSE.1),
                _ = master.wait_for(|master| *master > announced) => pause = PAUSE.0,
            }
        };
        shared.set_trouble(None);
        sender.send_replace(Some(Arc::clone(&session)));
        current = Some(session);
        // Whoever waits may have missed that it is its turn.
        shared.inbox.look();
    }
}

/// The same for a cluster. Its connection is several, which the library makes anew when they are lost; but it goes on
/// to ask a node that hangs, whoever has taken its place. The old connection serves the other nodes until there is a
/// new one.
async fn keep_cluster(
    shared: Arc<Shared>,
    sender: watch::Sender<Option<Arc<Session>>>,
    mut session: Arc<Session>,
) {
    let mut pause = PAUSE.0;
    loop {
        session.broken.notified().await;
        if session.take_hangs()
            && let Ok(fresh) = shared.connect().await
        {
            session = Arc::new(fresh);
            sender.send_replace(Some(Arc::clone(&session)));
        }
        if shared.subscribe_again(&session).await {
            pause = PAUSE.0;
        } else {
            shared.env.clock.sleep_until(shared.env.now() + pause).await;
            pause = (pause * 2).min(PAUSE.1);
            session.broken.notify_one();
        }
        shared.inbox.look();
    }
}

/// What is said when a request failed.
pub(crate) fn failed(config: &Config, operation: &'static str, error: RedisError) -> Error {
    let error = failure::request(operation, &config.target.to_string(), error);
    match config.target {
        // The library may have sent it again before it gave up.
        Target::Cluster(_) if error.is_transient() => error.with_outcome(Outcome::Unknown),
        _ => error,
    }
}
