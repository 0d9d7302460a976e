//! What the network does to a message, drawn from the seed.

use std::time::Duration;

use crate::dice::Dice;
use crate::executor::{True, nanos};

/// What hints an engine sends when it hands over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hinting {
    /// That the claim is held, with its token.
    Held,
    /// That it is worth a look.
    Look,
    /// Now one, now the other.
    Mixed,
    /// None: waiters must look by themselves.
    Silent,
}

/// How bad the network is. Chances are per mille, and none is taken after `until`.
#[derive(Clone, Debug)]
pub struct Faults {
    /// When the faults end.
    pub until: True,
    /// The shortest and the longest delay of an ordinary message.
    pub delay: (Duration, Duration),
    /// The longest delay of a slow message.
    pub slow_most: Duration,
    /// Chance that a message is slow.
    pub slow: u64,
    /// Chance that a request is lost.
    pub lose_request: u64,
    /// Chance that a reply is lost.
    pub lose_reply: u64,
    /// Chance that a request is delivered once more, whenever.
    pub duplicate: u64,
    /// Chance that a lost reply makes the transport send the same request again by itself.
    pub resend: u64,
    /// Chance that the engine turns a request away unapplied.
    pub turn_away: u64,
    /// Chance that a call hangs, where it would otherwise time out.
    pub hang: u64,
    /// How long the transport waits for an answer.
    pub timeout: Duration,
    /// What hints there are.
    pub hinting: Hinting,
    /// Chance that a hint is lost.
    pub lose_hint: u64,
    /// Chance that a hint comes twice.
    pub double_hint: u64,
}

/// After the faults have ended, what is still on its way arrives this soon.
pub const LAST_ARRIVAL: Duration = Duration::from_millis(500);

/// What becomes of one request. Delays are from the step before.
#[derive(Clone, Copy, Debug)]
pub struct Fate {
    /// When the request arrives.
    pub request: Option<Duration>,
    /// When the answer does.
    pub reply: Option<Duration>,
    /// When the request arrives once more, from its sending.
    pub duplicate: Option<Duration>,
    /// When the transport sends it again, from its first arrival, if the reply is lost.
    pub resend: Option<Duration>,
    /// Whether the engine turns it away.
    pub turn_away: bool,
    /// How long the caller waits; `None` until the faults end.
    pub timeout: Option<Duration>,
}

impl Faults {
    /// The delay of one message.
    pub fn delay(&self, now: True, dice: &mut Dice) -> Duration {
        let (least, most) = self.delay;
        if now < self.until && dice.per_mille(self.slow) {
            dice.span(most, self.slow_most)
        } else {
            dice.span(least, most)
        }
    }

    /// When a message that is sent now with this delay arrives.
    pub fn arrival(&self, now: True, delay: Duration, dice: &mut Dice) -> True {
        let at = now + nanos(delay);
        if at <= self.until || now >= self.until {
            return at;
        }
        at.min(self.until + dice.below(nanos(LAST_ARRIVAL)))
    }

    /// What becomes of a request that is sent now.
    pub fn fate(&self, now: True, dice: &mut Dice) -> Fate {
        let ordinary = Fate {
            request: Some(self.delay(now, dice)),
            reply: Some(self.delay(now, dice)),
            duplicate: None,
            resend: None,
            turn_away: false,
            timeout: Some(self.timeout),
        };
        if now >= self.until {
            return ordinary;
        }
        Fate {
            request: ordinary.request.filter(|_| !dice.per_mille(self.lose_request)),
            reply: ordinary.reply.filter(|_| !dice.per_mille(self.lose_reply)),
            duplicate: dice.per_mille(self.duplicate).then(|| dice.span(self.delay.1, self.slow_most * 2)),
            resend: dice.per_mille(self.resend).then(|| dice.span(self.delay.1, self.timeout)),
            turn_away: dice.per_mille(self.turn_away),
            timeout: (!dice.per_mille(self.hang)).then_some(self.timeout),
        }
    }
}
