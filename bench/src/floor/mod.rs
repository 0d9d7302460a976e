//! Floors: the bare client's commands for an engine, with nothing of ours around them.

mod advisory;
mod consul;
pub(crate) mod etcd;
mod getlock;
mod memory;
mod mysql;
mod postgres;
pub(crate) mod redis;
pub(crate) mod sqlite;
pub(crate) mod zookeeper;

use std::path::Path;

use leasehold_core::{Env, Result};

use crate::entrant::{Entrant, Role};
use crate::load::Case;
use crate::site::Site;
pub use sqlite::Synchronous;

/// The floor of an engine for a case; `None` if it has none.
///
/// # Errors
/// Whatever keeps it from starting.
pub fn of(site: &Site<'_>, case: Case) -> Result<Option<Entrant>> {
    let env = site.env;
    Ok(match (site.scheme(), case) {
        (_, Case::Renew) => None,
        ("memory", Case::Pair) => Some(Entrant::of("dashmap", Role::Floor, env, memory::Map::default())),
        ("memory", Case::Handoff) => {
            Some(Entrant::of("tokio mutex", Role::Floor, env, memory::TokioLocks::default()))
        }
        ("consul", Case::Pair | Case::Handoff) => consul::of(site, case),
        ("etcd" | "etcds", Case::Pair | Case::Handoff) => etcd::of(site, case),
        ("sqlite", Case::Pair | Case::Handoff) => {
            Some(rusqlite("rusqlite", Role::Floor, Synchronous::Normal, site.folder, env)?)
        }
        ("zookeeper", Case::Pair | Case::Handoff) => zookeeper::of(site, case),
        ("mysql" | "mariadb", Case::Pair | Case::Handoff) => Some(mysql::entrant(site)?),
        ("mysql+getlock" | "mariadb+getlock", Case::Pair | Case::Handoff) => Some(getlock::entrant(site)?),
        ("postgres", Case::Pair | Case::Handoff) => Some(postgres::entrant(site)?),
        ("postgres+advisory", Case::Pair | Case::Handoff) => Some(advisory::entrant(site, case)?),
        (_, Case::Pair | Case::Handoff) => redis::of(site, case)?,
    })
}

/// Bare SQLite as a floor or a peer.
///
/// # Errors
/// Whatever SQLite says when it opens its file.
pub fn rusqlite(
    name: &'static str,
    role: Role,
    synchronous: Synchronous,
    place: &Path,
    env: &Env,
) -> Result<Entrant> {
    Ok(Entrant::of(name, role, env, sqlite::Bare::open(place, synchronous, env)?))
}
