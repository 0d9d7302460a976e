//! Peers: other people's locks that do the same work.

mod files;
mod memory;

use std::path::Path;

use leasehold_core::{Env, Result};

use crate::entrant::{Entrant, Role};
use crate::floor::{self, Synchronous};
use crate::load::Case;

/// The peers of an engine for a case, with their files under `place`.
///
/// # Errors
/// Whatever keeps one from starting.
pub fn of(engine: &str, case: Case, place: &Path, env: &Env) -> Result<Vec<Entrant>> {
    Ok(match (engine, case) {
        ("memory", Case::Pair | Case::Handoff) => vec![
            Entrant::of("async-lock", Role::Peer, env, memory::AsyncLocks::default()),
            Entrant::of("futures", Role::Peer, env, memory::FuturesLocks::default()),
        ],
        ("sqlite", Case::Pair | Case::Handoff) => vec![
            Entrant::of("flock", Role::Peer, env, files::Files::new(place)),
            floor::rusqlite("rusqlite full", Role::Peer, Synchronous::Full, place, env)?,
        ],
        _ => Vec::new(),
    })
}
