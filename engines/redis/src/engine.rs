//! The engine: each verb is a script or several.

use std::os::fd::BorrowedFd;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use futures_util::future::join_all;
use leasehold_core::claim::{ClaimId, ClaimRef, Leave, Refresh};
use leasehold_core::engine::{
    Alarms, Batch, ClockKind, Durability, Engine, EngineInfo, Hint, Hints, Page, Query, Reach, Reply,
    Standing, TokensRise, Validity, Wakeups, no_alarms,
};
use leasehold_core::{Claim, Env, Result};
use redis::{Cmd, Value};

use crate::bits::Bits;
use crate::config::{Config, Target};
use crate::link::{self, Link};
use crate::script::{self, Script, Scripts};
use crate::session::Session;
use crate::wire::{self, Place, Told};
use crate::{failure, view};

/// The most claims that one script renews: about a millisecond of the server's time.
const REFRESH_MAX: usize = 200;

/// Locks kept in Redis or Valkey.
///
/// Clones share a connection.
#[derive(Clone, Debug)]
pub struct Redis {
    inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) link: Link,
    pub(crate) scripts: &'static Scripts,
    info: EngineInfo,
    /// What the server calls this run of itself.
    run_id: Option<String>,
    /// Whether the server tells when a key of another client goes.
    keyspace_events: bool,
    /// Slots in which the last to join had to wait: the next one need not look for the usual case first.
    busy: Bits,
}

static INFO: LazyLock<EngineInfo> = LazyLock::new(|| {
    let mut info = EngineInfo::least("redis");
    info.reach = Reach::Network;
    info.durability = Durability::AsyncReplicated;
    info.clock = ClockKind::ServerWall;
    info.wakeups = Wakeups::Push;
    info.validity = Validity::Estimated;
    info.ttl_min = Duration::from_millis(100);
    info.batch_max = 10_000;
    info.shared = true;
    info.at_least = true;
    info.raise = true;
    info.tokens_rise = TokensRise::ClockAhead;
    info
});

/// What this engine can do and guarantees, whichever server it uses.
pub fn info() -> &'static EngineInfo {
    &INFO
}

impl Redis {
    /// Connects to a server.
    ///
    /// # Errors
    /// [`InvalidInput`](leasehold_core::ErrorKind::InvalidInput) for a server that cannot be used as it is set up
    /// or a database that is not there; [`Denied`](leasehold_core::ErrorKind::Denied) for a wrong password;
    /// [`Unavailable`](leasehold_core::ErrorKind::Unavailable) if it does not answer.
    ///
    /// # Cancel safety
    /// Dropped on the way, nothing stays open.
    pub async fn open(config: Config, env: Env) -> Result<Self> {
        Self::connect(config, env, false).await
    }

    /// The same for a server that others stand in for, as one node of a quorum: if it does not answer, it is tried
    /// again in the background, and requests say that there is no connection until then.
    ///
    /// # Errors
    /// As [`open`](Self::open), but none if the server does not answer.
    ///
    /// # Cancel safety
    /// Dropped on the way, nothing stays open.
    pub async fn open_node(config: Config, env: Env) -> Result<Self> {
        Self::connect(config, env, true).await
    }

    /// What the server calls this run of itself, if it was there when this was opened: two addresses of one server
    /// have the same.
    pub fn run_id(&self) -> Option<&str> {
        self.inner.run_id.as_deref()
    }

    async fn connect(config: Config, env: Env, patient: bool) -> Result<Self> {
        let cluster = matches!(config.target, Target::Cluster(_));
        let mut info = INFO.clone();
        info.engine = config.engine();
        let (link, found) = Link::open(config, env, patient).await?;
        info.warnings = found.warnings;
        let scripts = if cluster { &*script::CLUSTER } else { &*script::ONE };
        let keyspace_events = found.keyspace_events;
        Ok(Self {
            inner: Arc::new(Inner {
                link,
                scripts,
                info,
                run_id: found.run_id,
                keyspace_events,
                busy: Bits::default(),
            }),
        })
    }
}

impl Inner {
    pub(crate) fn config(&self) -> &Config {
        &self.link.shared.config
    }

    pub(crate) fn place(&self, name: &str) -> Place {
        Place::new(&self.config().prefix, name)
    }

