//! Peers: other people's locks that do the same work.

mod files;
mod kazoo;
mod memory;
mod python;
mod redis_py;
mod rslock;

use leasehold_core::Result;

use crate::entrant::{Entrant, Role};
use crate::floor::redis::servers::Servers;
use crate::floor::{self, Synchronous};
use crate::load::Case;
use crate::site::Site;

/// The peers of an engine for a case.
///
/// # Errors
/// Whatever keeps one from starting.
pub fn of(site: &Site<'_>, case: Case) -> Result<Vec<Entrant>> {
    let env = site.env;
    Ok(match (site.scheme(), case) {
        (_, Case::Renew) => Vec::new(),
        ("memory", Case::Pair | Case::Handoff) => vec![
            Entrant::of("async-lock", Role::Peer, env, memory::AsyncLocks::default()),
            Entrant::of("futures", Role::Peer, env, memory::FuturesLocks::default()),
        ],
        ("sqlite", Case::Pair | Case::Handoff) => vec![
            Entrant::of("flock", Role::Peer, env, files::Files::new(site.folder)),
            floor::rusqlite("rusqlite full", Role::Peer, Synchronous::Full, site.folder, env)?,
        ],
        ("etcd", Case::Pair) => {
            let service = |member| floor::etcd::service(site, member, Role::Peer);
            floor::etcd::member(site).map(service).into_iter().collect()
        }
        ("zookeeper", Case::Pair | Case::Handoff) => zookeeper(site, case),
        (_, Case::Pair | Case::Handoff) => redis(site)?,
    })
}

/// kazoo, and the bare client's recipe where it is not the floor.
fn zookeeper(site: &Site<'_>, case: Case) -> Vec<Entrant> {
    let Some(servers) = floor::zookeeper::servers(site) else { return Vec::new() };
    let mut peers: Vec<_> = kazoo::entrant(&servers, site).into_iter().collect();
    if case == Case::Pair {
        peers.push(floor::zookeeper::recipe(site, servers, Role::Peer));
    }
    peers
}

/// rslock, which knows all kinds of servers, and redis-py, which knows single ones.
fn redis(site: &Site<'_>) -> Result<Vec<Entrant>> {
    let Some(servers) = Servers::of(site.url)? else { return Ok(Vec::new()) };
    let mut peers = Vec::new();
    peers.extend(redis_py::entrant(&servers, site));
    peers.push(rslock::entrant(servers, site));
    Ok(peers)
}
