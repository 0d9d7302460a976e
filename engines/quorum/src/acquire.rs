//! How a claim comes to be held by a majority.
//!
//! A claim that is alone takes one round trip: every node is asked to let it in and to accept a token at once. A
//! claim that is not alone waits in the queue of the first node that answers, and nowhere else; when it is the head
//! there, it asks the others again.

use std::sync::Arc;
use std::time::Duration;

use leasehold_core::claim::WAITING_TTL_MAX;
use leasehold_core::engine::Standing;
use leasehold_core::{ClaimRef, Result};

use crate::join::Known;
use crate::round::Round;
use crate::shared::Shared;
use crate::tally::{self, Turn};

/// So often a token is proposed before others are given time to be done with theirs.
const RAISES_MAX: u32 = 6;
/// So often the head of the queue asks the others again before it withdraws from them.
const LAGS_MAX: u32 = 5;
/// The shortest pause before it does.
const LAG_PAUSE: Duration = Duration::from_micros(200);
/// The first and the longest time after which a head that has withdrawn tries again.
const VAIN_PAUSE: (Duration, Duration) = (Duration::from_millis(4), Duration::from_millis(250));

impl Shared {
    /// Asks all nodes, until it is decided whether the claim is held, waits, or cannot be had.
    pub(crate) async fn rise(
        self: &Arc<Self>,
        key: &ClaimRef,
        ttl: Duration,
        renews: bool,
    ) -> Result<Standing> {
        let Some(busy) = self.turn(key).await else { return Ok(Standing::Gone) };
        match self.roll.with(key.id, |entry| Known::of(entry)) {
            // Another request was first.
            Some(Known::Held(_)) => {
                drop(busy);
                return self.renew_one(key, ttl).await;
            }
            Some(Known::Leaving) | None => return Ok(Standing::Gone),
            Some(Known::Waits(..) | Known::Fresh) => {}
        }
        let patience = self.config.patience(ttl.min(WAITING_TTL_MAX));
        let (began, mut lags, mut raises, mut before) = (self.env.now(), 0, 0, 0);
        loop {
            let sent = self.env.now();
            let Some((mut asked, turn)) = self.ask(key, ttl, renews, raises, &mut before).await? else {
                return Ok(Standing::Gone);
            };
            let now = self.env.now();
            let (took, until) = (now.since(sent), asked.until);
            if self.roll.with(key.id, |entry| entry.leaving) != Some(false) {
                // Its owner has let go of it meanwhile.
                return Ok(Standing::Gone);
            }
            match turn {
                Turn::Held(ttl) => {
                    let token = asked.proposed;
                    self.roll.with(key.id, |entry| {
                        entry.accepted = Some(token);
                        entry.hinted = false;
                        entry.lives = tally::tokens(&tally::votes(&asked.round, 0, self.nodes.len()));
                    });
                    let ttl = (self.config.rules.ttl)(ttl, now.since(began));
                    return Ok(Standing::Held { token, ttl });
                }
                Turn::Raise if raises < RAISES_MAX => {
                    raises += 1;
                    drop(asked);
                    if raises > 2 {
                        self.pause(took, raises).await;
                    }
                }
                Turn::Waits { node, ahead, ttl, look_again } => {
                    self.roll.with(key.id, |entry| {
                        entry.waits_at(node);
                        (entry.hinted, entry.vain, entry.misses) = (false, 0, 0);
                    });
                    self.crowd.set(&key.name, true);
                    self.withdraw(key, Some(node), asked.take(), until);
                    return Ok(Standing::Queued { ahead, ttl, look_again });
                }
                Turn::Lags { node } if lags < LAGS_MAX && now.since(began) < patience => {
                    lags += 1;
                    self.roll.with(key.id, |entry| entry.waits_at(node));
                    drop(asked);
                    self.pause(took, lags).await;
                }
                Turn::Raise | Turn::Lags { .. } => return Ok(self.yields(key, ttl, asked.take())),
                Turn::Refused(why) => {
                    self.give_up(key, asked.take(), until);
                    return Ok(Standing::Refused(why));
                }
                Turn::Gone => {
                    self.give_up(key, asked.take(), until);
                    return Ok(Standing::Gone);
                }
                Turn::Unreachable => {
                    let error = self.failure("lock", &asked.round, 0);
                    // A place in a queue is kept: the other nodes may be back before it ends.
                    let queue = self.roll.with(key.id, |entry| entry.queue).flatten();
                    self.withdraw(key, queue, asked.take(), until);
                    return Err(error);
                }
            }
        }
    }

    /// The head of a queue that others keep from a majority lets go of all but its place there: perhaps they wait
    /// for a node that it holds.
    fn yields(self: &Arc<Self>, key: &ClaimRef, ttl: Duration, round: Round<Standing>) -> Standing {
        let queued = self.roll.with(key.id, |entry| {
            entry.vain += 1;
            (entry.queue, entry.vain)
        });
        let (queue, vain) = queued.unwrap_or_default();
        let until = self.env.now() + ttl;
        self.withdraw(key, queue, round, until);
        let pause = (VAIN_PAUSE.0 * 2u32.saturating_pow(vain.min(16))).min(VAIN_PAUSE.1);
        self.head(ttl, pause)
    }

    /// How the head of a queue stands that others keep from a majority.
    fn head(&self, ttl: Duration, pause: Duration) -> Standing {
        Standing::Queued { ahead: 1, ttl: ttl.min(WAITING_TTL_MAX), look_again: self.about(pause) }
    }

    /// Time for others to be done, in proportion to how far the nodes are.
    async fn pause(&self, took: Duration, nth: u32) {
        let pause = self.about(took.max(LAG_PAUSE)) * 2u32.pow(nth.min(LAGS_MAX) - 1);
        self.env.clock.sleep_until(self.env.now() + pause.min(VAIN_PAUSE.1)).await;
    }
}
