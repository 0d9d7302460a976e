//! What a contender's node says, as JSON. Curator's say an address there, kazoo's who they are.

use std::sync::Arc;
use std::time::Duration;

use leasehold_core::Claim;
use leasehold_core::claim::Meta;
use serde::{Deserialize, Serialize};

/// The version of this. What is not JSON with this in it was written by somebody else.
const VERSION: u32 = 1;

/// What Curator writes into a holder's node to ask it to let go.
pub(crate) const CURATOR_REVOKE: &[u8] = b"__REVOKE__";

/// What a contender says about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Data {
    leasehold: u32,
    owner: Arc<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    payload: Option<Arc<str>>,
    ttl_ms: u64,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) revoked: bool,
}

impl Data {
    /// What this claim says.
    pub(crate) fn of(claim: &Claim) -> Self {
        Self {
            leasehold: VERSION,
            owner: Arc::clone(&claim.meta.owner),
            payload: claim.meta.payload.clone(),
            ttl_ms: u64::try_from(claim.ttl.as_millis()).unwrap_or(u64::MAX),
            revoked: false,
        }
    }

    /// The same, revoked.
    pub(crate) fn revoked(self) -> Self {
        Self { revoked: true, ..self }
    }

    pub(crate) fn write(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("texts and numbers can be written")
    }

    /// `None` if it is not ours.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok().filter(|data: &Self| data.leasehold == VERSION)
    }

    pub(crate) fn ttl(&self) -> Duration {
        Duration::from_millis(self.ttl_ms)
    }

    pub(crate) fn meta(self) -> Meta {
        Meta { owner: self.owner, payload: self.payload }
    }
}

/// What is shown of a contender of somebody else: what it says, if that is something to read.
pub(crate) fn foreign(bytes: &[u8]) -> Meta {
    let readable = std::str::from_utf8(bytes).ok().filter(|text| !text.chars().any(char::is_control));
    let owner = match readable {
        Some(text) if !text.is_empty() => format!("another client: {text}"),
        _ => "another client".to_owned(),
    };
    Meta { owner: owner.into(), payload: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back_and_nothing_else() {
        let data = Data {
            leasehold: VERSION,
            owner: "host:1".into(),
            payload: Some("größe".into()),
            ttl_ms: 30_000,
            revoked: true,
        };
        assert_eq!(Data::read(&data.write()), Some(data));
        for other in
            [&b""[..], b"127.0.0.1", b"__REVOKE__", b"{}", b"{\"leasehold\":2,\"owner\":\"\",\"ttl_ms\":1}"]
        {
            assert_eq!(Data::read(other), None);
        }
        assert_eq!(&*foreign(b"127.0.0.1").owner, "another client: 127.0.0.1");
        assert_eq!(&*foreign(b"\xff").owner, "another client");
    }
}
