//! What a claim leaves at Consul: the value of a key, in JSON that people can read.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use leasehold_core::{Claim, ClaimId, Meta};
use serde::{Deserialize, Deserializer, Serialize};

/// A claim, where it stands: in the value of the lock's own key if it was first there, or else of a key in the line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    #[serde(deserialize_with = "claim_id")]
    pub(crate) claim: ClaimId,
    pub(crate) weight: u32,
    pub(crate) capacity: u32,
    /// The time to live of its session.
    pub(crate) ttl_ms: u64,
    /// When it came, in microseconds since 1970 by the clock of its owner; for people only.
    pub(crate) since: u64,
    pub(crate) owner: Arc<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) payload: Option<Arc<str>>,
    /// Of one in the line: that it has been let in, by the change that wrote this.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) held: bool,
    /// Its token, if that is not the index of the last change of its key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) token: Option<u64>,
    /// When it came, as an index of Consul, if its key has been made later than that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) joined: Option<u64>,
    /// Of the lock's own key: that others have used it before, so it stays.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) keep: bool,
    /// Nobody renews it any more.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) revoked: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn is_false(value: &bool) -> bool {
    !value
}

fn claim_id<'de, D: Deserializer<'de>>(from: D) -> Result<ClaimId, D::Error> {
    let text = String::deserialize(from)?;
    ClaimId::from_str(&text).map_err(serde::de::Error::custom)
}

impl Place {
    pub(crate) fn of(claim: &Claim, since: u64) -> Self {
        Self {
            claim: claim.id,
            weight: claim.weight,
            capacity: claim.capacity,
            ttl_ms: u64::try_from(claim.ttl.as_millis()).unwrap_or(u64::MAX),
            since,
            owner: Arc::clone(&claim.meta.owner),
            payload: claim.meta.payload.clone(),
            held: false,
            token: None,
            joined: None,
            keep: false,
            revoked: false,
        }
    }

    /// What is in the value of a key; `None` if that is not ours.
    pub(crate) fn read(value: &str) -> Option<Self> {
        let place: Self = serde_json::from_str(value).ok()?;
        (1..=place.capacity).contains(&place.weight).then_some(place)
    }

    pub(crate) fn write(&self) -> String {
        serde_json::to_string(self).expect("a plain struct is always JSON")
    }

    pub(crate) fn ttl(&self) -> Duration {
        Duration::from_millis(self.ttl_ms)
    }

    pub(crate) fn meta(&self) -> Meta {
        Meta { owner: Arc::clone(&self.owner), payload: self.payload.clone() }
    }
}
