//! From a lock's name to the name that the server knows it by.
//!
//! The server compares with regard to case or without, to accents or without, by bytes or not, depending on its release and
//! on whether the same session has the lock; it takes 64 characters, and is one space for all databases. So a name is used
//! as it is only where none of that makes a difference.

use std::fmt;
use std::sync::Arc;

use ring::digest::{SHA512, digest};

/// What the server locks: lower-case ASCII, at most 64 of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Key(Arc<str>);

const CHARS_MAX: usize = 64;
/// 160 bits of SHA-512, five in each.
const HASH_BYTES: usize = 20;
const HASH_CHARS: usize = 32;
const DIGITS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

impl Key {
    /// The key of a name: for names of ASCII what madelson's `MySqlDistributedLock` makes of them. A space at the end may
    /// be of no meaning to the server.
    pub(super) fn of(name: &str) -> Self {
        let plain = |byte: u8| byte.is_ascii() && !byte.is_ascii_uppercase();
        if name.len() <= CHARS_MAX && name.bytes().all(plain) && !name.ends_with(' ') {
            return Self(name.into());
        }
        let before = name.chars().filter(char::is_ascii).take(CHARS_MAX - HASH_CHARS);
        let mut key: String = before.map(|c| c.to_ascii_lowercase()).collect();
        let hash = digest(&SHA512, name.as_bytes());
        let (mut bits, mut count) = (0_u32, 0);
        for byte in &hash.as_ref()[..HASH_BYTES] {
            // The lowest bits first.
            bits |= u32::from(*byte) << count;
            count += 8;
            while count >= 5 {
                key.push(char::from(DIGITS[(bits & 31) as usize]));
                bits >>= 5;
                count -= 5;
            }
        }
        Self(key.into())
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// As it is shown where nobody knows the name.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_names_are_as_they_are_and_all_others_are_told_apart() {
        let long = "a".repeat(64);
        for plain in ["m", "inventory/42", "a b", "{}'\"\\", &long] {
            assert_eq!(Key::of(plain).as_str(), plain);
        }
        let longer = "a".repeat(65);
        let others = ["M", "m ", "Inventory/42", "á", "ä", "ß", "\u{200b}m", "🔒", &longer];
        let mut keys: Vec<String> = others.iter().map(|name| Key::of(name).to_string()).collect();
        for key in &keys {
            assert!(
                key.len() <= CHARS_MAX && key.bytes().all(|b| b.is_ascii() && !b.is_ascii_uppercase()),
                "{key}"
            );
        }
        assert!(keys[0].starts_with('m') && keys[0].len() == 1 + HASH_CHARS, "{}", keys[0]);
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), others.len());
    }
}
