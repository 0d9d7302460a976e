//! The check itself: two registers, and what is said of those that come too late.

use std::fmt;

use leasehold_core::{Mode, Token};

/// What a storage remembers of the tokens it has seen: the highest exclusive one and the highest shared one.
///
/// An exclusive token is admitted if it is not below either of them, a shared one if it is not below the exclusive
/// one. One register would not do: readers hold at the same time, and the one with the lower token is no less valid.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Marks {
    exclusive: u64,
    shared: u64,
}

impl Marks {
    /// From the numbers that a storage has kept; 0 where it has seen none.
    pub const fn new(exclusive: u64, shared: u64) -> Self {
        Self { exclusive, shared }
    }

    /// The highest exclusive token, 0 if there was none.
    pub const fn exclusive(&self) -> u64 {
        self.exclusive
    }

    /// The highest shared token, 0 if there was none.
    pub const fn shared(&self) -> u64 {
        self.shared
    }

    /// Admits an access, and from then on none that it has overtaken.
    ///
    /// # Errors
    /// [`Stale`] if a later holder has been here before. Nothing is changed then.
    pub fn admit(&mut self, mode: Mode, token: Token) -> Result<(), Stale> {
        let number = token.get();
        let seen = self.barrier(mode);
        if number < seen {
            return Err(Stale { presented: token, seen });
        }
        match mode {
            Mode::Exclusive => self.exclusive = number,
            Mode::Shared => self.shared = self.shared.max(number),
        }
        Ok(())
    }

    /// What a token of this mode must not be below.
    pub(crate) fn barrier(&self, mode: Mode) -> u64 {
        match mode {
            Mode::Exclusive => self.exclusive.max(self.shared),
            Mode::Shared => self.exclusive,
        }
    }
}

/// Refused: the storage has seen a later holder, so this one has lost its lock, whatever it believes.
///
/// There is nothing to repeat: acquire the lock again, and read again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stale {
    /// The token that was refused.
    pub presented: Token,
    /// The number that it would have had to reach.
    pub seen: u64,
}

impl fmt::Display for Stale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "token {} is stale, the storage has seen {}: the lock has passed on to a later holder",
            self.presented, self.seen
        )
    }
}

impl std::error::Error for Stale {}

#[cfg(test)]
mod tests {
    use Mode::{Exclusive, Shared};

    use super::*;

    fn token(number: u64) -> Token {
        Token::new(number).unwrap()
    }

    #[test]
    fn readers_of_one_time_are_admitted_in_any_order_and_writers_are_not() {
        let mut marks = Marks::default();
        marks.admit(Exclusive, token(1)).unwrap();
        marks.admit(Shared, token(3)).unwrap();
        marks.admit(Shared, token(2)).unwrap();
        assert_eq!(marks, Marks::new(1, 3));
        assert_eq!(marks.admit(Exclusive, token(2)), Err(Stale { presented: token(2), seen: 3 }));
        marks.admit(Exclusive, token(4)).unwrap();
        assert_eq!(marks.admit(Shared, token(3)), Err(Stale { presented: token(3), seen: 4 }));
        assert_eq!(marks.admit(Exclusive, token(1)), Err(Stale { presented: token(1), seen: 4 }));
        assert_eq!(marks, Marks::new(4, 3), "a refusal changes nothing");
    }

    #[test]
    fn the_holder_is_admitted_again_and_again() {
        let mut marks = Marks::default();
        for _ in 0..3 {
            marks.admit(Exclusive, token(7)).unwrap();
        }
        assert_eq!(marks, Marks::new(7, 0));
    }

    #[test]
    fn a_refusal_says_what_was_seen() {
        let stale = Marks::new(34, 0).admit(Exclusive, token(33)).unwrap_err();
        assert_eq!(
            stale.to_string(),
            "token 33 is stale, the storage has seen 34: the lock has passed on to a later holder"
        );
    }
}
