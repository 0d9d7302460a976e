//! Consul as a store of sessions and lines.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::{Either, select};
use futures_util::{StreamExt, stream};
use hashbrown::HashMap;
use leasehold_core::engine::EngineInfo;
use leasehold_core::gather::Work;
use leasehold_core::ordered::store::{Session, SessionId};
use leasehold_core::ordered::{Key, Line, Owned, Store};
use leasehold_core::{Claim, ClaimRef, Env, ErrorKind, Name, Result};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::batch::Batches;
use crate::bell::{Listener, Message, Mood};
use crate::bits::Bits;
use crate::config::Config;
use crate::http::Http;
use crate::insist::insist;
use crate::line::{self, Seen};
use crate::names::Keys;
use crate::own::Own;
use crate::place::Place;
use crate::plan::{Plan, plan};
use crate::rings::Rings;
use crate::watch::{Until, Watches};
use crate::wire::{Api, Entry, Op, Undone, Why};
use crate::{engine, failure};

/// How often something begins again because somebody else was faster.
pub(crate) const TRIES: usize = 32;
/// While Consul gives a lock to nobody, how often the first in line asks whether it does.
const DELAY_PAUSE: Duration = Duration::from_millis(500);
/// How many contenders of a session that is closed are ended at a time.
const EXITS_AT_A_TIME: usize = 64;

/// Consul as a store of sessions and lines; [`open`](crate::open) makes an engine of it.
#[derive(Clone)]
pub struct Kv(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) api: Arc<Api>,
    pub(crate) batches: Batches,
    pub(crate) keys: Keys,
    pub(crate) env: Env,
    pub(crate) runtime: Handle,
    pub(crate) own: Arc<Own>,
    pub(crate) rings: Arc<Rings>,
    /// Names that were in use when somebody last wanted them.
    pub(crate) busy: Bits,
    watches: Watches,
    ears: Mutex<HashMap<Arc<str>, Ear>>,
}

/// How a session is listened for.
struct Ear {
    mood: watch::Receiver<Mood>,
    task: AbortHandle,
}

impl Drop for Ear {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for Kv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kv").field("api", &self.0.api).field("keys", &self.0.keys).finish_non_exhaustive()
    }
}

impl Kv {
    pub(crate) fn new(config: &Config, http: Arc<Http>, env: Env) -> Self {
        let (api, runtime) = (Arc::new(Api::new(http, config)), Handle::current());
        Self(Arc::new(Inner {
            batches: Batches::new(&api, &runtime),
            keys: Keys::of(config),
            own: Arc::default(),
            rings: Arc::default(),
            busy: Bits::default(),
            watches: Watches::new(&api, &env.clock, &runtime),
            ears: Mutex::default(),
            api,
            env,
            runtime,
        }))
    }
}

impl Inner {
    fn ears(&self) -> MutexGuard<'_, HashMap<Arc<str>, Ear>> {
        // A map of handles: no change of it can be half done.
        self.ears.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn open(&self, ttl: Duration) -> Result<Session> {
        let id: SessionId = self.api.open(ttl).await?.into();
        self.own.open(&id);
        let (mood, heard) = watch::channel(Mood::Upset(0));
        let listener = Listener {
            api: Arc::downgrade(&self.api),
            keys: self.keys.clone(),
            own: Arc::clone(&self.own),
            rings: Arc::clone(&self.rings),
            session: Arc::clone(&id),
            mood,
            clock: Arc::clone(&self.env.clock),
        };
        let task = self.runtime.spawn(listener.listen()).abort_handle();
        self.ears().insert(Arc::clone(&id), Ear { mood: heard, task });
        Ok(Session { id, ttl })
    }

    async fn beat(&self, id: &SessionId) -> Result<Session> {
        match self.api.renew(id).await {
            Ok(ttl) => Ok(Session { id: Arc::clone(id), ttl }),
            Err(error) => {
                if error.kind() == ErrorKind::Lost {
                    self.forget(id);
                }
                Err(error)
            }
        }
    }

    /// A session is over.
    fn forget(&self, session: &str) {
        self.ears().remove(session);
        self.own.close(session);
    }

    async fn close(self: Arc<Self>, session: SessionId) -> Result<()> {
        // What ended with its session would be kept from everybody for the lock-delay.
        let suspects = self.own.suspects(&session);
        stream::iter(suspects)
            .for_each_concurrent(EXITS_AT_A_TIME, async |suspect| {
                // Whatever this could not end, the end of the session will.
                drop(self.exit(&suspect.name, &line::key(&session, suspect.claim)).await);
            })
            .await;
        self.forget(&session);
        self.api.destroy(&session).await
    }

