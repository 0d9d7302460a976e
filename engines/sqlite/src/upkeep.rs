//! What must be done now and then and would hold up a caller: copying the log back into the database, and making
//! tokens good on the disk. It runs beside the requests, on a connection of its own.

use leasehold_core::Result;
use rusqlite::Result as SqliteResult;

use crate::place::Identity;
use crate::store::{self, Store, World};
use crate::wire::Wire;

/// After how many transactions of this process the log is copied back.
pub(crate) const EVERY_COMMITS: u32 = 2000;
/// A log that has been copied to its end starts again by itself, and each try leaves fewer new pages to the next.
const TRIES: usize = 5;
/// With so many pages in the log it is made to start again, for which everybody must wait until the disk has all:
/// only if this machine has done nothing but lock for a second or more.
const LOG_PAGES_MAX: i64 = 24 * 1024;

/// A log of so many bytes is looked after by whoever opens the database, for short-lived processes never come to
/// [`EVERY_COMMITS`]. It may be that long and have started again: then that is soon done.
const LOG_BYTES_AT_OPEN: u64 = 8 << 20;

/// Does what is to be done when an engine opens.
pub(crate) fn at_open(world: &World, identity: Identity) -> Result<()> {
    let log = std::fs::metadata(world.place.companion(store::LOG));
    if log.is_ok_and(|log| log.len() > LOG_BYTES_AT_OPEN) { run(world, identity, false) } else { Ok(()) }
}

/// Does what is to be done. What does not succeed is tried again the next time, and matters to nobody until then.
pub(crate) fn run(world: &World, identity: Identity, tokens: bool) -> Result<()> {
    let store = Store::again(world, identity)?;
    if !store.is_same()? {
        return Ok(());
    }
    if tokens {
        store.extend(world, 0)?;
    }
    let mut log_pages = 0;
    for _ in 0..TRIES {
        // Another process may be at it.
        let Ok((pages, copied)) = store.wire.checkpoint(false) else { break };
        if copied == pages && pages == log_pages {
            // Nobody has written since the last try, so whoever writes next starts the log again.
            return Ok(());
        }
        log_pages = pages;
    }
    if log_pages > LOG_PAGES_MAX {
        // Nearly all of it has been copied, so this is short.
        store.undisturbed(restart_log)?.ok();
    }
    Ok(())
}

fn restart_log(wire: &Wire) -> SqliteResult<()> {
    wire.wait_when_busy(std::time::Duration::from_millis(100))?;
    wire.checkpoint(true)?;
    wire.wait_when_busy(std::time::Duration::ZERO)
}
