//! With which code `leasehold` ends, and why. The codes are those of `sysexits.h` where it has one.

use std::process::ExitCode;

use leasehold::{Error, ErrorKind};
use nix::sys::signal::{SigSet, Signal, raise};

/// Bad usage; nothing was sent.
pub(crate) const USAGE: u8 = 64;
/// The engine is not available, does not let this user in, or its data is damaged.
pub(crate) const UNAVAILABLE: u8 = 69;
/// A defect, or the system refuses something that is always there.
pub(crate) const INTERNAL: u8 = 70;
/// A file cannot be written.
pub(crate) const CANNOT_CREATE: u8 = 73;
/// The lock is busy.
pub(crate) const BUSY: u8 = 75;
/// The lock was lost, or its time was over, and the command was ended.
pub(crate) const LOST: u8 = 76;
/// The command cannot be executed.
pub(crate) const NOT_EXECUTABLE: u8 = 126;
/// The command was not found.
pub(crate) const NOT_FOUND: u8 = 127;

/// How `leasehold` ends if nothing went wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    /// With this code.
    Code(u8),
    /// As whatever it ran, by this signal.
    Signal(u8),
}

impl From<End> for ExitCode {
    fn from(end: End) -> Self {
        match end {
            End::Code(code) => code.into(),
            End::Signal(signal) => {
                if i32::from(signal) == Signal::SIGINT as i32 {
                    interrupt_us();
                }
                (128 | signal).into()
            }
        }
    }
}

/// Ends us by SIGINT. A shell script stops at Ctrl-C only if what it ran was ended by it; a code is not
/// enough.
fn interrupt_us() {
    // If either fails, or we were told to ignore it, the code says as much as it can.
    let _ = SigSet::from_iter([Signal::SIGINT]).thread_unblock();
    let _ = raise(Signal::SIGINT);
}

/// Why `leasehold` ends early, in words and as a code.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: u8,
    pub(crate) message: String,
}

impl Failure {
    /// With this code, for this reason.
    pub(crate) fn new(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// Makes a failure of a system call that ought to work.
    pub(crate) fn internal<E: std::fmt::Display>(what: &'static str) -> impl FnOnce(E) -> Self {
        move |error| Self::new(INTERNAL, format!("{what}: {error}"))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let code = match error.kind() {
            ErrorKind::InvalidInput | ErrorKind::Unsupported | ErrorKind::Refused => USAGE,
            ErrorKind::Unavailable | ErrorKind::Denied | ErrorKind::Corrupt => UNAVAILABLE,
            ErrorKind::Lost => LOST,
            _ => INTERNAL,
        };
        let mut message = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            message.push_str("\n  caused by: ");
            message.push_str(&cause.to_string());
            source = cause.source();
        }
        Self { code, message }
    }
}
