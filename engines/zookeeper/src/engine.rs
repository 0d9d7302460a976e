//! The engine: an order of contenders and the sessions that end them, as [`leasehold_core::ordered`] makes locks of.

use std::os::fd::BorrowedFd;
use std::pin::Pin;
use std::sync::LazyLock;
use std::time::Duration;

use leasehold_core::claim::{ClaimRef, Leave, Refresh};
use leasehold_core::engine::{
    Alarms, ClockKind, Durability, Engine, EngineInfo, Hints, Page, Query, Reach, Reply, Standing,
    TokensRise, Validity, Wakeups,
};
use leasehold_core::ordered::Ordered;
use leasehold_core::{Claim, Env, Error, ErrorKind, Result};

use crate::config::Config;
use crate::connect::{Door, Found};
use crate::store::Tree;

/// The most claims in one request.
const BATCH_MAX: usize = 1024;
/// The unit of time of servers as they come.
const TICK_USUAL: Duration = Duration::from_secs(2);
/// The shortest and the longest session of servers as they come, in ticks.
const SHORTEST: u32 = 2;
const LONGEST: u32 = 20;

/// Locks kept in ZooKeeper. Clones share all.
#[derive(Clone, Debug)]
pub struct ZooKeeper {
    ordered: Ordered<Tree>,
}

static INFO: LazyLock<EngineInfo> = LazyLock::new(|| {
    let mut info = EngineInfo::least("zookeeper");
    info.reach = Reach::Network;
    info.durability = Durability::Consensus;
    info.clock = ClockKind::Session;
    info.wakeups = Wakeups::Push;
    info.validity = Validity::Estimated;
    info.ttl_min = TICK_USUAL * SHORTEST;
    info.ttl_max = TICK_USUAL * LONGEST;
    info.batch_max = BATCH_MAX;
    info.shared = true;
    info.orders_foreign = true;
    info.shared_fate = true;
    info.tokens_rise = TokensRise::Consensus;
    info
});

/// What this engine can do and guarantees, with an ensemble as it comes.
pub fn info() -> &'static EngineInfo {
    &INFO
}

impl ZooKeeper {
    /// Connects to the servers, and finds out how long sessions may be.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for a certificate that cannot be used; [`ErrorKind::Denied`] for who is not let in;
    /// [`ErrorKind::Unsupported`] for encryption in a build without it, and for servers whose sessions are too short;
    /// [`ErrorKind::Unavailable`] if no server lets us in within the time-out, for none can be reached or there is no
    /// majority.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    ///
    /// # Cancel safety
    /// Dropped on the way, nothing stays open; the servers forget the sessions by themselves.
    pub async fn open(config: Config, env: Env) -> Result<Self> {
        let given = config.tick;
        let door = Door::new(config, env.clone())?;
        let (home, found) = door.look_around().await?;
        let (shortest, longest) = found.bounds;
        let tick = given.unwrap_or((shortest / SHORTEST).max(longest / LONGEST));
        let info = info_of(&found, tick)?;
        Ok(Self { ordered: Ordered::new(Tree::new(info, door, home, tick), env) })
    }
}

/// What these servers allow and keep.
fn info_of(found: &Found, tick: Duration) -> Result<EngineInfo> {
    let (shortest, longest) = found.bounds;
    if longest < tick * SHORTEST {
        let message = format!(
            "the servers end sessions after {longest:?} at the latest, which leaves too little to count on with a tick \
             of {tick:?}; raise their `maxSessionTimeout`, or say their tick by `tick=`"
        );
        return Err(Error::new(ErrorKind::Unsupported, "connect", message));
    }
    let mut info = INFO.clone();
    info.ttl_min = shortest.max(tick * SHORTEST);
    info.ttl_max = longest;
    match found.voters {
        Some(1) => {
            info.durability = Durability::SingleNode;
            info.tokens_rise = TokensRise::WithData;
            info.warnings
                .push("there is one server, not an ensemble: when it is down, nobody can lock".to_owned());
        }
        Some(_) => {}
        None => info.warnings.push("the servers do not say how many they are".to_owned()),
    }
    Ok(info)
}

impl Engine for ZooKeeper {
    fn info(&self) -> &EngineInfo {
        self.ordered.info()
    }

    fn join(&self, claims: &[Claim]) -> Reply<Standing> {
        self.ordered.join(claims)
    }

    fn refresh(&self, claims: &[Refresh]) -> Reply<Standing> {
        self.ordered.refresh(claims)
    }

    fn leave(&self, claims: &[Leave]) -> Reply<()> {
        self.ordered.leave(claims)
    }

    fn watch(&self, claim: &ClaimRef) -> Hints {
        self.ordered.watch(claim)
    }

    fn inspect(&self, query: Query) -> Pin<Box<dyn Future<Output = Result<Page>> + Send>> {
        self.ordered.inspect(query)
    }

    fn alarms(&self) -> Alarms {
        self.ordered.alarms()
    }

    fn lifeline(&self) -> Option<BorrowedFd<'_>> {
        self.ordered.lifeline()
    }
}
