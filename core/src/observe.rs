//! What happens to claims, for metrics, traces and logs. Core itself reports to nobody.

use std::fmt;
use std::time::Duration;

use crate::claim::ClaimId;
use crate::name::Name;
use crate::token::Token;

/// Something that happened to a claim.
#[derive(Clone, Debug)]
pub struct Event<'a> {
    /// The resource.
    pub name: &'a Name,
    /// The claim.
    pub id: ClaimId,
    /// What happened.
    pub what: What,
}

/// What happened to a claim.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum What {
    /// It waits behind `ahead` others.
    Queued {
        /// How many are ahead.
        ahead: u32,
    },
    /// It is held.
    Acquired {
        /// Its token.
        token: Token,
        /// From the call to the guard.
        waited: Duration,
    },
    /// The caller's patience ended first.
    TimedOut {
        /// How long it waited.
        waited: Duration,
    },
    /// The engine confirmed the hold again.
    Renewed {
        /// How long it is valid from now.
        remaining: Duration,
    },
    /// A renewal failed, or its outcome is unknown; it will be asked for again.
    RenewalFailed {
        /// How long the hold is valid without it.
        remaining: Duration,
    },
    /// Half of the validity is gone without a renewal.
    AtRisk {
        /// How long the hold is still valid.
        remaining: Duration,
    },
    /// The hold ended before it was released.
    Lost {
        /// How long it was held.
        held: Duration,
    },
    /// The hold was released.
    Released {
        /// How long it was held.
        held: Duration,
    },
}

/// Whoever wants to hear of events. It is called in the middle of things, so it must be quick and must not block.
pub trait Observer: fmt::Debug + Send + Sync + 'static {
    /// Something happened.
    fn observe(&self, event: &Event<'_>);
}
