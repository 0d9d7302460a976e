//! The check at the storage, as small as it can be: two registers, the highest exclusive and the highest shared.

use leasehold::Mode;

/// A storage's memory of tokens.
#[derive(Debug, Default)]
pub(crate) struct Fence {
    exclusive: u64,
    shared: u64,
}

impl Fence {
    /// Whether an access under this token is accepted; if so, lower ones are not from now on.
    pub(crate) fn accepts(&mut self, mode: Mode, token: u64) -> bool {
        match mode {
            Mode::Exclusive => {
                let accepted = token >= self.exclusive.max(self.shared);
                if accepted {
                    self.exclusive = token;
                }
                accepted
            }
            Mode::Shared => {
                let accepted = token >= self.exclusive;
                if accepted {
                    self.shared = self.shared.max(token);
                }
                accepted
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_of_one_time_are_accepted_in_any_order_and_writers_are_not() {
        let mut fence = Fence::default();
        assert!(fence.accepts(Mode::Exclusive, 1));
        assert!(fence.accepts(Mode::Shared, 3) && fence.accepts(Mode::Shared, 2));
        assert!(!fence.accepts(Mode::Exclusive, 2));
        assert!(fence.accepts(Mode::Exclusive, 4));
        assert!(!fence.accepts(Mode::Shared, 3) && !fence.accepts(Mode::Exclusive, 1));
    }
}