    /// Runs a script.
    pub(crate) async fn run(
        &self,
        operation: &'static str,
        session: &Session,
        script: &Script,
        cmd: &Cmd,
        place: &Place,
    ) -> Result<Value> {
        match session.run(script, cmd).await {
            Ok(value) => Ok(value),
            Err(error) => Err(self.explain(operation, session, place, error).await),
        }
    }

    /// Runs a script after which somebody may hold; says how many replicas are short.
    async fn run_held(
        &self,
        session: &Session,
        script: &Script,
        cmd: &Cmd,
    ) -> redis::RedisResult<(Value, u32)> {
        let replicas = self.config().wait_replicas;
        if replicas == 0 {
            return Ok((session.run(script, cmd).await?, 0));
        }
        let (value, have) = session.run_patiently(script, cmd).await?;
        Ok((value, replicas.saturating_sub(have)))
    }

    /// What is said of an error; a key of another type is named.
    async fn explain(
        &self,
        operation: &'static str,
        session: &Session,
        place: &Place,
        error: redis::RedisError,
    ) -> leasehold_core::Error {
        let config = self.config();
        let wrong_type = error.code() == Some("WRONGTYPE")
            || error.detail().is_some_and(|detail| detail.contains("WRONGTYPE"));
        if wrong_type
            && let Ok(Value::SimpleString(kind)) = session.send(redis::cmd("TYPE").arg(&place.key)).await
        {
            return failure::wrong_type(operation, &config.target.to_string(), &place.key, &kind);
        }
        link::failed(config, operation, error)
    }

    /// `single` is a claim that is asked for alone: of several, one must not overtake another.
    async fn join_one(&self, claim: &Claim, single: bool) -> Result<Standing> {
        let place = self.place(claim.name.as_str());
        let session = self.link.session().await?;
        let vouched = session.vouches(place.slot);
        let all = claim.weight == claim.capacity && claim.at_least.is_zero();
        let usual = vouched && all && !self.busy.has(place.slot);
        let join = wire::Join::new(place, claim, self.link.shared.inbox_name);
        let place = &join.place;
        let answer = if usual && single && session.patient.is_none() {
            session.run_together(self.scripts, &join).await.map(|value| (value, 0))
        } else {
            let script = if usual { &self.scripts.join_all } else { &self.scripts.join };
            self.run_held(&session, script, &join.cmd(script, vouched)).await
        };
        let (value, short) = match answer {
            Ok(answer) => answer,
            Err(error) => return Err(self.explain("lock", &session, place, error).await),
        };
        let standing = self.hear("lock", &session, (place, claim.id), &value, (claim.ttl, short))?;
        self.busy.set(place.slot, matches!(standing, Standing::Queued { .. }));
        if matches!(standing, Standing::Held { .. }) {
            session.vouch(place.slot);
        }
        Ok(standing)
    }

    /// Takes in how a claim stands.
    fn hear(
        &self,
        operation: &'static str,
        session: &Arc<Session>,
        (place, id): (&Place, ClaimId),
        value: &Value,
        (ttl, short): (Duration, u32),
    ) -> Result<Standing> {
        let Told { standing, foreign } = wire::standing(operation, value, ttl)?;
        if short > 0 && matches!(standing, Standing::Held { .. }) {
            return Err(failure::too_few_replicas(operation, self.config(), short));
        }
        if self.keyspace_events {
            self.watch_foreign(session, place, id, foreign);
        }
        Ok(standing)
    }

    /// Has the server tell when the lock of another client goes that a claim waits behind.
    fn watch_foreign(&self, session: &Arc<Session>, place: &Place, id: ClaimId, behind: bool) {
        let shared = Arc::clone(&self.link.shared);
        let (session, key) = (Arc::clone(session), place.key.clone());
        if behind && shared.foreign.add(&key, id) {
            tokio::spawn(async move {
                shared.watch_key(&session, &key).await;
                // It may have gone before that.
                shared.inbox.deliver(id, Hint::Look);
            });
        } else if !behind && shared.foreign.remove(&key, id) {
            tokio::spawn(async move { shared.unwatch_key(&session, &key).await });
        }
    }

