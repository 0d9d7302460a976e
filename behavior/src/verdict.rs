//! How a test ends.

use std::fmt;

use leasehold_testkit::Ended;

/// Why a test failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// What the test is about does not hold.
    Violation(String),
    /// The test could not be carried out.
    Trouble(String),
}

/// The result of a test, or of a step of one.
pub(crate) type Verdict<T = ()> = Result<T, Failure>;

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Violation(what) => write!(f, "violated: {what}"),
            Self::Trouble(what) => write!(f, "the test could not be carried out: {what}"),
        }
    }
}

/// Whatever a step of a test stumbles over.
macro_rules! trouble {
    ($($error:ty),*) => {$(
        impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self::Trouble(format!("{error:?}"))
            }
        }
    )*};
}
trouble!(leasehold::Error, std::io::Error, Ended, tokio::task::JoinError, std::num::ParseIntError);

/// Fails the test, as a violation, unless the condition holds.
macro_rules! ensure {
    ($so:expr, $($why:tt)+) => {
        if !$so {
            return Err($crate::verdict::Failure::Violation(format!($($why)+)));
        }
    };
}
pub(crate) use ensure;
