//! The engine: an order of contenders and the sessions that end them, as [`leasehold_core::ordered`] makes locks of.

use std::os::fd::BorrowedFd;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use leasehold_core::claim::{ClaimRef, Leave, Refresh};
use leasehold_core::engine::{
    Alarms, ClockKind, Durability, Engine, EngineInfo, Hints, Page, Query, Reach, Reply, Standing,
    TokensRise, Validity, Wakeups,
};
use leasehold_core::ordered::Ordered;
use leasehold_core::{Claim, Env, Result};

use crate::config::Config;
use crate::link::Link;
use crate::messages::{LeaseGrantRequest, LeaseRevokeRequest, MemberListRequest, StatusRequest};
use crate::store::Leases;
use crate::version;

/// The most claims in one request.
const BATCH_MAX: usize = 1024;
/// The shortest lease of servers as they come: one and a half times their election time-out, in whole seconds.
const SHORTEST_USUAL: Duration = Duration::from_secs(2);

/// Locks kept in etcd. Clones share all.
#[derive(Clone, Debug)]
pub struct Etcd {
    ordered: Ordered<Leases>,
}

static INFO: LazyLock<EngineInfo> = LazyLock::new(|| {
    let mut info = EngineInfo::least("etcd");
    info.reach = Reach::Network;
    info.durability = Durability::Consensus;
    info.clock = ClockKind::Session;
    info.wakeups = Wakeups::Push;
    info.validity = Validity::Proven;
    info.ttl_min = SHORTEST_USUAL;
    info.ttl_step = Duration::from_secs(1);
    info.batch_max = BATCH_MAX;
    info.shared = true;
    info.orders_foreign = true;
    info.shared_fate = true;
    info.tokens_rise = TokensRise::Consensus;
    info
});

/// What this engine can do and guarantees, with a cluster as it comes, of a version without the fault that docs.md names.
pub fn info() -> &'static EngineInfo {
    &INFO
}

impl Etcd {
    /// Connects, and finds out what these servers promise.
    ///
    /// # Errors
    /// [`InvalidInput`](leasehold_core::ErrorKind::InvalidInput) for certificates that cannot be used;
    /// [`Denied`](leasehold_core::ErrorKind::Denied) for a wrong password or a user who may not use the prefix;
    /// [`Unavailable`](leasehold_core::ErrorKind::Unavailable) if no member answers
    /// or the cluster has no leader.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    ///
    /// # Cancel safety
    /// Dropped on the way, nothing stays open; a lease of a second or two may be left, which nothing is attached to.
    pub async fn open(config: Config, env: Env) -> Result<Self> {
        let link = Arc::new(Link::new(config, env.clone())?);
        let info = look_around(&link).await?;
        Ok(Self { ordered: Ordered::new(Leases::new(link, info), env) })
    }
}

/// What these servers allow and keep.
async fn look_around(link: &Arc<Link>) -> Result<EngineInfo> {
    let mut info = INFO.clone();
    let status = link.ask("connect", StatusRequest {}).await?;
    let (validity, warning) = version::validity(&status.version);
    info.validity = validity;
    info.warnings.extend(warning);
    // Who may not know how many there are takes them for a cluster.
    if link.ask("connect", MemberListRequest {}).await.is_ok_and(|list| list.members.len() == 1) {
        info.durability = Durability::SingleNode;
        info.tokens_rise = TokensRise::WithData;
        info.warnings.push("there is one member, not a cluster: when it is down, nobody can lock".to_owned());
    }
    // Who asks for less than the shortest lease gets that.
    let shortest = link.ask("connect", LeaseGrantRequest { ttl: 1 }).await?;
    info.ttl_min = Duration::from_secs(shortest.ttl.unsigned_abs());
    let link = Arc::clone(link);
    // If this fails it ends by itself.
    tokio::spawn(async move { link.ask("connect", LeaseRevokeRequest { id: shortest.id }).await });
    Ok(info)
}

impl Engine for Etcd {
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