    /// What stands at a resource now.
    pub(crate) async fn look(&self, operation: &'static str, name: &Name) -> Result<Seen> {
        let (lock, line) = (self.keys.lock(name), self.keys.line(name));
        // All at one moment, and no step says "if it is there": with the lock, or else without.
        let steps = [[Op::get(&lock), Op::tree(&line)], [Op::absent(&lock), Op::tree(&line)]];
        for ops in steps.iter().cycle().take(TRIES) {
            match self.api.transact(operation, ops).await {
                Ok(entries) => return self.read(operation, name, &entries, None),
                Err(undone) => undone.error(operation).map_or(Ok(()), Err)?,
            }
        }
        Err(failure::restless(operation))
    }

    pub(crate) fn read(
        &self,
        operation: &'static str,
        name: &Name,
        entries: &[Entry],
        written: Option<(&str, &Place)>,
    ) -> Result<Seen> {
        Seen::read(&self.keys, name, entries, written)
            .map_err(|line::NotALock| failure::not_a_lock(operation, &self.keys.lock(name)))
    }

    /// Does what has been planned, and rings for it; also at `upset`, to whose claims it was done.
    pub(crate) async fn carry_out(
        &self,
        operation: &'static str,
        name: &Name,
        plan: Plan,
        upset: Option<&str>,
    ) -> Result<(), Undone> {
        let mut ops = plan.ops;
        let mut rings = plan.rings;
        if let Some(session) = upset {
            rings.entry(session.into()).or_default();
        }
        let (own, others): (Vec<_>, Vec<_>) =
            rings.into_iter().partition(|(session, _)| self.own.has(session));
        for (session, keys) in others {
            let upset = upset.is_some_and(|upset| *upset == *session);
            let (let_in, keys) = keys.into_iter().partition(|key| plan.let_in.contains(key));
            ops.extend(Message::new(name, keys, let_in, upset).ops(&self.keys, &session));
        }
        let entries = self.batches.transact(operation, name, ops).await?;
        let index = entries.iter().map(|entry| entry.modify_index).max().unwrap_or(0);
        plan.let_in.iter().for_each(|key| self.own.admit(key, index));
        if let Some(mut then) = plan.then {
            then.lock.iter_mut().for_each(|lock| lock.index = index);
            self.own.note(&Arc::new(then));
        }
        for key in own.iter().flat_map(|(_, keys)| keys) {
            self.rings.ring(name, key);
        }
        Ok(())
    }

    /// What is planned for a line, if it is this client that should do it: some of those to be let in are its own.
    pub(crate) fn due(&self, name: &Name, seen: &Seen) -> Option<Plan> {
        let plan = plan(seen, &self.keys, name, None);
        plan.admits.iter().any(|session| self.own.has(session)).then_some(plan)
    }

    /// The line of a resource, after whoever of this client should be let in has been.
    pub(crate) async fn line(&self, name: &Name) -> Result<Line> {
        for _ in 0..TRIES {
            let stamp = self.rings.stamp();
            let seen = self.look("lock", name).await?;
            let Some(plan) = self.due(name, &seen) else {
                let seen = Arc::new(seen);
                self.own.note(&seen);
                return Ok(seen.line(stamp, false));
            };
            match self.carry_out("lock", name, plan, None).await {
                Err(undone) if undone.is(&Why::Delayed) => return Ok(seen.line(stamp, true)),
                Err(undone) => match undone.error("lock") {
                    Some(error) => return Err(error),
                    None => continue,
                },
                Ok(()) => {}
            }
        }
        Err(failure::restless("lock"))
    }

    async fn revoke(&self, name: &Name, key: &Key) -> Result<()> {
        for _ in 0..TRIES {
            let seen = self.look("unlock", name).await?;
            let Some(stand) = seen.stands().into_iter().find(|stand| stand.key() == *key) else {
                return Ok(());
            };
            if stand.place.revoked {
                return Ok(());
            }
            let place = Place { revoked: true, token: stand.token, ..stand.place.clone() };
            let value = place.write();
            let op = match (stand.spot, &seen.lock) {
                (Some(spot), _) => Op::replace(&spot.key, spot.index, 0, &value),
                (None, Some(lock)) => {
                    Op::replace(&self.keys.lock(name), lock.index, crate::wire::LOCK_FLAGS, &value)
                }
                (None, None) => unreachable!("whoever stands nowhere else stands in the lock's own key"),
            };
            let plan = Plan { ops: vec![op], ..Plan::default() };
            match self.carry_out("unlock", name, plan, Some(stand.session)).await {
                Ok(()) => return Ok(()),
                Err(undone) => match undone.error("unlock") {
                    Some(error) => return Err(error),
                    None => continue,
                },
            }
        }
        Err(failure::restless("unlock"))
    }

