//! The one public error.

use std::error::Error as StdError;
use std::fmt;

/// What went wrong, in the terms of the caller.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ErrorKind {
    /// What was asked cannot be meant: an empty name, a TTL of zero, an unknown scheme or option. Nothing was sent.
    InvalidInput,
    /// The engine cannot do what was asked or give what was required, and says so before it is asked.
    Unsupported,
    /// The engine refuses this claim: the resource has another capacity, or its queue is full.
    Refused,
    /// The engine does not answer, or not in time. Asking again may help.
    Unavailable,
    /// The engine does not let this user in, or do this: somebody must grant it. Nothing was applied.
    Denied,
    /// The engine's stored data is damaged or is not ours. It was not touched.
    Corrupt,
    /// The hold ended before the work under it did.
    Lost,
    /// The client has been shut down.
    Closed,
    /// A defect or a situation we did not foresee.
    Unexpected,
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InvalidInput => "invalid input",
            Self::Unsupported => "unsupported",
            Self::Refused => "refused",
            Self::Unavailable => "engine unavailable",
            Self::Denied => "not permitted",
            Self::Corrupt => "stored data unusable",
            Self::Lost => "lock lost",
            Self::Closed => "client closed",
            Self::Unexpected => "unexpected",
        })
    }
}

/// Whether the failed request took effect at the engine.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// It did not.
    NotApplied,
    /// It did.
    Applied,
    /// Nobody knows until the engine has been asked again.
    Unknown,
}

/// An error of leasehold: what kind, whether the request took effect, in which operation, and why.
///
/// `{}` is one line for users; `{:?}` adds the outcome, the context and the sources, for reports.
#[derive(Clone)]
pub struct Error(Box<Inner>);

/// A `Result` with our [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

type Source = std::sync::Arc<dyn StdError + Send + Sync>;

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    outcome: Outcome,
    operation: &'static str,
    message: String,
    context: Vec<(&'static str, String)>,
    source: Option<Source>,
}

impl Error {
    /// An error of a request that was not sent or certainly had no effect.
    pub fn new(kind: ErrorKind, operation: &'static str, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            outcome: Outcome::NotApplied,
            operation,
            message: message.into(),
            context: Vec::new(),
            source: None,
        }))
    }

    /// The same with another outcome.
    #[must_use]
    pub fn with_outcome(mut self, outcome: Outcome) -> Self {
        self.0.outcome = outcome;
        self
    }

    /// The same with one more fact, such as the lock's name or the engine's address.
    #[must_use]
    pub fn with(mut self, what: &'static str, value: impl fmt::Display) -> Self {
        self.0.context.push((what, value.to_string()));
        self
    }

    /// The same with the error that caused it.
    #[must_use]
    pub fn with_source(mut self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.0.source = Some(std::sync::Arc::new(source));
        self
    }

    /// What went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whether the request took effect.
    pub fn outcome(&self) -> Outcome {
        self.0.outcome
    }

    /// What was being done.
    pub fn operation(&self) -> &'static str {
        self.0.operation
    }

    /// The facts that came with it, in the order in which they were added.
    pub fn context(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0.context.iter().map(|(what, value)| (*what, value.as_str()))
    }

    /// Whether asking again may help: the engine did not answer, or not in time.
    pub fn is_transient(&self) -> bool {
        self.0.kind == ErrorKind::Unavailable
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        for (i, (what, value)) in self.context().enumerate() {
            write!(f, "{}{what}: {value}", if i == 0 { " (" } else { ", " })?;
        }
        if !self.0.context.is_empty() {
            f.write_str(")")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} during {} (outcome {:?}): {self}", self.0.kind, self.0.operation, self.0.outcome)?;
        let mut source = self.source();
        while let Some(cause) = source {
            write!(f, "\n  caused by: {cause}")?;
            source = cause.source();
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_ref().map(|s| &**s as &(dyn StdError + 'static))
    }
}
