//! The engine: how it is opened, and what it is.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use leasehold_core::engine::{ClockKind, Durability, EngineInfo, Reach, TokensRise, Validity, Wakeups};
use leasehold_core::ordered::Ordered;
use leasehold_core::{Env, Result};

use crate::batch;
use crate::config::Config;
use crate::link::Link;
use crate::messages::{LeaseGrantRequest, LeaseRevokeRequest, StatusRequest};
use crate::store::EtcdStore;
use crate::version;

static INFO: LazyLock<EngineInfo> = LazyLock::new(|| {
    let mut info = EngineInfo::least("etcd");
    info.reach = Reach::Network;
    info.durability = Durability::Consensus;
    info.clock = ClockKind::Session;
    info.wakeups = Wakeups::Push;
    info.validity = Validity::Proven;
    info.ttl_min = Duration::from_secs(2);
    info.ttl_step = Duration::from_secs(1);
    info.batch_max = 10_000;
    info.shared = true;
    info.orders_foreign = true;
    info.shared_fate = true;
    info.tokens_rise = TokensRise::Consensus;
    info
});

/// What this engine can do and guarantees, on etcd as it comes.
pub fn info() -> &'static EngineInfo {
    &INFO
}

/// Locks kept in etcd. Clones share a connection and their sessions.
pub type Etcd = Ordered<EtcdStore>;

/// Connects, and finds out what this etcd promises.
///
/// # Errors
/// [`InvalidInput`](leasehold_core::ErrorKind::InvalidInput) for certificates that cannot be read, a wrong password or a
/// user who may not use the prefix; [`Unavailable`](leasehold_core::ErrorKind::Unavailable) if no member answers or the
/// cluster has no leader.
///
/// # Cancel safety
/// Dropped on the way, nothing stays open; a lease of a few seconds may be left, which nothing is attached to.
pub async fn open(config: Config, env: Env) -> Result<Etcd> {
    let link = Arc::new(Link::new(config, env.clone())?);
    let status = link.ask("connect", StatusRequest {}).await?;
    let mut info = INFO.clone();
    let (validity, warning) = version::validity(&status.version);
    info.validity = validity;
    info.warnings.extend(warning);
    // The shortest lease depends on the cluster's election time-out, and is what one gets who asks for less.
    let shortest = link.ask("connect", LeaseGrantRequest { ttl: 1 }).await?;
    info.ttl_min = Duration::from_secs(shortest.ttl.unsigned_abs());
    let end = Arc::clone(&link);
    // Else it ends by itself.
    tokio::spawn(async move { end.ask("connect", LeaseRevokeRequest { id: shortest.id }).await });
    Ok(Ordered::new(EtcdStore::new(Arc::clone(&link), info, batch::gather(link)), env))
}
