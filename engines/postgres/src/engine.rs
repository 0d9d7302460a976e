//! The engine: what is asked is gathered, and what is gathered is one statement.

use std::fmt;
use std::os::fd::BorrowedFd;
use std::pin::Pin;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use leasehold_core::claim::{Leave, Refresh};
use leasehold_core::engine::{
    Alarms, ClockKind, Durability, Engine, EngineInfo, Hints, Page, Query, Reach, Reply, Standing,
    TokensRise, Validity, Wakeups, no_alarms,
};
use leasehold_core::gather::Gather;
use leasehold_core::inbox::Inbox;
use leasehold_core::{Claim, ClaimRef, Env, Result};
use tokio::runtime::Handle;

use crate::batch::{self, Answer, Op};
use crate::config::Config;
use crate::lane::{Connection, Lane, Opened, Session, World};
use crate::{failure, tls, view};

/// The most claims in one request, and about the most in one transaction.
const BATCH_MAX: usize = 1024;

static INFO: LazyLock<EngineInfo> = LazyLock::new(|| {
    let mut info = EngineInfo::least("postgres");
    info.reach = Reach::Network;
    info.durability = Durability::SingleNode;
    info.clock = ClockKind::ServerWall;
    info.wakeups = Wakeups::Push;
    info.validity = Validity::Estimated;
    info.ttl_min = Duration::from_millis(100);
    info.batch_max = BATCH_MAX;
    info.shared = true;
    info.at_least = true;
    info.tokens_rise = TokensRise::ClockAhead;
    info
});

/// What this engine can do and guarantees, whichever database it uses.
pub fn info() -> &'static EngineInfo {
    &INFO
}

/// Locks in a PostgreSQL database.
pub struct Postgres {
    inner: Arc<Inner>,
    gather: Gather<Op, Answer>,
    info: EngineInfo,
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Postgres").field("database", &self.inner.world.place).finish_non_exhaustive()
    }
}

pub(crate) struct Inner {
    pub(crate) world: Arc<World>,
    /// Where nothing waits for anybody.
    pub(crate) main: Lane,
    /// Where rows are waited for that somebody else has in hand, hand-overs are heard, and onlookers look.
    pub(crate) side: Lane,
    /// Whether hand-overs can be heard.
    pub(crate) hears: bool,
    /// Whether they are.
    pub(crate) listening: AtomicBool,
}

impl Postgres {
    /// Connects, and makes the tables if they are missing.
    ///
    /// # Errors
    /// [`InvalidInput`](leasehold_core::ErrorKind::InvalidInput) for a database that is not there;
    /// [`Denied`](leasehold_core::ErrorKind::Denied) for a wrong password, or a user who may not do what it takes;
    /// [`Corrupt`](leasehold_core::ErrorKind::Corrupt) for tables of another shape,
    /// which are left as they are; [`Unsupported`](leasehold_core::ErrorKind::Unsupported) for those of a later release;
    /// [`Unavailable`](leasehold_core::ErrorKind::Unavailable) if the database does not answer or takes no writes.
    ///
    /// # Panics
    /// Outside of a tokio runtime, or in one without its I/O driver.
    ///
    /// # Cancel safety
    /// Dropped on the way, nothing stays open; the tables may have been made.
    pub async fn open(config: Config, env: Env) -> Result<Self> {
        let random = (env.rng.next() >> 64) as u64;
        let world = Arc::new(World {
            place: config.place(),
            tls: tls::connector(config.tls.as_ref())?,
            inbox: Inbox::default(),
            runtime: Handle::current(),
            channel: format!("leasehold_{random:016x}"),
            config,
            env,
        });
        let main = world.connect().await?;
        // A limit of connections that leaves no room for another is no reason not to use the one.
        let side = world.connect().await.ok();
        let pooled = match &side {
            Some(side) => share_a_session(&world, &main, side).await?,
            None => false,
        };
        let main = Session::on(main, &world, &pooled).await?;
        let side = match side {
            Some(side) => Some(Arc::new(Session::on(side, &world, &pooled).await?)),
            None => None,
        };
        let hears = world.config.listen && !pooled;
        let mut info = INFO.clone();
        if !hears {
            info.wakeups = Wakeups::Poll;
        }
        if pooled {
            let look = batch::LOOK_UNTOLD;
            info.warnings.push(format!(
                "a pooler hands out the database by transactions, so those who wait cannot be told and look every {look:?}; \
                 connect past it, or have it pool by sessions"
            ));
        }
        let inner = Arc::new(Inner {
            main: Lane::new(world.clone(), pooled, Some(Arc::new(main))),
            side: Lane::new(world.clone(), pooled, side),
            hears,
            listening: AtomicBool::new(false),
            world: world.clone(),
        });
        let worker = inner.clone();
        let gather = Gather::new(
            BATCH_MAX,
            move |ops: Vec<Op>| {
                let inner = worker.clone();
                Box::pin(async move { batch::run(&inner, &ops).await })
            },
            move |rest| drop(world.runtime.spawn(rest)),
        );
        Ok(Self { inner, gather, info })
    }

    fn standings(&self, op: Op, size: usize) -> Reply<Standing> {
        let answer = self.gather.submit(op, size);
        Reply::later(async move {
            match answer.await {
                Answer::Standings(standings) => standings,
                Answer::Left(_) => unreachable!("a join or refresh is answered with standings"),
            }
        })
    }
}

/// Whether two open connections are one session of the database: so a pooler is in between that hands it out by
/// transactions, and what is set, prepared or listened to in it may be another's.
pub(crate) async fn share_a_session(world: &World, one: &Connection, two: &Connection) -> Result<bool> {
    let mut sessions = [0i32; 2];
    for (connection, session) in [one, two].into_iter().zip(&mut sessions) {
        let asked = connection.client.query_typed_one("SELECT pg_backend_pid()", &[]);
        let row = world.in_time(asked).await.ok_or_else(|| failure::late("connect", &world.place))?;
        let fail = |e| failure::request("connect", &world.place, e);
        *session = row.map_err(fail)?.try_get(0).map_err(fail)?;
    }
    Ok(sessions[0] == sessions[1])
}

impl Engine for Postgres {
    fn info(&self) -> &EngineInfo {
        &self.info
    }

    fn join(&self, claims: &[Claim]) -> Reply<Standing> {
        self.standings(Op::Join(claims.into()), claims.len())
    }

    fn refresh(&self, claims: &[Refresh]) -> Reply<Standing> {
        self.standings(Op::Refresh(claims.into()), claims.len())
    }

    fn leave(&self, claims: &[Leave]) -> Reply<()> {
        let answer = self.gather.submit(Op::Leave(claims.into()), claims.len());
        Reply::later(async move {
            match answer.await {
                Answer::Left(left) => left,
                Answer::Standings(_) => unreachable!("a leave is not answered with standings"),
            }
        })
    }

    fn watch(&self, claim: &ClaimRef) -> Hints {
        self.inner.world.inbox.watch(claim.id)
    }

    fn inspect(&self, query: Query) -> Pin<Box<dyn Future<Output = Result<Page>> + Send>> {
        let inner = self.inner.clone();
        Box::pin(async move { view::page(&inner, &query).await })
    }

    fn alarms(&self) -> Alarms {
        no_alarms()
    }

    fn lifeline(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}
