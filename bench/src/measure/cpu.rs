//! Processor time.

use std::time::Duration;

use leasehold_core::{Error, ErrorKind, Result};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

/// How much processor time this process has taken so far, all threads, user and system.
///
/// # Errors
/// [`ErrorKind::Unexpected`] if the system does not say.
pub fn cpu_time() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_SELF).map_err(|e| {
        Error::new(ErrorKind::Unexpected, "bench", "the processor time could not be read").with_source(e)
    })?;
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Ok(Duration::from_micros(micros.unsigned_abs()))
}
