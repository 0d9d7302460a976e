//! A storage that checks tokens never loses an update, whatever the locks do.
//!
//! Every holder raises the fence, reads, and those that hold all of the resource write in the end, some of them long
//! after they have lost it. A write that is accepted must be by whoever read the last version.

use std::collections::BTreeMap;
use std::sync::Mutex;

use leasehold_core::Token;

use super::{Rule, Violation};
use crate::executor::{True, lock};

/// What the storage knows of a resource.
#[derive(Debug, Default)]
struct Register {
    /// The highest tokens that it has seen, of those who hold all and of those who share.
    exclusive: u64,
    shared: u64,
    version: u64,
}

/// The storage.
#[derive(Debug, Default)]
pub struct Storage {
    registers: Mutex<BTreeMap<usize, Register>>,
}

impl Storage {
    /// A holder raises the fence and reads; `None` if it is refused.
    pub fn enter(&self, resource: usize, token: Token, exclusive: bool) -> Option<u64> {
        let mut registers = lock(&self.registers);
        let register = registers.entry(resource).or_default();
        let least = if exclusive { register.exclusive.max(register.shared) } else { register.exclusive };
        if token.get() < least {
            return None;
        }
        let mark = if exclusive { &mut register.exclusive } else { &mut register.shared };
        *mark = token.get().max(*mark);
        Some(register.version)
    }

    /// A holder of all writes what follows from the version that it has read; `false` if it is refused.
    pub fn write(&self, resource: usize, token: Token, read: u64, now: True) -> Result<bool, Violation> {
        if self.enter(resource, token, true).is_none() {
            return Ok(false);
        }
        let mut registers = lock(&self.registers);
        let register = registers.entry(resource).or_default();
        if register.version != read {
            let what = format!(
                "r{resource}: {token:?} writes over version {} and has read {read}",
                register.version
            );
            return Err(Violation::at(now, Rule::LostUpdate, what));
        }
        register.version += 1;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stale_are_refused_and_a_token_twice_is_found() {
        let storage = Storage::default();
        let token = |n| Token::new(n).unwrap();
        let old = storage.enter(0, token(1), true).unwrap();
        let new = storage.enter(0, token(2), true).unwrap();
        assert_eq!(storage.write(0, token(1), old, 0), Ok(false));
        assert_eq!(storage.write(0, token(2), new, 0), Ok(true));
        assert_eq!(storage.enter(0, token(1), false), None);
        // Two with the same token, who have both read version 1.
        let read = storage.enter(0, token(3), true).unwrap();
        assert_eq!(storage.write(0, token(3), read, 0), Ok(true));
        assert_eq!(storage.write(0, token(3), read, 0).unwrap_err().rule, Rule::LostUpdate);
    }
}
