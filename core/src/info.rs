//! What an engine promises, as data: one flat struct that the suite, the docs, `leasehold engines` and
//! `require` all read.

use std::fmt;
use std::time::Duration;

/// Why somebody locks, and so which engines will do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// Two holders are a nuisance: work is done twice.
    Efficiency,
    /// Two holders are damage. With a fence at the storage, always.
    Correctness,
}

/// What survives which failure.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Durability {
    /// Nothing survives the engine's process.
    Volatile,
    /// A fail-over may lose what was acknowledged.
    AsyncReplicated,
    /// A majority of independent nodes.
    Quorum,
    /// One machine's disk.
    SingleNode,
    /// A replicated log.
    Consensus,
}

/// Who measures how long a claim lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ClockKind {
    /// The server's wall clock, which may be set.
    ServerWall,
    /// A boot-time clock, which never jumps.
    ServerBoot,
    /// Each waiter, by watching for change.
    Observed,
    /// A session that the server keeps.
    Session,
}

/// How a waiter learns that it is its turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wakeups {
    /// It is told.
    Push,
    /// It asks.
    Poll,
}

/// Whether a holder's own deadline is always before the engine's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Validity {
    /// A forward clock step, a stalled leader or a session time-out may end a lease early.
    Estimated,
    /// Within the stated clock drift, always.
    Proven,
}

/// Who can share one set of locks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reach {
    /// The tasks and threads of one process.
    Process,
    /// The processes of one machine.
    Host,
    /// Many machines.
    Network,
}

/// What an engine can do and what it guarantees.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
#[non_exhaustive]
pub struct EngineInfo {
    /// The engine's name, as its URL scheme has it.
    pub engine: &'static str,
    /// Who can share the locks.
    pub reach: Reach,
    /// What survives.
    pub durability: Durability,
    /// Who measures time.
    pub clock: ClockKind,
    /// How waiters wake.
    pub wakeups: Wakeups,
    /// Whether a holder's deadline is proven.
    pub validity: Validity,
    /// The shortest TTL.
    #[serde(rename = "ttl_min_ms", serialize_with = "millis")]
    pub ttl_min: Duration,
    /// The longest TTL.
    #[serde(rename = "ttl_max_ms", serialize_with = "millis")]
    pub ttl_max: Duration,
    /// TTLs are rounded up to a multiple of this.
    #[serde(rename = "ttl_step_ms", serialize_with = "millis")]
    pub ttl_step: Duration,
    /// The most items in one request.
    pub batch_max: usize,
    /// Whether weights other than all of the capacity are offered: readers and semaphores.
    pub shared: bool,
    /// Whether an at-least hold is offered.
    pub at_least: bool,
    /// Whether tokens also order holders that use other clients of the same engine.
    pub orders_foreign: bool,
    /// Whether one lost session loses every claim of a client.
    pub shared_fate: bool,
    /// Whether each client has queues of its own: among its claims the first is the first, and nothing but who holds is
    /// known of those of other clients.
    pub own_queues: bool,
    /// Whether a token can be raised from outside, as a quorum needs.
    pub raise: bool,
    /// Whether a dead process is noticed before its TTL ends.
    pub notices_death: bool,
    /// As long as what tokens keep rising when the engine's data is lost or goes back.
    pub tokens_rise: TokensRise,
    /// What the set-up of the server puts at risk, as it was found when the engine was opened.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// As long as what the tokens of an engine keep rising when its data is lost or goes back.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum TokensRise {
    /// They do not.
    WithData,
    /// The clock is not behind the last token.
    ClockAhead,
    /// A majority of nodes keeps its data.
    MinorityLost,
    /// The replicated log stands.
    Consensus,
}

