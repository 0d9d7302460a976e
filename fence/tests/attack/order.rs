//! What a writer is told and what it answers, as lines of text.

use std::fmt;
use std::str::FromStr;

use leasehold_core::{Mode, Name, Token};
use leasehold_fence::{Error, Sequencer, Stale};

use crate::{Check, Failure};

/// The lock that all are under.
pub(crate) const LOCK: &str = "attacked";

/// What is stored: who wrote it last, and how many wrote before it and itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Value {
    pub(crate) token: u64,
    pub(crate) count: u64,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Order {
    /// Raise the mark, and read under it.
    Enter(Sequencer),
    /// Write under a token that has entered before.
    Write(Sequencer, Value),
    /// Read without asking anybody.
    Peek,
    /// Take the lock itself, at the engine with this URL, and keep it.
    Hold(String),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reply {
    Value(Value),
    Done,
    Stale,
    /// The lock is held under this token.
    Held(u64),
}

impl Order {
    /// Who is to be let in first, if the storage asks at all, and what is to be written then; else it is read.
    pub(crate) fn under(&self, check: Check) -> (Option<&Sequencer>, Option<Value>) {
        match self {
            Self::Enter(who) => (Some(who).filter(|_| check == Check::Always), None),
            Self::Write(who, value) => (Some(who).filter(|_| check != Check::Never), Some(*value)),
            Self::Peek | Self::Hold(_) => (None, None),
        }
    }
}

pub(crate) fn sequencer(token: u64, mode: Mode) -> Sequencer {
    let name = Name::new(LOCK).expect("it is one");
    Sequencer::new(name, Token::new(token).expect("a token"), mode)
}

/// A refusal is an answer; everything else is a failure.
pub(crate) fn refused<E: std::error::Error + Send + Sync + 'static>(
    error: Error<E>,
) -> Result<Reply, Failure> {
    match error {
        refusal if refusal.is_refusal() => Ok(Reply::Stale),
        other => Err(other.into()),
    }
}

impl From<Stale> for Reply {
    fn from(_: Stale) -> Self {
        Self::Stale
    }
}

impl Value {
    /// As databases have numbers.
    pub(crate) fn row(self) -> (i64, i64) {
        (self.token.cast_signed(), self.count.cast_signed())
    }

    pub(crate) fn of_row((token, count): (i64, i64)) -> Self {
        Self { token: token.cast_unsigned(), count: count.cast_unsigned() }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.token, self.count)
    }
}

impl FromStr for Value {
    type Err = Failure;

    /// Nothing at all is a value that nobody has written.
    fn from_str(text: &str) -> Result<Self, Failure> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let (token, count) = text.split_once(' ').ok_or_else(|| format!("`{text}` is no value"))?;
        Ok(Self { token: token.parse()?, count: count.parse()? })
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Enter(who) => write!(f, "enter {who}"),
            Self::Write(who, value) => write!(f, "write {who} {value}"),
            Self::Peek => f.write_str("peek"),
            Self::Hold(url) => write!(f, "hold {url}"),
        }
    }
}

impl FromStr for Order {
    type Err = Failure;

    fn from_str(line: &str) -> Result<Self, Failure> {
        let mut words = line.splitn(3, ' ');
        Ok(match (words.next(), words.next(), words.next()) {
            (Some("enter"), Some(who), None) => Self::Enter(who.parse()?),
            (Some("write"), Some(who), Some(value)) => Self::Write(who.parse()?, value.parse()?),
            (Some("peek"), None, None) => Self::Peek,
            (Some("hold"), Some(url), None) => Self::Hold(url.to_owned()),
            _ => return Err(format!("`{line}` is no order").into()),
        })
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(value) => write!(f, "value {value}"),
            Self::Done => f.write_str("done"),
            Self::Stale => f.write_str("stale"),
            Self::Held(token) => write!(f, "held {token}"),
        }
    }
}

impl FromStr for Reply {
    type Err = Failure;

    fn from_str(line: &str) -> Result<Self, Failure> {
        match line.split_once(' ') {
            None if line == "done" => Ok(Self::Done),
            None if line == "stale" => Ok(Self::Stale),
            Some(("value", value)) => Ok(Self::Value(value.parse()?)),
            Some(("held", token)) => Ok(Self::Held(token.parse()?)),
            _ => Err(format!("the worker said `{line}`").into()),
        }
    }
}
