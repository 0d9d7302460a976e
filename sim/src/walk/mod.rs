//! Four walk-throughs of a lock, to be looked at: what happens when all goes well, when the holder crashes, when two
//! believe that they hold, and how the fence at the storage helps.
//!
//! Nothing in them is written down beforehand: two clients, their keepers and the quorum are the real code, the nodes are
//! the real ledger, the storage's fence is that of `leasehold-fence`, and the times and tokens are what they come to on
//! simulated time. Each message takes half of [`Terms::latency`]; work takes no time, clocks run exactly, and nothing is
//! lost but what the [`scenes`] say.

mod scenes;
mod stage;
pub mod story;

use std::time::Duration;

pub use story::Story;

use crate::executor::nanos;

/// The shortest TTL that leaves room for the scenes.
pub const TTL_MIN: Duration = Duration::from_millis(100);
/// The longest: beyond it there would be more renewals than anybody wants to see.
pub const TTL_MAX: Duration = Duration::from_secs(60);
/// A message round may take this part of the TTL at the most, so that a scene has its time.
const LATENCY_PART: u32 = 100;
/// And no longer than this: half of the longest that a quorum waits for a node.
const LATENCY_MAX: Duration = Duration::from_millis(100);
/// More lanes than these nobody can look at.
const NODES_MAX: usize = 15;

/// A walk-through.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Walk {
    /// All goes well: who asks first holds, renews and releases; the next follows
    Normal,
    /// The holder crashes, and the next gets in when its time is over
    Crash,
    /// A network splits, clocks jump, and two believe that they hold
    Partition,
    /// A holder sleeps through its time and writes; the fence refuses it
    Fencing,
}

/// What can be chosen of a walk-through.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// The time to live of the locks.
    pub ttl: Duration,
    /// How many nodes keep them: one engine alone, or a quorum of three and more. By default 5 where the walk-through is
    /// about a quorum, and 1 where it is not.
    pub nodes: Option<usize>,
    /// How long a request to a node and its answer take together.
    pub latency: Duration,
}

impl Default for Terms {
    fn default() -> Self {
        Self { ttl: Duration::from_secs(10), nodes: None, latency: Duration::from_millis(1) }
    }
}

impl Terms {
    /// How many nodes there are; what cannot be played is refused with what to say instead.
    fn nodes(&self, walk: Walk) -> Result<usize, String> {
        let quorum = matches!(walk, Walk::Normal | Walk::Partition);
        let nodes = self.nodes.unwrap_or(if quorum { 5 } else { 1 });
        if self.ttl < TTL_MIN || self.ttl > TTL_MAX {
            return Err(format!(
                "a TTL of {:?} is too short or too long to be looked at; choose 100ms to 1m",
                self.ttl
            ));
        }
        if nodes == 2 || nodes == 0 || nodes > NODES_MAX {
            return Err(format!("{nodes} nodes make no quorum; choose 1, or 3 to {NODES_MAX}"));
        }
        if nodes == 1 && walk == Walk::Partition {
            return Err(format!("a partition takes several nodes; choose 3 to {NODES_MAX}"));
        }
        let most = (self.ttl / LATENCY_PART).min(LATENCY_MAX);
        if self.latency.is_zero() || self.latency > most {
            return Err(format!(
                "a latency of {:?} is not between 0 and {most:?}, a hundredth of the TTL and half of what a node is \
                 waited for at the most; choose a shorter one, or a longer TTL",
                self.latency
            ));
        }
        Ok(nodes)
    }
}

/// Plays a walk-through.
///
/// # Errors
/// What cannot be played, and what to choose instead.
pub fn play(walk: Walk, terms: &Terms) -> Result<Story, String> {
    let nodes = terms.nodes(walk)?;
    let stage = stage::Stage::new(walk, terms, nodes);
    let figures = match walk {
        Walk::Normal => scenes::normal(&stage),
        Walk::Crash => scenes::crash(&stage),
        Walk::Partition => scenes::partition(&stage),
        Walk::Fencing => scenes::fencing(&stage),
    };
    Ok(story::tell(&stage, walk, figures))
}

/// A time on the stage as a part of the TTL.
fn part(ttl: Duration, part: u64) -> u64 {
    nanos(ttl) / part
}