    async fn refresh_some(&self, asks: &[Refresh]) -> Batch<Result<Standing>> {
        let same = |error: leasehold_core::Error| asks.iter().map(|_| Err(error.clone())).collect();
        let session = match self.link.session().await {
            Ok(session) => session,
            Err(error) => return same(error),
        };
        let places: Vec<Place> = asks.iter().map(|ask| self.place(ask.claim.name.as_str())).collect();
        let items = places.iter().zip(asks).map(|(place, ask)| (place, ask, session.vouches(place.slot)));
        let script = &self.scripts.refresh;
        let cmd = wire::refresh(script, items);
        let (answers, short) = match self.run_held(&session, script, &cmd).await {
            Ok((Value::Array(answers), short)) if answers.len() == asks.len() => (answers, short),
            Ok((odd, _)) => return same(wire::odd("refresh", &odd)),
            Err(error) => {
                let mut out = Batch::new();
                for place in &places {
                    out.push(Err(self.explain("refresh", &session, place, error.clone()).await));
                }
                return out;
            }
        };
        let mut out = Batch::new();
        for ((place, ask), value) in places.iter().zip(asks).zip(answers) {
            out.push(match value.extract_error() {
                Ok(value) => self.hear("refresh", &session, (place, ask.claim.id), &value, (ask.ttl, short)),
                Err(error) => Err(self.explain("refresh", &session, place, error).await),
            });
        }
        out
    }

    async fn leave_one(&self, ask: &Leave, single: bool) -> Result<()> {
        let place = self.place(ask.claim.name.as_str());
        let session = self.link.session().await?;
        let vouched = session.vouches(place.slot);
        let leave = wire::Leave::new(place, ask.claim.id, ask.manner, vouched);
        let place = &leave.place;
        if self.keyspace_events {
            self.watch_foreign(&session, place, ask.claim.id, false);
        }
        let answer = if single {
            session.run_together(self.scripts, &leave).await
        } else {
            session.run_one(self.scripts, &leave).await
        };
        match answer {
            Ok(_) => Ok(()),
            Err(error) => Err(self.explain("release", &session, place, error).await),
        }
    }
}

impl Engine for Redis {
    fn info(&self) -> &EngineInfo {
        &self.inner.info
    }

    fn join(&self, claims: &[Claim]) -> Reply<Standing> {
        let (inner, claims) = (Arc::clone(&self.inner), Batch::from(claims));
        Reply::later(async move {
            match &claims[..] {
                [claim] => Batch::from_buf([inner.join_one(claim, true).await]),
                claims => join_all(claims.iter().map(|claim| inner.join_one(claim, false))).await.into(),
            }
        })
    }

    fn refresh(&self, claims: &[Refresh]) -> Reply<Standing> {
        let (inner, asks) = (Arc::clone(&self.inner), Batch::from(claims));
        let at_once = if matches!(inner.config().target, Target::Cluster(_)) { 1 } else { REFRESH_MAX };
        Reply::later(async move {
            if asks.len() <= at_once {
                return inner.refresh_some(&asks).await;
            }
            join_all(asks.chunks(at_once).map(|some| inner.refresh_some(some)))
                .await
                .into_iter()
                .flatten()
                .collect()
        })
    }

    fn leave(&self, claims: &[Leave]) -> Reply<()> {
        let (inner, asks) = (Arc::clone(&self.inner), Batch::from(claims));
        Reply::later(async move {
            match &asks[..] {
                [ask] => Batch::from_buf([inner.leave_one(ask, true).await]),
                asks => join_all(asks.iter().map(|ask| inner.leave_one(ask, false))).await.into(),
            }
        })
    }

    fn watch(&self, claim: &ClaimRef) -> Hints {
        let shared = &self.inner.link.shared;
        let hints = shared.inbox.watch(claim.id);
        if matches!(self.inner.config().target, Target::Cluster(_)) {
            let (inner, id) = (Arc::clone(&self.inner), claim.id);
            let place = inner.place(claim.name.as_str());
            tokio::spawn(async move {
                if let Ok(session) = inner.link.session().await
                    && inner.link.shared.watch_slot(&session, &place).await
                {
                    // Its turn may have come before that.
                    inner.link.shared.inbox.deliver(id, Hint::Look);
                }
            });
        }
        hints
    }

    fn inspect(&self, query: Query) -> Pin<Box<dyn Future<Output = Result<Page>> + Send>> {
        let inner = Arc::clone(&self.inner);
        Box::pin(async move { view::inspect(&inner, &query).await })
    }

    fn alarms(&self) -> Alarms {
        no_alarms()
    }

    fn lifeline(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}
