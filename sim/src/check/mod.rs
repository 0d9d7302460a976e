//! What must be true of every run. Each file knows one rule and says how it is checked.

pub mod at_least;
pub mod book;
pub mod exclusion;
pub mod fence;
pub mod fifo;
pub mod history;
pub mod leaks;
pub mod tokens;

use std::fmt;
use std::sync::{Arc, Mutex};

use crate::executor::{True, lock};

/// A rule.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub enum Rule {
    /// The weights of valid guards of one resource never exceed its capacity, by true time.
    Exclusion,
    /// Tokens of conflicting holds strictly increase in hold order.
    TokenOrder,
    /// Tokens that a quorum has accepted are unique, and above all that were accepted before they were proposed.
    TokenUnique,
    /// What was accepted by a storage that checks tokens was written by whoever had read the last version.
    LostUpdate,
    /// A guard is valid when it is handed out.
    HandedOutValid,
    /// A hold is not lost before its deadline unless somebody ended it; a deadline never goes back.
    NotLostEarly,
    /// Without faults, no hold is lost but by its at-most.
    Kept,
    /// A hold does not outlive its at-most.
    AtMost,
    /// Nobody else is let in before an at-least hold is over.
    AtLeast,
    /// Without faults, whoever asks first is let in first.
    Fifo,
    /// The engine answers `Gone` to a claim that was not refreshed in time, for ever.
    DeadForEver,
    /// Once the faults have ended and all tasks are done, no claim is left but those that only their TTL can end.
    NoLeak,
    /// Nobody stands in a queue who has not joined it.
    NoStranger,
    /// When every TTL has passed, no claim is left at all.
    EmptyAfterTtl,
    /// Once the faults have ended, everybody who waits gets in within the stated time.
    Liveness,
    /// When the last client is gone and everything has been left, the driver ends.
    DriverEnds,
    /// Nothing fails in a way that nothing explains.
    NoSurprise,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&leasehold_core::engine::word(self))
    }
}

/// A rule that was broken, and how.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// The rule.
    pub rule: Rule,
    /// What happened.
    pub what: String,
    /// When, by true time; the end of the run if that is not known.
    pub at: Option<True>,
}

impl Violation {
    /// A violation.
    pub fn new(rule: Rule, what: impl Into<String>) -> Self {
        Self { rule, what: what.into(), at: None }
    }

    /// A violation at a known time.
    pub fn at(at: True, rule: Rule, what: impl Into<String>) -> Self {
        Self { rule, what: what.into(), at: Some(at) }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.what)
    }
}

/// The first violation of a run. Cheap to clone; clones share.
#[derive(Clone, Debug, Default)]
pub struct Verdict(Arc<Mutex<Option<Violation>>>);

impl Verdict {
    /// Takes note of a violation, if it is the first.
    pub fn violated(&self, violation: Violation) {
        lock(&self.0).get_or_insert(violation);
    }

    /// The violation, if there was one.
    pub fn get(&self) -> Option<Violation> {
        lock(&self.0).clone()
    }
}