    async fn gone(&self, name: &Name, key: &Key, stamp: u64) {
        let heard = self.rings.heard(name, key, stamp);
        let other: Work<()> = if **key == *line::DELAY {
            self.env.clock.sleep_until(self.env.now() + DELAY_PAUSE)
        } else if let Some((session, taken)) = line::of_foreign(key) {
            let until = Until::LockChanged(self.keys.lock(name), session.into(), taken);
            return drop(select(heard, std::pin::pin!(self.watches.until(until))).await);
        } else if let Some((session, _)) = line::of_key(key).filter(|(session, _)| !self.own.has(session)) {
            let until = Until::SessionOver(session.into());
            return drop(select(heard, std::pin::pin!(self.watches.until(until))).await);
        } else {
            // Of its own sessions a client hears otherwise.
            return heard.await;
        };
        match select(heard, other).await {
            Either::Left(_) | Either::Right(_) => {}
        }
    }

    fn mood(&self, session: &str) -> Option<watch::Receiver<Mood>> {
        let mood = self.ears().get(session)?.mood.clone();
        let over = *mood.borrow() == Mood::Over;
        (!over).then_some(mood)
    }
}

impl Store for Kv {
    fn info(&self) -> &EngineInfo {
        engine::info()
    }

    fn open(&self, ttl: Duration) -> Work<Result<Session>> {
        let inner = Arc::clone(&self.0);
        insist(&self.0.runtime, async move { inner.open(ttl).await })
    }

    fn beat(&self, session: &SessionId) -> Work<Result<Session>> {
        let (inner, session) = (Arc::clone(&self.0), Arc::clone(session));
        Box::pin(async move { inner.beat(&session).await })
    }

    fn close(&self, session: &SessionId) -> Work<Result<()>> {
        insist(&self.0.runtime, Arc::clone(&self.0).close(Arc::clone(session)))
    }

    fn enter(&self, session: &SessionId, claim: &Claim) -> Work<Result<Line>> {
        let (inner, session, claim) = (Arc::clone(&self.0), Arc::clone(session), claim.clone());
        insist(&self.0.runtime, async move { inner.enter(&session, &claim).await })
    }

    fn line(&self, name: &Name) -> Work<Result<Line>> {
        let (inner, name) = (Arc::clone(&self.0), name.clone());
        insist(&self.0.runtime, async move { inner.line(&name).await })
    }

    fn line_up_to(&self, session: &SessionId, claim: &ClaimRef) -> Work<Result<Line>> {
        match self.0.own.admitted(session, claim.id) {
            Some(admitted) => {
                let line = line::let_in(line::key(session, claim.id), &admitted);
                Box::pin(std::future::ready(Ok(line)))
            }
            None => self.line(&claim.name),
        }
    }

    fn exit(&self, name: &Name, key: &Key) -> Work<Result<()>> {
        let (inner, name, key) = (Arc::clone(&self.0), name.clone(), Arc::clone(key));
        insist(&self.0.runtime, async move { inner.exit(&name, &key).await })
    }

    fn revoke(&self, name: &Name, key: &Key) -> Work<Result<()>> {
        let (inner, name, key) = (Arc::clone(&self.0), name.clone(), Arc::clone(key));
        Box::pin(async move { inner.revoke(&name, &key).await })
    }

    fn gone(&self, name: &Name, key: &Key, stamp: u64) -> Work<()> {
        let (inner, name, key) = (Arc::clone(&self.0), name.clone(), Arc::clone(key));
        Box::pin(async move { inner.gone(&name, &key, stamp).await })
    }

    fn owned(&self, session: &SessionId) -> Work<Result<Vec<Owned>>> {
        let (inner, session) = (Arc::clone(&self.0), Arc::clone(session));
        Box::pin(async move { inner.owned(&session).await })
    }

    fn names(&self, prefix: &str, after: Option<&Name>, limit: usize) -> Work<Result<Vec<Name>>> {
        let (inner, prefix, after) = (Arc::clone(&self.0), prefix.to_owned(), after.cloned());
        Box::pin(async move { inner.names(&prefix, after.as_ref(), limit).await })
    }

    fn upset(&self, session: &SessionId) -> Work<()> {
        let mut mood = self.0.mood(session);
        // What happens from now on is news, whenever this is awaited.
        if let Some(mood) = &mut mood {
            mood.mark_unchanged();
        }
        Box::pin(async move {
            let Some(mut mood) = mood else { return };
            // That nobody listens any more is news, too.
            let _ = mood.changed().await;
        })
    }
}
