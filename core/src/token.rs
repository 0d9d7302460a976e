//! Fencing tokens.

use std::fmt;
use std::num::NonZeroU64;

/// One more than the largest token: 2^53, above which a Lua or JSON number (a double) would round it.
pub const TOKEN_END: u64 = 1 << 53;

/// The fencing token of a held claim: a number that only rises over the conflicting holds of a resource.
///
/// Hand it to the storage with every access; a storage that has seen a higher one refuses. The token, not the
/// clock, is what protects data from a holder that was paused and woke up late.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
pub struct Token(NonZeroU64);

impl Token {
    /// A token from its number; `None` at or above 2^53, and for 0, which means "no token" to others.
    pub const fn new(number: u64) -> Option<Self> {
        match NonZeroU64::new(number) {
            Some(number) if number.get() < TOKEN_END => Some(Self(number)),
            _ => None,
        }
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0.get()
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// A source of tokens: a counter that starts at a clock reading, so that it is above whatever an earlier run of
/// the same source gave out as long as the clock has not gone back.
#[derive(Debug, Clone)]
pub struct Mint {
    last: u64,
}

impl Mint {
    /// A mint whose first token is above `floor`.
    pub const fn above(floor: u64) -> Self {
        Self { last: floor }
    }

    /// The number of the last token given out (or the floor).
    pub const fn last(&self) -> u64 {
        self.last
    }

    /// Raises the floor; never lowers it.
    pub fn raise(&mut self, floor: u64) {
        self.last = self.last.max(floor);
    }

    /// The proposed token if it is above all before, else the next one.
    ///
    /// # Panics
    /// As [`mint`](Self::mint).
    pub fn grant(&mut self, proposed: Option<Token>) -> Token {
        match proposed {
            Some(token) if token.get() > self.last => {
                self.last = token.get();
                token
            }
            _ => self.mint(),
        }
    }

    /// The next token.
    ///
    /// # Panics
    /// At 2^53: a microsecond clock reaches it in the year 2255, and a rounded token would be worse than none.
    pub fn mint(&mut self) -> Token {
        self.last += 1;
        Token::new(self.last).expect("fencing tokens are exhausted at 2^53")
    }
}
