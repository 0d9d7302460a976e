//! A store in memory, for tests: what a server of this kind does, and counts of what it was asked.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use crate::claim::Claim;
use crate::clock::{Env, Moment};
use crate::engine::{ClockKind, EngineInfo};
use crate::error::{Error, ErrorKind, Outcome, Result};
use crate::gather::Work;
use crate::name::Name;
use crate::ordered::store::{Contender, Key, Line, Owned, Session, SessionId, Store};
use crate::token::Token;

/// A server, and a connection to it. Clones are further connections.
#[derive(Clone, Debug)]
pub(super) struct Fake {
    pub(super) world: Arc<World>,
    env: Env,
    /// Which connection.
    nth: u64,
}

#[derive(Debug, Default)]
pub(super) struct World {
    state: Mutex<State>,
    changed: watch::Sender<u64>,
    pub(super) opens: AtomicUsize,
    pub(super) beats: AtomicUsize,
    pub(super) looks: AtomicUsize,
    /// How many answers to `enter` are lost on the way.
    pub(super) lose_answers: AtomicU32,
    /// While it is set, nobody enters.
    pub(super) gate: Mutex<Option<Arc<Notify>>>,
    /// Somebody waits at the gate.
    pub(super) at_gate: Notify,
}

#[derive(Debug, Default)]
struct State {
    last: u64,
    connections: u64,
    sessions: BTreeMap<SessionId, (Duration, Moment)>,
    /// How often a connection was interfered with by others.
    upsets: BTreeMap<u64, u64>,
    lines: BTreeMap<Name, Vec<(SessionId, Contender)>>,
}

impl State {
    fn settle(&mut self, now: Moment) {
        self.sessions.retain(|_, (_, until)| *until > now);
        for line in self.lines.values_mut() {
            line.retain(|(session, _)| self.sessions.contains_key(session));
        }
        self.lines.retain(|_, line| !line.is_empty());
    }

    /// This connection does something to that contender.
    fn upset(&mut self, by: u64, name: &Name, key: &Key) {
        let Some((session, _)) = self.lines.get(name).into_iter().flatten().find(|(_, c)| c.key == *key)
        else {
            return;
        };
        let owner = session.split('.').next().and_then(|nth| nth.parse().ok()).expect("ids begin so");
        if owner != by {
            *self.upsets.entry(owner).or_default() += 1;
        }
    }

    fn line(&self, name: &Name) -> Line {
        let contenders = self.lines.get(name).into_iter().flatten().map(|(_, c)| c.clone()).collect();
        Line { contenders, stamp: self.last }
    }
}

static INFO: LazyLock<EngineInfo> = LazyLock::new(|| {
    let mut info = EngineInfo::least("fake");
    info.clock = ClockKind::Session;
    info.ttl_min = Duration::from_millis(10);
    info.shared = true;
    info.batch_max = 1000;
    info
});

fn lost() -> Error {
    Error::new(ErrorKind::Lost, "session", "there is no such session")
}

impl Fake {
    pub(super) fn new(env: &Env) -> Self {
        Self { world: Arc::default(), env: env.clone(), nth: 0 }
    }

    /// Another connection.
    pub(super) fn connect(&self) -> Self {
        let nth = self.change(|state| {
            state.connections += 1;
            state.connections
        });
        Self { nth, ..self.clone() }
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.world.state.lock().unwrap();
        state.settle(self.env.now());
        let out = change(&mut state);
        state.settle(self.env.now());
        drop(state);
        self.world.changed.send_modify(|n| *n += 1);
        out
    }

    fn look<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        let mut state = self.world.state.lock().unwrap();
        state.settle(self.env.now());
        look(&state)
    }

    /// All contenders.
    pub(super) fn contenders(&self) -> usize {
        self.look(|state| state.lines.values().map(Vec::len).sum())
    }

    /// Ends all sessions, as an operator may.
    pub(super) fn kill_sessions(&self) {
        self.change(|state| {
            state.sessions.clear();
            (0..=state.connections).for_each(|nth| *state.upsets.entry(nth).or_default() += 1);
        });
    }

    pub(super) fn a_session(&self) -> SessionId {
        self.look(|state| state.sessions.keys().next().expect("a session is open").clone())
    }

    /// Waits until this is so.
    pub(super) async fn until(&self, so: impl Fn(&Self) -> bool) {
        let mut changed = self.world.changed.subscribe();
        while !so(self) {
            changed.changed().await.unwrap();
        }
    }
}

fn done<T: Send + 'static>(answer: Result<T>) -> Work<Result<T>> {
    Box::pin(async {
        tokio::task::yield_now().await;
        answer
    })
}

impl Store for Fake {
    fn info(&self) -> &EngineInfo {
        &INFO
    }

