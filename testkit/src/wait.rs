//! Waiting for what a server tells only to those who ask.

use std::fmt::Display;
use std::io;
use std::thread::sleep;
use std::time::Duration;

use leasehold_core::Clock;
use leasehold_core::clock::BootClock;

/// Between two questions.
const PAUSE: Duration = Duration::from_millis(5);

/// Longer than any server needs on a busy machine, and short enough for a test to fail by.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// What a question came to.
pub(crate) enum Asked<T> {
    /// That is it.
    Yes(T),
    /// Ask again; this is why.
    NotYet(String),
    /// It will never be.
    Never(String),
}

impl<T, E: Display> From<Result<T, E>> for Asked<T> {
    fn from(result: Result<T, E>) -> Self {
        match result {
            Ok(value) => Self::Yes(value),
            Err(why) => Self::NotYet(why.to_string()),
        }
    }
}

/// Asks until the answer is yes. `what` completes the sentence "waited in vain until ...".
pub(crate) fn until<T, A: Into<Asked<T>>>(what: impl Display, mut ask: impl FnMut() -> A) -> io::Result<T> {
    let deadline = BootClock.now() + PATIENCE;
    loop {
        match ask().into() {
            Asked::Yes(value) => return Ok(value),
            Asked::NotYet(_) if BootClock.now() < deadline => sleep(PAUSE),
            Asked::NotYet(why) => {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("waited {} s in vain until {what}: {why}", PATIENCE.as_secs()),
                ));
            }
            Asked::Never(why) => {
                return Err(io::Error::other(format!("it can no longer be that {what}: {why}")));
            }
        }
    }
}
