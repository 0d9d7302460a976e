//! Defects on purpose, one at a time: a checker that has never failed proves nothing.
//!
//! The list is that of the real bugs of locks (etcd's missing re-check after waiting, the timer that starts at the
//! reply, the release that matches the owner). Not here, because what they break does not exist yet: quarantine one unit short, reclaim
//! that mints, reclaim after close, a mark reset or recorded late in a grace period (the server); a boot id that
//! is not looked at (the SQLite engine, whose own tests do it).

use std::str::FromStr;
use std::time::Duration;

use leasehold_core::Moment;
use leasehold_core::client::rules::{Rules, drift};
use leasehold_quorum::rules::Rules as QuorumRules;

use crate::world::plan::Realm;

macro_rules! mutations {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal, within $seeds:literal;)+) => {
        /// A defect.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Mutation {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Mutation {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Its name on the command line.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            /// Within how many seeds, from 0, it must be caught.
            pub fn within(self) -> u64 {
                match self {
                    $(Self::$variant => $seeds,)+
                }
            }

            /// What is wrong.
            pub fn about(self) -> &'static str {
                match self {
                    $(Self::$variant => concat!($($doc),+).trim_ascii(),)+
                }
            }
        }
    };
}

mutations! {
    /// Client: the deadline counts from the reply, not from the sending.
    DeadlineFromReply = "deadline-from-reply", within 1000;
    /// Client: nothing is taken off the TTL for clocks that run apart.
    NoDriftMargin = "no-drift-margin", within 100;
    /// Client: what nobody wants any more is not withdrawn.
    LeaveDropped = "leave-dropped", within 100;
    /// Client: a waiter does not look when what is ahead of it can die, nor renew.
    NoLook = "no-look", within 100;
    /// Client: a hint starts a hold with a whole TTL from its arrival, also past the deadline.
    HintRevives = "hint-past-deadline", within 100;
    /// Client: the deadline is not looked at before a guard is handed out or a renewal is counted.
    NoRecheck = "no-recheck", within 2000;
    /// Engine: two holds in a row have the same token.
    TokenNotBumped = "token-not-bumped", within 100;
    /// Engine: the token counter starts again when the engine does.
    TokenNotDurable = "token-not-durable", within 100;
    /// Engine: a hand-over gives the last token away again.
    NoMintOnHandOver = "no-mint-on-hand-over", within 100;
    /// Engine: a refresh revives a dead claim.
    Revives = "revives", within 100;
    /// Engine: a claim is forgotten after 99 % of its TTL.
    ForgetsEarly = "forgets-early", within 100;
    /// Engine: a leave ends whatever the same client has in the queue.
    OwnerOnlyRelease = "owner-only-release", within 100;
    /// Engine: claims live by a wall clock, which jumps.
    WallClockExpiry = "wall-clock-expiry", within 100;
    /// Engine: a reply that was lost is given to a later request for the same claim.
    StaleReply = "stale-reply", within 100;
    /// Engine: a join that is repeated queues twice.
    JoinTwice = "join-twice", within 100;
    /// Engine: two tasks of one client do not exclude each other.
    ReEntrant = "re-entrant", within 100;
    /// Engine: a waiter that refreshes goes to the end of the queue.
    LosesPlace = "loses-place", within 100;
    /// Quorum: a node accepts the token that it has accepted last once more.
    AcceptsAgain = "accepts-again", within 500;
    /// Quorum: a node accepts tokens for claims that it does not hold.
    NoLease = "no-lease", within 100;
    /// Quorum: votes are counted by message, not by node.
    VotesByMessage = "votes-by-message", within 100;
    /// Quorum: tokens that differ are not raised to one that all have accepted; the highest is taken.
    NoReRaise = "no-re-raise", within 100;
    /// Quorum: a hold lasts from the reply, not from the sending.
    ValidityFromReply = "validity-from-reply", within 200;
    /// Quorum: what was joined in vain is not left.
    NoLeaveOnFailure = "no-leave-on-failure", within 100;
    /// Quorum: what was left is joined again under the same id.
    StaleIds = "stale-ids", within 100;
}

impl Mutation {
    /// In which kind of world it is looked for.
    pub fn realm(self) -> Realm {
        match self {
            Self::AcceptsAgain
            | Self::NoLease
            | Self::VotesByMessage
            | Self::NoReRaise
            | Self::ValidityFromReply
            | Self::NoLeaveOnFailure
            | Self::StaleIds => Realm::Quorum,
            _ => Realm::Single,
        }
    }

    /// The quorum's decisions under it.
    pub fn quorum_rules(self) -> QuorumRules {
        let mut rules = QuorumRules::default();
        match self {
            Self::VotesByMessage => rules.votes = |before, now| before + now,
            Self::NoReRaise => rules.one_token = || false,
            Self::ValidityFromReply => rules.ttl = |ttl, took| ttl + took,
            Self::NoLeaveOnFailure => rules.leaves = || false,
            Self::StaleIds => rules.fresh_ids = || false,
            _ => {}
        }
        rules
    }

    /// The client's decisions under it.
    pub fn rules(self) -> Rules {
        let mut rules = Rules::default();
        match self {
            Self::DeadlineFromReply => {
                rules.deadline = |_sent, received, ttl| received + ttl.saturating_sub(drift(ttl));
            }
            Self::NoDriftMargin => rules.deadline = |sent, _received, ttl| sent + ttl,
            Self::LeaveDropped => rules.leaves = || false,
            Self::NoLook => rules.look = |_look_again, _pace| Duration::MAX,
            Self::HintRevives => rules.hint_starts = |now, _deadline, granted| Some(now + granted),
            Self::NoRecheck => rules.in_time = |_now: Moment, _deadline: Moment| true,
            _ => {}
        }
        rules
    }
}

impl FromStr for Mutation {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL.iter().copied().find(|m| m.name() == name).ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|m| m.name()).collect();
            format!("there is no mutation `{name}`; there are: {}", names.join(", "))
        })
    }
}
