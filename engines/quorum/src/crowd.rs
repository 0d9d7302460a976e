//! Where others were found waiting lately. It decides nothing but whom to ask first.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::atomic::{AtomicU64, Ordering};

use leasehold_core::Name;

/// How many names can be told apart, at the best.
const BITS: usize = 4096;

/// A bit for each name; several names may share one.
#[derive(Debug)]
pub(crate) struct Crowd([AtomicU64; BITS / 64]);

impl Default for Crowd {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; BITS / 64])
    }
}

impl Crowd {
    fn bit(&self, name: &Name) -> (&AtomicU64, u64) {
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(name.as_str()) as usize % BITS;
        (&self.0[hash / 64], 1 << (hash % 64))
    }

    pub(crate) fn is_at(&self, name: &Name) -> bool {
        let (word, bit) = self.bit(name);
        word.load(Ordering::Relaxed) & bit != 0
    }

    pub(crate) fn set(&self, name: &Name, crowded: bool) {
        let (word, bit) = self.bit(name);
        if crowded {
            word.fetch_or(bit, Ordering::Relaxed);
        } else {
            word.fetch_and(!bit, Ordering::Relaxed);
        }
    }
}
