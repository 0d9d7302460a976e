//! What is remembered of locks: that they are locks, and whom we have seen off there.

use std::collections::HashMap;

use leasehold_core::{Name, Token};

/// How many locks are remembered.
const LOCKS_MAX: usize = 50_000;

/// What is remembered.
#[derive(Debug, Default)]
pub(crate) struct Locks(HashMap<Name, Option<Clear>>);

/// All contenders up to this one, which was ours, are gone.
#[derive(Clone, Copy, Debug)]
struct Clear {
    number: i32,
    token: Token,
}

impl Locks {
    /// Whether there is known to be a lock there, or nothing.
    pub(crate) fn knows(&self, name: &Name) -> bool {
        self.0.contains_key(name)
    }

    /// There is a lock there, or nothing.
    pub(crate) fn learn(&mut self, name: &Name) {
        self.put(name, None);
    }

    /// A contender of ours that was first is gone.
    pub(crate) fn clear(&mut self, name: &Name, number: i32, token: Token) {
        self.put(name, Some(Clear { number, token }));
    }

    fn put(&mut self, name: &Name, clear: Option<Clear>) {
        if self.0.len() >= LOCKS_MAX && !self.0.contains_key(name) {
            self.0.clear();
        }
        self.0.insert(name.clone(), clear);
    }

    /// Whether a contender with this number and this token, which is there now, is the first, as far as that is known
    /// without asking: it has the number after one up to which all are gone.
    ///
    /// Numbers begin anew if a lock's node goes away, as it does when nobody has stood there for a while, and is made
    /// again. Then at least this had to be agreed on in between: the end of our last contender, the end of the node, the
    /// making of it, and of as many contenders as the number tells. Tokens are the numbers of what is agreed on: if fewer
    /// lie between the two, it is the same node. (In one transaction there could be two contenders for one lock; no
    /// client that we know of has a reason to make them so, and ours does not.)
    pub(crate) fn is_first(&self, name: &Name, number: i32, token: Token) -> bool {
        let Some(Some(clear)) = self.0.get(name) else { return false };
        let Ok(number_before) = u64::try_from(clear.number) else { return false };
        let between = token.get().saturating_sub(clear.token.get());
        clear.number.checked_add(1) == Some(number) && number != i32::MAX && between < number_before + 5
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(number: u64) -> Token {
        Token::new(number).unwrap()
    }

    #[test]
    fn the_next_number_is_first_if_nothing_else_can_have_happened() {
        let (name, mut locks) = (Name::new("m").unwrap(), Locks::default());
        assert!(!locks.knows(&name) && !locks.is_first(&name, 0, token(9)));
        locks.learn(&name);
        assert!(locks.knows(&name) && !locks.is_first(&name, 0, token(9)));
        locks.clear(&name, 7, token(100));
        assert!(locks.is_first(&name, 8, token(102)));
        assert!(!locks.is_first(&name, 9, token(102)), "somebody came in between");
        // 101: our last one ends. 102, 103: the node goes and is made again. 104 to 111: contenders 0 to 7. 112: this one.
        assert!(locks.is_first(&name, 8, token(111)));
        assert!(!locks.is_first(&name, 8, token(112)));
    }

    #[test]
    fn numbers_that_end_tell_nothing() {
        let (name, mut locks) = (Name::new("m").unwrap(), Locks::default());
        for last in [i32::MAX - 1, i32::MAX, i32::MIN] {
            locks.clear(&name, last, token(100));
            assert!(!locks.is_first(&name, last.wrapping_add(1), token(102)));
        }
    }

    #[test]
    fn not_all_locks_are_remembered_for_ever() {
        let mut locks = Locks::default();
        for nth in 0..=LOCKS_MAX {
            locks.learn(&Name::new(&nth.to_string()).unwrap());
        }
        assert_eq!(locks.0.len(), 1);
    }
}
