//! The engine: Consul as a store, and what it guarantees.

use std::sync::LazyLock;
use std::time::Duration;

use hyper::{Method, StatusCode};
use leasehold_core::engine::{ClockKind, Durability, EngineInfo, Reach, TokensRise, Validity, Wakeups};
use leasehold_core::ordered::Ordered;
use leasehold_core::{Env, Result};

use crate::config::Config;
use crate::failure;
use crate::http::Http;
use crate::store::Kv;

/// Locks kept in Consul.
pub type Consul = Ordered<Kv>;

static INFO: LazyLock<EngineInfo> = LazyLock::new(|| {
    let mut info = EngineInfo::least("consul");
    info.reach = Reach::Network;
    info.durability = Durability::Consensus;
    info.clock = ClockKind::Session;
    info.wakeups = Wakeups::Push;
    info.validity = Validity::Proven;
    info.ttl_min = Duration::from_secs(10);
    info.ttl_max = Duration::from_secs(24 * 3600);
    info.batch_max = 1000;
    info.shared = true;
    info.orders_foreign = true;
    info.shared_fate = true;
    info.tokens_rise = TokensRise::Consensus;
    info
});

/// What this engine can do and guarantees.
pub fn info() -> &'static EngineInfo {
    &INFO
}

/// Finds a server that answers, and makes an engine of it.
///
/// # Errors
/// [`InvalidInput`](leasehold_core::ErrorKind::InvalidInput) for files or a token that cannot be used, or encryption that does
/// not fit; [`Unavailable`](leasehold_core::ErrorKind::Unavailable) if no server answers. That the cluster has no leader, or does not
/// know the token, is told by the first request for a lock.
///
/// # Panics
/// Outside of a tokio runtime.
///
/// # Cancel safety
/// Dropped on the way, nothing stays open.
pub async fn open(config: Config, env: Env) -> Result<Consul> {
    let http = Http::new(&config, env.clone())?;
    let servers = config.servers();
    match http.ask(Method::GET, "status/leader", Vec::new()).await {
        // A name in quotes, or nothing in quotes.
        Ok(answer) if answer.status == StatusCode::OK && answer.body.starts_with(b"\"") => {}
        Ok(answer) if answer.status == StatusCode::OK => {
            return Err(failure::odd("connect", "it names no leader").with("server", servers));
        }
        Ok(answer) => return Err(failure::refused("connect", &answer).with("server", servers)),
        Err(broken) => {
            return Err(failure::broken("connect", &broken, config.timeout).with("server", servers));
        }
    }
    Ok(Ordered::new(Kv::new(&config, http, env.clone()), env))
}
