//! What the checks look at: which guard was valid when, by true time.

use leasehold_core::{ClaimId, Token};

use crate::executor::{NodeId, True};
use crate::trace::CallId;

/// A guard that was handed out.
#[derive(Clone, Debug)]
pub struct Grant {
    /// By which call.
    pub call: CallId,
    /// For which claim.
    pub claim: ClaimId,
    /// On which node.
    pub node: NodeId,
    /// For which resource.
    pub resource: usize,
    /// How much of it.
    pub weight: u32,
    /// Of how much.
    pub capacity: u32,
    /// Its token.
    pub token: Token,
    /// When it was valid, from and until: one span, unless it came to life again.
    pub spans: Vec<(True, True)>,
    /// For how long nobody else may be let in, from when the engine first had it as held.
    pub at_least: bool,
}

impl Grant {
    /// When it was handed out.
    pub fn began(&self) -> True {
        self.spans[0].0
    }

    /// Whether the two cannot be held together.
    pub fn conflicts(&self, other: &Self) -> bool {
        self.resource == other.resource
            && u64::from(self.weight) + u64::from(other.weight) > u64::from(self.capacity)
    }
}

#[cfg(test)]
pub(super) fn grant(call: CallId, weight: u32, token: u64, spans: &[(True, True)]) -> Grant {
    Grant {
        call,
        claim: ClaimId(u128::from(call)),
        node: 0,
        resource: 0,
        weight,
        capacity: 3,
        token: Token::new(token).unwrap(),
        spans: spans.to_vec(),
        at_least: false,
    }
}
