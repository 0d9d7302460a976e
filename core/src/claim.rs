//! Claims: one try to hold a resource.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::name::Name;
use crate::token::Token;

/// The capacity of a resource that is used as a reader/writer lock: a reader weighs 1, a writer all of it.
pub const CAPACITY_MAX: u32 = i32::MAX as u32;

/// A waiting claim lives at most this long after each of its own requests, so a dead waiter at the head of a
/// queue costs the others at most this.
pub const WAITING_TTL_MAX: Duration = Duration::from_secs(5);

/// The longest payload of a claim, in bytes of UTF-8.
pub const PAYLOAD_BYTES_MAX: usize = 1024;

/// The identity of a claim: 128 random bits chosen by the client before anything is sent, never used twice.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClaimId(pub u128);

impl fmt::Display for ClaimId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for ClaimId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0 >> 96)
    }
}

impl FromStr for ClaimId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        (text.len() == 32).then(|| u128::from_str_radix(text, 16).ok()).flatten().map(Self).ok_or_else(|| {
            Error::new(ErrorKind::InvalidInput, "claim id", "a claim id is 32 hexadecimal digits")
        })
    }
}

impl serde::Serialize for ClaimId {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

/// What a claim says about itself to whoever looks at the queue. It decides nothing.
#[derive(Clone, PartialEq, Eq, Debug, Default, serde::Serialize)]
pub struct Meta {
    /// Who claims: by default `host:pid`.
    pub owner: Arc<str>,
    /// What the caller wants others to know: a leader's address, a job's number. At most
    /// [`PAYLOAD_BYTES_MAX`] bytes.
    pub payload: Option<Arc<str>>,
}

/// One try to hold a resource, as the client sends it with `join`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Claim {
    /// The resource.
    pub name: Name,
    /// Which claim this is.
    pub id: ClaimId,
    /// The capacity of the resource; all claims in one queue must name the same.
    pub capacity: u32,
    /// How much of the capacity this claim takes, 1 to `capacity`.
    pub weight: u32,
    /// How long the claim lives after each request of its owner, once held. While it waits it lives the
    /// shorter of this and [`WAITING_TTL_MAX`].
    pub ttl: Duration,
    /// How long a hold lasts at the least, even if it is released or its process dies; zero for none.
    pub at_least: Duration,
    /// The token that it shall have if this request makes it held, as a quorum proposes it; see
    /// [`Refresh::raise`]. A claim that is queued forgets it.
    pub raise: Option<Token>,
    /// What it says about itself.
    pub meta: Meta,
}

impl Claim {
    /// The time to live while it waits.
    pub fn waiting_ttl(&self) -> Duration {
        self.ttl.min(WAITING_TTL_MAX)
    }

    /// The request of its owner that ends it.
    pub fn into_leave(self) -> Leave {
        Leave { claim: ClaimRef { name: self.name, id: self.id }, manner: Manner::Release }
    }

    /// A reference to it.
    pub fn key(&self) -> ClaimRef {
        ClaimRef { name: self.name.clone(), id: self.id }
    }
}

/// Which claim is meant.
#[derive(Clone, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct ClaimRef {
    /// The resource in whose queue it stands.
    pub name: Name,
    /// Its identity.
    pub id: ClaimId,
}

/// A request to renew a claim, held or waiting.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refresh {
    /// Which claim.
    pub claim: ClaimRef,
    /// How long it shall live from the receipt of this request, if it is held; while it waits, the shorter of
    /// this and [`WAITING_TTL_MAX`].
    pub ttl: Duration,
    /// The token that it shall have from now on if it is held, for engines whose info says
    /// [`raise`](crate::EngineInfo::raise); others take no notice. It is accepted if it is above all tokens that
    /// the engine has given out or accepted for this resource, or if the claim has it already. Otherwise the claim
    /// is given a new token, so the answer tells how high the next proposal must be.
    pub raise: Option<Token>,
}

/// A request to end a claim.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Leave {
    /// Which claim.
    pub claim: ClaimRef,
    /// How it ends.
    pub manner: Manner,
}

/// How a claim ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord)]
pub enum Manner {
    /// By its owner: now, or at the end of its at-least hold.
    Release,
    /// By an operator, safely: its refreshes are answered `Gone` from now on, and it is passed over when its
    /// time to live ends, when its holder can no longer believe that it holds.
    Revoke,
    /// By an operator, at once, at-least hold or not: the holder may go on believing until its own deadline,
    /// and only a fence that has seen a higher token keeps it from doing harm.
    Evict,
}
