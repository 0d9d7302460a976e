//! The few decisions on which safety rests, as values, so that the simulator can get each of them wrong on purpose
//! and show that it notices. Nobody else has a reason to change them.

use std::time::Duration;

/// The decisions. `Rules::default()` are the right ones.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// How many votes there are, given those of earlier rounds and those of distinct nodes in this one.
    pub votes: fn(before: usize, now: usize) -> usize,
    /// Whether all who hold must have accepted one token, or any token will do.
    pub one_token: fn() -> bool,
    /// How long a hold lasts from the sending of the request, given what the nodes say and how long they took.
    pub ttl: fn(ttl: Duration, took: Duration) -> Duration,
    /// Whether what was joined in vain is left.
    pub leaves: fn() -> bool,
    /// Whether what was left is joined again under another id.
    pub fresh_ids: fn() -> bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            // What a node said earlier, it may have forgotten since.
            votes: |_before, now| now,
            one_token: || true,
            // Every node counts from the receipt, which is after the sending.
            ttl: |ttl, _took| ttl,
            leaves: || true,
            // A `leave` may arrive late, or twice: it must not end what was joined after it was sent.
            fresh_ids: || true,
        }
    }
}
