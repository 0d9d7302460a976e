//! From a lock's name to the number that the database knows it by.

use std::fmt;

use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use ring::hkdf::{HKDF_SHA256, KeyType, Salt};

/// How names become keys: as whoever else locks in this database has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keys {
    /// As `PgAdvisoryLock::new` of the crate sqlx: every name a number of 64 bits, by HKDF-SHA-256.
    #[default]
    Sqlx,
    /// As madelson's `PostgresAdvisoryLockKey` with `allowHashing`: ASCII of at most nine characters as it is, hexadecimal
    /// numbers of 64 or twice 32 bits as these, everything else by SHA-1.
    Madelson,
}

/// What the database locks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Key {
    One(i64),
    /// Of a space of its own.
    Two(i32, i32),
}

impl Keys {
    /// The key of a name.
    pub(crate) fn key(self, name: &str) -> Key {
        match self {
            Self::Sqlx => Key::One(i64::from_le_bytes(hkdf(name))),
            Self::Madelson => madelson(name),
        }
    }
}

impl Key {
    /// One of two numbers from their 64 bits.
    pub(crate) const fn two(bits: u64) -> Self {
        Self::Two((bits >> 32) as i32, bits as i32)
    }
}

/// As it is shown where nobody knows the name.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(key) => write!(f, "#{key}"),
            Self::Two(high, low) => write!(f, "#{high},{low}"),
        }
    }
}

const SQLX_INFO: &[u8] = b"SQLx (Rust) Postgres advisory lock";

struct Bytes8;

impl KeyType for Bytes8 {
    fn len(&self) -> usize {
        8
    }
}

fn hkdf(name: &str) -> [u8; 8] {
    let mut key = [0; 8];
    let secret = Salt::new(HKDF_SHA256, &[]).extract(name.as_bytes());
    secret
        .expand(&[SQLX_INFO], Bytes8)
        .and_then(|okm| okm.fill(&mut key))
        .expect("eight bytes are not too many for HKDF");
    key
}

/// The most characters of ASCII that fit into 64 bits.
const ASCII_MAX: usize = 9;

fn madelson(name: &str) -> Key {
    if name.len() <= ASCII_MAX && name.is_ascii() {
        // Seven bits each; then a zero, and ones for what is left.
        let characters = name.bytes().fold(0, |bits, byte| bits << 7 | u64::from(byte));
        let left = 7 * (ASCII_MAX - name.len());
        return Key::two(characters << 1 << left | ((1 << left) - 1));
    }
    let hex = |digits: &str| {
        digits.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| u64::from_str_radix(digits, 16).ok())?
    };
    if let Some(bits) = (name.len() == 16).then(|| hex(name)).flatten() {
        return Key::One(bits.cast_signed());
    }
    if let Some((high, low)) = name.split_once(',').filter(|(high, low)| high.len() == 8 && low.len() == 8)
        && let (Some(high), Some(low)) = (hex(high), hex(low))
    {
        return Key::two(high << 32 | low);
    }
    let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, name.as_bytes());
    Key::One(
        hash.as_ref().iter().take(8).rev().fold(0, |bits, byte| bits << 8 | u64::from(*byte)).cast_signed(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn madelsons_names() {
        let bits = |key| match key {
            Key::Two(high, low) => u64::from(high.cast_unsigned()) << 32 | u64::from(low.cast_unsigned()),
            one @ Key::One(_) => panic!("{one:?} is one number"),
        };
        assert_eq!(bits(Keys::Madelson.key("a")), 0b1100001 << 57 | ((1 << 56) - 1));
        assert_eq!(bits(Keys::Madelson.key("123456789")) & 1, 0);
        assert_eq!(bits(Keys::Madelson.key("123456789")) >> 57, u64::from(b'1'));
        assert_ne!(Keys::Madelson.key("ab"), Keys::Madelson.key("abc"));
        assert_eq!(Keys::Madelson.key("00000000000000ff"), Key::One(255));
        assert_eq!(Keys::Madelson.key("FFFFFFFFFFFFFFFF"), Key::One(-1));
        assert_eq!(Keys::Madelson.key("00000001,ffffffff"), Key::Two(1, -1));
        // The SHA-1 of "abcdefghij" begins with d68c19a0a345b7ea.
        assert_eq!(Keys::Madelson.key("abcdefghij"), Key::One(0xeab7_45a3_a019_8cd6_u64.cast_signed()));
        // A sign is no digit, and what looks like a number of another length is a name.
        assert!(matches!(Keys::Madelson.key("+0000000000000ff"), Key::One(key) if key != 255));
        assert!(matches!(Keys::Madelson.key("00000001,fffffff"), Key::One(_)));
    }
}
