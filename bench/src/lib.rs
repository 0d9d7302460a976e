//! What an engine does for its user, measured: uncontended pairs, hand-over, renewal.
//!
//! [`Load`] says what is done, [`workload`] does it, [`Entrant`] is who does it: our client on an engine, and in
//! this repository's own benchmarks also the engine's *floor* (the bare client's commands) and *peers*. All run
//! the same loop. [`rounds`] runs them in turn, A B C A B C, so that a noisy machine is noisy for all of them, and
//! compares only within a round. A [`Row`] is the result.
//!
//! Real hand-overs are counted, where the holder changed. An empty critical section flatters pollers: they come
//! to many pairs by locking again while their rivals sleep.

mod entrant;
#[cfg(feature = "floors")]
pub mod floor;
mod load;
pub mod measure;
mod ours;
#[cfg(feature = "floors")]
mod owned;
#[cfg(feature = "floors")]
pub mod peers;
mod progress;
pub mod rounds;
mod row;
#[cfg(feature = "floors")]
mod site;
pub mod workload;

pub use entrant::{Entrant, Locker, Role, Seat};
pub use load::{Case, Choice, Load, parse_seconds, parse_tasks};
pub use ours::Ours;
pub use progress::Progress;
pub use row::{Beside, Row, table};
#[cfg(feature = "floors")]
pub use site::Site;

use leasehold_core::{Error, ErrorKind, Result};

/// How many threads the tasks of a benchmark share: its figures are only comparable if this does not change.
pub const WORKERS: usize = 2;

/// The runtime that benchmarks run on.
///
/// # Errors
/// [`ErrorKind::Unexpected`] if the system gives no threads.
pub fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build()
        .map_err(|e| Error::new(ErrorKind::Unexpected, "bench", "the runtime did not start").with_source(e))
}