    fn open(&self, ttl: Duration) -> Work<Result<Session>> {
        let nth = self.world.opens.fetch_add(1, Ordering::Relaxed);
        let id: SessionId = format!("{}.{nth}", self.nth).into();
        let until = self.env.now() + ttl;
        self.change(|state| state.sessions.insert(id.clone(), (ttl, until)));
        done(Ok(Session { id, ttl }))
    }

    fn beat(&self, session: &SessionId) -> Work<Result<Session>> {
        self.world.beats.fetch_add(1, Ordering::Relaxed);
        let now = self.env.now();
        done(self.change(|state| {
            let (ttl, until) = state.sessions.get_mut(session).ok_or_else(lost)?;
            *until = now + *ttl;
            Ok(Session { id: session.clone(), ttl: *ttl })
        }))
    }

    fn close(&self, session: &SessionId) -> Work<Result<()>> {
        self.change(|state| state.sessions.remove(session));
        done(Ok(()))
    }

    fn enter(&self, session: &SessionId, claim: &Claim) -> Work<Result<Line>> {
        let (fake, session, claim) = (self.clone(), session.clone(), claim.clone());
        Box::pin(async move {
            let gate = fake.world.gate.lock().unwrap().clone();
            if let Some(gate) = gate {
                fake.world.at_gate.notify_one();
                gate.notified().await;
            }
            let line = fake.change(|state| {
                if !state.sessions.contains_key(&session) {
                    return Err(lost());
                }
                state.last += 1;
                let line = state.lines.entry(claim.name.clone()).or_default();
                if !line.iter().any(|(_, c)| c.id == Some(claim.id)) {
                    let contender = Contender {
                        key: format!("{}/{}", claim.name.as_str(), claim.id).into(),
                        id: Some(claim.id),
                        capacity: claim.capacity,
                        weight: claim.weight,
                        token: Token::new(state.last),
                        ttl: Some(claim.ttl),
                        since: None,
                        revoked: false,
                        meta: claim.meta.clone(),
                    };
                    line.push((session, contender));
                }
                Ok(state.line(&claim.name))
            });
            let answers = &fake.world.lose_answers;
            if answers.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok() {
                return Err(
                    Error::new(ErrorKind::Unavailable, "enter", "lost").with_outcome(Outcome::Unknown)
                );
            }
            line
        })
    }

    fn line(&self, name: &Name) -> Work<Result<Line>> {
        self.world.looks.fetch_add(1, Ordering::Relaxed);
        done(Ok(self.look(|state| state.line(name))))
    }

    fn exit(&self, name: &Name, key: &Key) -> Work<Result<()>> {
        self.change(|state| {
            state.upset(self.nth, name, key);
            if let Some(line) = state.lines.get_mut(name) {
                line.retain(|(_, c)| c.key != *key);
            }
        });
        done(Ok(()))
    }

    fn revoke(&self, name: &Name, key: &Key) -> Work<Result<()>> {
        self.change(|state| {
            state.upset(self.nth, name, key);
            let line = state.lines.get_mut(name).into_iter().flatten();
            line.filter(|(_, c)| c.key == *key).for_each(|(_, c)| c.revoked = true);
        });
        done(Ok(()))
    }

    fn gone(&self, name: &Name, key: &Key, _stamp: u64) -> Work<()> {
        let (fake, name, key) = (self.clone(), name.clone(), key.clone());
        Box::pin(async move {
            let there = |fake: &Self| fake.look(|s| s.line(&name).contenders.iter().any(|c| c.key == key));
            fake.until(|fake| !there(fake)).await;
        })
    }

    fn owned(&self, session: &SessionId) -> Work<Result<Vec<Owned>>> {
        let lines = self.look(|state| state.lines.clone());
        let owned = lines.into_iter().flat_map(|(name, line)| {
            let of_session = line.into_iter().filter(|(s, _)| s == session);
            of_session.filter_map(move |(_, c)| {
                Some(Owned { name: name.clone(), key: c.key, id: c.id?, revoked: c.revoked })
            })
        });
        done(Ok(owned.collect()))
    }

    fn names(&self, prefix: &str, after: Option<&Name>, limit: usize) -> Work<Result<Vec<Name>>> {
        done(Ok(self.look(|state| {
            let names = state.lines.keys().filter(|n| n.as_str().starts_with(prefix));
            names.filter(|n| after.is_none_or(|a| *n > a)).take(limit).cloned().collect()
        })))
    }

    fn upset(&self, session: &SessionId) -> Work<()> {
        let upsets = |fake: &Self| fake.look(|state| state.upsets.get(&fake.nth).copied());
        let (fake, session, before) = (self.clone(), session.clone(), upsets(self));
        let is_open = move |fake: &Self| fake.look(|state| state.sessions.contains_key(&session));
        Box::pin(async move { fake.until(|fake| upsets(fake) != before || !is_open(fake)).await })
    }
}