fn millis<S: serde::Serializer>(span: &Duration, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_u64(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
}

impl EngineInfo {
    /// The least that an engine can promise; an engine starts here and says what it does better.
    pub const fn least(engine: &'static str) -> Self {
        Self {
            engine,
            reach: Reach::Process,
            durability: Durability::Volatile,
            clock: ClockKind::Observed,
            wakeups: Wakeups::Poll,
            validity: Validity::Estimated,
            ttl_min: Duration::from_millis(100),
            ttl_max: Duration::from_secs(24 * 3600),
            ttl_step: Duration::from_millis(1),
            batch_max: 1,
            shared: false,
            at_least: false,
            orders_foreign: false,
            shared_fate: false,
            own_queues: false,
            raise: false,
            notices_death: false,
            tokens_rise: TokensRise::WithData,
            warnings: Vec::new(),
        }
    }

    /// For which of the two reasons to lock this engine will do.
    pub const fn purpose(&self) -> Purpose {
        match self.durability {
            Durability::Volatile | Durability::AsyncReplicated | Durability::Quorum => Purpose::Efficiency,
            Durability::SingleNode | Durability::Consensus => Purpose::Correctness,
        }
    }

    /// Why this engine does not give `guarantee`; `None` if it does.
    pub fn lacks(&self, guarantee: Guarantee) -> Option<String> {
        let given = match guarantee {
            Guarantee::Purpose(purpose) => self.purpose() >= purpose,
            Guarantee::Reach(reach) => self.reach >= reach,
            Guarantee::Durability(least) => self.durability >= least,
            Guarantee::ProvenValidity => self.validity == Validity::Proven,
            Guarantee::Push => self.wakeups == Wakeups::Push,
            Guarantee::AtLeast => self.at_least,
            Guarantee::Shared => self.shared,
            Guarantee::OrdersForeign => self.orders_foreign,
            Guarantee::TokensRise(least) => self.tokens_rise >= least,
        };
        (!given).then(|| {
            let has = match guarantee {
                Guarantee::Purpose(_) => format!("it is for {}", word(&self.purpose())),
                Guarantee::Reach(_) => format!("it reaches as far as one {}", word(&self.reach)),
                Guarantee::Durability(_) => format!("its durability is {}", word(&self.durability)),
                Guarantee::ProvenValidity => "its validity is an estimate".into(),
                Guarantee::Push => "its waiters poll".into(),
                Guarantee::AtLeast => "it has no at-least hold".into(),
                Guarantee::Shared => "it has only whole locks".into(),
                Guarantee::OrdersForeign => "its tokens do not order other clients".into(),
                Guarantee::TokensRise(_) => {
                    format!("its tokens rise as long as: {}", word(&self.tokens_rise))
                }
            };
            format!("the engine `{}` does not give {guarantee}: {has}", self.engine)
        })
    }
}

/// The kebab-case word of a capability, as `--json` and the tables show it.
pub fn word<T: fmt::Debug>(value: &T) -> String {
    let mut out = String::new();
    for c in format!("{value:?}").chars() {
        if c.is_uppercase() && !out.is_empty() {
            out.push('-');
        }
        out.extend(c.to_lowercase());
    }
    out
}

/// A guarantee that a program can require of its engine when it connects.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Guarantee {
    /// The engine serves this reason to lock (correctness includes efficiency).
    Purpose(Purpose),
    /// It can be shared this far.
    Reach(Reach),
    /// At least this survives.
    Durability(Durability),
    /// A holder's own deadline is always before the engine's, within the stated clock drift.
    ProvenValidity,
    /// Waiters are told, they need not poll.
    Push,
    /// At-least holds are offered.
    AtLeast,
    /// Readers and semaphores are offered.
    Shared,
    /// Tokens order holders that use other clients too.
    OrdersForeign,
    /// Tokens keep rising at least under this condition.
    TokensRise(TokensRise),
}

impl fmt::Display for Guarantee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Purpose(p) => write!(f, "locks for {}", word(p)),
            Self::Reach(r) => write!(f, "locks across one {}", word(r)),
            Self::Durability(d) => write!(f, "durability of {} or better", word(d)),
            Self::ProvenValidity => f.write_str("proven validity"),
            Self::Push => f.write_str("push wake-ups"),
            Self::AtLeast => f.write_str("at-least holds"),
            Self::Shared => f.write_str("readers and semaphores"),
            Self::OrdersForeign => f.write_str("tokens that order other clients"),
            Self::TokensRise(t) => write!(f, "tokens that rise as long as: {}", word(t)),
        }
    }
}
