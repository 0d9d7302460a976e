//! What must be true of a history of holds. All times are of one clock, for all clients are tasks of one process.

use std::fmt;

use leasehold::{Mode, Moment};

/// One hold as its holder saw it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hold {
    /// Which lock.
    pub(crate) lock: usize,
    pub(crate) mode: Mode,
    pub(crate) token: u64,
    /// When its holder had it.
    pub(crate) from: Moment,
    /// When its holder began to let go of it, or could no longer believe in it: the earlier of the two.
    pub(crate) until: Moment,
}

/// Something that must not be.
#[derive(Debug)]
pub(crate) enum Violation {
    /// Both were believed in at the same time.
    Overlap(Hold, Hold),
    /// The later one does not have the higher token.
    Order(Hold, Hold),
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, a, b) = match self {
            Self::Overlap(a, b) => ("two holders at the same time", a, b),
            Self::Order(a, b) => ("the token of the later holder is not higher", a, b),
        };
        write!(f, "{what}: {a:?}, {b:?}")
    }
}

/// Holds of one lock so far that could be in the way of a later one.
#[derive(Default)]
struct Past {
    /// The one that was believed in longest, and the one with the highest token.
    latest: Option<Hold>,
    highest: Option<Hold>,
}

impl Past {
    fn check(&self, next: &Hold, out: &mut Vec<Violation>) {
        out.extend(
            self.latest.filter(|past| past.until > next.from).map(|past| Violation::Overlap(past, *next)),
        );
        out.extend(
            self.highest.filter(|past| past.token >= next.token).map(|past| Violation::Order(past, *next)),
        );
    }

    fn add(&mut self, hold: Hold) {
        self.latest = self.latest.filter(|past| past.until >= hold.until).or(Some(hold));
        self.highest = self.highest.filter(|past| past.token >= hold.token).or(Some(hold));
    }
}

/// Every violation in a history; exact, for exclusion is about pairs, and of all earlier holds only the one that lasted
/// longest and the one with the highest token can be in the way of a later one.
pub(crate) fn check(mut holds: Vec<Hold>) -> Vec<Violation> {
    holds.sort_by_key(|hold| (hold.lock, hold.from));
    let mut found = Vec::new();
    for lock in holds.chunk_by(|a, b| a.lock == b.lock) {
        let (mut exclusive, mut shared) = (Past::default(), Past::default());
        for hold in lock {
            exclusive.check(hold, &mut found);
            match hold.mode {
                Mode::Shared => shared.add(*hold),
                Mode::Exclusive => {
                    shared.check(hold, &mut found);
                    exclusive.add(*hold);
                }
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hold(mode: Mode, token: u64, from: u64, until: u64) -> Hold {
        Hold { lock: 0, mode, token, from: Moment::from_nanos(from), until: Moment::from_nanos(until) }
    }

    #[test]
    fn turns_are_no_violation_and_readers_may_meet() {
        let history = vec![
            hold(Mode::Exclusive, 1, 0, 10),
            hold(Mode::Shared, 3, 11, 30),
            hold(Mode::Shared, 2, 12, 20),
            hold(Mode::Exclusive, 4, 31, 40),
        ];
        assert!(check(history).is_empty());
    }

    #[test]
    fn a_long_hold_is_seen_behind_a_short_one() {
        let history = vec![
            hold(Mode::Shared, 1, 0, 100),
            hold(Mode::Shared, 2, 1, 2),
            hold(Mode::Exclusive, 3, 50, 60),
        ];
        assert!(matches!(check(history)[..], [Violation::Overlap(..)]));
    }

    #[test]
    fn a_token_that_falls_is_seen_behind_a_later_one() {
        let history = vec![
            hold(Mode::Exclusive, 9, 0, 1),
            hold(Mode::Shared, 10, 2, 3),
            hold(Mode::Exclusive, 5, 4, 5),
        ];
        assert!(matches!(check(history)[..], [Violation::Order(..), Violation::Order(..)]));
    }

    #[test]
    fn other_locks_are_other_matters() {
        let mut history = vec![hold(Mode::Exclusive, 9, 0, 10), hold(Mode::Exclusive, 1, 5, 6)];
        history[1].lock = 1;
        assert!(check(history).is_empty());
    }
}
