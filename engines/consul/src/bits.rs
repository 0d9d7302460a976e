//! A guess for each name, in little room: names that share a bit mislead each other, which costs a request.

use std::sync::atomic::{AtomicU64, Ordering};

use leasehold_core::Name;

const WORDS: usize = 256;

/// Names of which something was so when it was last looked at.
#[derive(Debug)]
pub(crate) struct Bits([AtomicU64; WORDS]);

impl Default for Bits {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; WORDS])
    }
}

/// The word and the bit of a name.
fn place(name: &Name) -> (usize, u64) {
    let hash = name
        .as_str()
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    // The last letters of a name must reach all of it.
    let hash = (hash ^ hash >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    (hash as usize % WORDS, 1 << (hash >> 8 & 63))
}

impl Bits {
    pub(crate) fn has(&self, name: &Name) -> bool {
        let (word, bit) = place(name);
        self.0[word].load(Ordering::Relaxed) & bit != 0
    }

    pub(crate) fn set(&self, name: &Name, so: bool) {
        let (word, bit) = place(name);
        // Most of the time it is so already, and then nobody else's cache has to hear of it.
        if self.has(name) != so {
            match so {
                true => self.0[word].fetch_or(bit, Ordering::Relaxed),
                false => self.0[word].fetch_and(!bit, Ordering::Relaxed),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_apart() {
        let bits = Bits::default();
        let names: Vec<Name> = (0..100).map(|nth| Name::new(&format!("lock/{nth}")).unwrap()).collect();
        names.iter().step_by(2).for_each(|name| bits.set(name, true));
        assert!(names.iter().step_by(2).all(|name| bits.has(name)));
        assert!(names.iter().filter(|name| bits.has(name)).count() < 60);
        names.iter().for_each(|name| bits.set(name, false));
        assert!(!names.iter().any(|name| bits.has(name)));
    }
}
