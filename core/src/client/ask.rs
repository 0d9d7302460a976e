//! What a caller asks for, and what is refused before anything is sent.

use std::sync::Arc;
use std::time::Duration;

use crate::claim::{CAPACITY_MAX, PAYLOAD_BYTES_MAX};
use crate::client::Client;
use crate::clock::nanos;
use crate::error::{Error, ErrorKind, Result};
use crate::name::Name;

/// How long a caller is willing to wait.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Patience {
    /// Not at all.
    None,
    /// This long.
    For(Duration),
    /// For ever.
    Endless,
}

/// What a caller asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask<'a> {
    pub(crate) name: &'a Name,
    pub(crate) capacity: u32,
    pub(crate) weight: u32,
    pub(crate) terms: &'a Terms,
}

/// The terms of a hold that a caller may set.
#[derive(Clone, Debug, Default)]
pub(crate) struct Terms {
    pub(crate) ttl: Option<Duration>,
    pub(crate) at_least: Duration,
    pub(crate) at_most: Option<Duration>,
    pub(crate) payload: Option<Arc<str>>,
}

impl Client {
    /// Checks what can be checked before anything is sent; the TTL to ask for and the longest hold.
    pub(super) fn terms(&self, ask: Ask<'_>) -> Result<(Duration, Option<Duration>)> {
        let info = &self.shared().info;
        let refuse = |kind, message: String| Err(Error::new(kind, "lock", message).with("lock", ask.name));
        let bad = |message: String| refuse(ErrorKind::InvalidInput, message);
        if ask.capacity == 0 || ask.capacity > CAPACITY_MAX {
            return bad(format!("a semaphore has 1 to {CAPACITY_MAX} permits, not {}", ask.capacity));
        }
        if ask.weight == 0 || ask.weight > ask.capacity {
            return bad(format!(
                "{} of {} permits cannot be had; ask for 1 to {1}",
                ask.weight, ask.capacity
            ));
        }
        if ask.capacity > 1 && !info.shared {
            let message = format!("the engine `{}` has only whole locks, no readers or permits", info.engine);
            return refuse(ErrorKind::Unsupported, message);
        }
        let ttl = ask.terms.ttl.unwrap_or(self.shared().ttl);
        if ttl < info.ttl_min || ttl > info.ttl_max {
            return bad(format!(
                "a TTL of {ttl:?} is outside what the engine `{}` offers; use {:?} to {:?}",
                info.engine, info.ttl_min, info.ttl_max
            ));
        }
        let ttl = round_up(ttl, info.ttl_step);
        if !ask.terms.at_least.is_zero() && !info.at_least {
            return refuse(
                ErrorKind::Unsupported,
                format!("the engine `{}` has no at-least hold", info.engine),
            );
        }
        if ask.terms.at_least > info.ttl_max {
            return bad(format!("an at-least hold of {:?} is over {:?}", ask.terms.at_least, info.ttl_max));
        }
        if let Some(most) = ask.terms.at_most.filter(|&most| most < ask.terms.at_least.max(info.ttl_min)) {
            return bad(format!(
                "an at-most hold of {most:?} is less than {:?}, the at-least hold or the engine's shortest TTL",
                ask.terms.at_least.max(info.ttl_min)
            ));
        }
        if let Some(payload) = ask.terms.payload.as_deref().filter(|p| p.len() > PAYLOAD_BYTES_MAX) {
            return bad(format!(
                "a payload of {} bytes is over the limit of {PAYLOAD_BYTES_MAX}",
                payload.len()
            ));
        }
        // A hold that may not last a whole TTL is not asked for longer.
        Ok((ask.terms.at_most.map_or(ttl, |most| ttl.min(most.max(info.ttl_min))), ask.terms.at_most))
    }
}

/// The next multiple of `step`, nearly always the TTL itself.
fn round_up(ttl: Duration, step: Duration) -> Duration {
    let (ttl, step) = (nanos(ttl), nanos(step).max(1));
    Duration::from_nanos(ttl.div_ceil(step).saturating_mul(step))
}
