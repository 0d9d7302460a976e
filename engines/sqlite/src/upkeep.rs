//! What must be done now and then and would hold up a caller: copying the log back into the database, and making
//! tokens good on the disk. It runs beside the requests, on a connection of its own.

use leasehold_core::Result;
use rusqlite::Result as SqliteResult;

use crate::place::Identity;
use crate::store::{Store, World};
use crate::wire::Wire;

/// After how many transactions of this process the log is copied back.
pub(crate) const EVERY_COMMITS: u32 = 2000;
/// With so many pages in the log it is made to start again, for which everybody must wait a moment. A log that is
/// copied while nobody writes starts again by itself.
const LOG_PAGES_MAX: i64 = 16384;

/// Does what is to be done. What does not succeed is tried again the next time, and matters to nobody until then.
pub(crate) fn run(world: &World, identity: Identity, tokens: bool) -> Result<()> {
    let store = Store::again(world, identity)?;
    if !store.is_same()? {
        return Ok(());
    }
    if tokens {
        store.extend(world, 0)?;
    }
    let log_pages = store.wire.checkpoint(false).map_or(0, |(pages, _)| pages);
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
