//! The engine: what is asked is gathered, and what is gathered is one transaction.

use std::fmt;
use std::os::fd::BorrowedFd;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64};
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
use crate::lane::{Lane, World};
use crate::view;

/// The most claims in one request, and about the most in one transaction.
const BATCH_MAX: usize = 1024;

static INFO: LazyLock<EngineInfo> = LazyLock::new(|| {
    let mut info = EngineInfo::least("mysql");
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

/// Locks in a MySQL or MariaDB database.
pub struct MySql {
    inner: Arc<Inner>,
    gather: Gather<Op, Answer>,
    info: EngineInfo,
}

impl fmt::Debug for MySql {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MySql").field("database", &self.inner.world.place).finish_non_exhaustive()
    }
}

pub(crate) struct Inner {
    pub(crate) world: Arc<World>,
    /// Where nothing waits for anybody.
    pub(crate) main: Lane,
    /// Where rows are waited for that somebody else has in hand, and onlookers look.
    pub(crate) side: Lane,
    /// How many bytes a name may have.
    pub(crate) name_max: usize,
}

impl MySql {
    /// Connects, and makes the tables if they are missing.
    ///
    /// # Errors
    /// [`InvalidInput`](leasehold_core::ErrorKind::InvalidInput) for a database that is not there, or a certificate that
    /// cannot be read; [`Denied`](leasehold_core::ErrorKind::Denied) for a wrong password, or a user who may not do what
    /// it takes; [`Corrupt`](leasehold_core::ErrorKind::Corrupt) for tables of another shape,
    /// which are left as they are; [`Unsupported`](leasehold_core::ErrorKind::Unsupported) for those of a later release,
    /// or a server that is too old; [`Unavailable`](leasehold_core::ErrorKind::Unavailable) if the database does not
    /// answer or takes no writes.
    ///
    /// # Panics
    /// Outside of a tokio runtime, or in one without its I/O driver.
    ///
    /// # Cancel safety
    /// Dropped on the way, nothing stays open; the tables may have been made.
    pub async fn open(config: Config, env: Env) -> Result<Self> {
        let world = Arc::new(World {
            place: config.place(),
            opts: config.opts()?,
            inbox: Inbox::default(),
            runtime: Handle::current(),
            random: env.rng.next(),
            listening: AtomicBool::new(false),
            listens_until: AtomicU64::new(0),
            config,
            env,
        });
        let (conn, found) = world.connect().await?;
        let mut info = INFO.clone();
        info.warnings = found.warnings;
        if !world.config.listen {
            info.wakeups = Wakeups::Poll;
        }
        let inner = Arc::new(Inner {
            main: Lane::new(world.clone(), Some(conn)),
            side: Lane::new(world.clone(), None),
            name_max: found.name_max,
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

impl Engine for MySql {
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
