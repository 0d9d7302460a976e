//! Why an access was not let through.

use std::fmt;

use leasehold_core::Token;

use crate::Stale;

/// Why a fence did not let somebody through, or why it could not tell. `E` is the error of the storage's own client.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error<E> {
    /// A later holder has been there. Nothing was changed.
    Stale(Stale),
    /// The lock is not held under this token any more. Nothing was changed. Said by the storages that keep the lock
    /// itself, which see its end before a later holder has come.
    Gone(Token),
    /// What was asked cannot be meant, and why. Nothing was sent.
    Invalid(leasehold_core::Error),
    /// The storage's own error. Whether anything was changed is what that one says.
    Storage(E),
}

impl<E> Error<E> {
    /// Whether the storage has refused the holder, who must acquire the lock again and read again.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Stale(_) | Self::Gone(_))
    }

    /// What a later holder has left, if that is why.
    pub fn stale(&self) -> Option<Stale> {
        match self {
            Self::Stale(stale) => Some(*stale),
            _ => None,
        }
    }
}

impl<E: fmt::Display> fmt::Display for Error<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stale(stale) => stale.fmt(f),
            Self::Gone(token) => write!(f, "the lock is not held any more under token {token}"),
            Self::Invalid(why) => why.fmt(f),
            Self::Storage(error) => write!(f, "the fenced storage failed: {error}"),
        }
    }
}

impl<E: std::error::Error + 'static> std::error::Error for Error<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Stale(stale) => Some(stale),
            Self::Gone(_) => None,
            Self::Invalid(why) => Some(why),
            Self::Storage(error) => Some(error),
        }
    }
}

impl<E> From<Stale> for Error<E> {
    fn from(stale: Stale) -> Self {
        Self::Stale(stale)
    }
}

/// Something that was asked and cannot be meant.
pub(crate) fn invalid(operation: &'static str, why: impl Into<String>) -> leasehold_core::Error {
    leasehold_core::Error::new(leasehold_core::ErrorKind::InvalidInput, operation, why)
}
