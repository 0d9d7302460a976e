//! The few decisions on which the client's safety rests, as values.
//!
//! They are values so that the simulator can get each of them wrong on purpose and show that it notices. Nobody
//! else has a reason to change them.

use std::time::Duration;

use crate::clock::{Moment, nanos};

/// How far a client's clock may run apart from the engine's while a claim lives: the part of the TTL, and a rest
/// for reading and rounding, that a holder does not count on.
pub const DRIFT_PER_MILLE: u64 = 2;
/// See [`DRIFT_PER_MILLE`].
pub const DRIFT_REST: Duration = Duration::from_millis(2);

/// What a holder takes off a TTL for clocks that run apart.
pub fn drift(ttl: Duration) -> Duration {
    Duration::from_nanos(drift_nanos(nanos(ttl)))
}

const fn drift_nanos(ttl: u64) -> u64 {
    ttl / 1000 * DRIFT_PER_MILLE + nanos(DRIFT_REST)
}

/// The decisions. `Rules::default()` are the right ones.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Until when a claim may be believed in, given when the request was sent and when its answer came.
    pub deadline: fn(sent: Moment, received: Moment, ttl: Duration) -> Moment,
    /// Whether a guard may be handed out, or a renewal counted, at `now`.
    pub in_time: fn(now: Moment, deadline: Moment) -> bool,
    /// Until when a hold may be believed in that starts by a hint, with no further round trip; `None` if the hint
    /// only means to look.
    pub hint_starts: fn(now: Moment, deadline: Moment, granted: Duration) -> Option<Moment>,
    /// How long a waiter waits before it looks again, if it renews at `pace` anyway.
    pub look: fn(look_again: Duration, pace: Duration) -> Duration,
    /// Whether a claim that nobody wants any more is withdrawn.
    pub leaves: fn() -> bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            // The engine counts from the receipt, which is after the sending; the answer's arrival says nothing.
            deadline: |sent, _received, ttl| {
                let ttl = nanos(ttl);
                sent.plus(ttl.saturating_sub(drift_nanos(ttl)))
            },
            in_time: |now, deadline| now < deadline,
            // The hint says nothing about time: the deadline is still that of the last answer.
            hint_starts: |now, deadline, granted| {
                (now < deadline && deadline.nanos_since(now).saturating_mul(2) >= nanos(granted))
                    .then_some(deadline)
            },
            look: |look_again, pace| look_again.max(Duration::from_millis(1)).min(pace),
            leaves: || true,
        }
    }
}
