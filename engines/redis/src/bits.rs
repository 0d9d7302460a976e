//! A bit a slot.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::slots::SLOTS;

/// A set of slots, which many may read and write at a time. It remembers, it orders nothing.
#[derive(Debug)]
pub(crate) struct Bits(Box<[AtomicU64]>);

impl Default for Bits {
    fn default() -> Self {
        Self((0..SLOTS / 64).map(|_| AtomicU64::new(0)).collect())
    }
}

impl Bits {
    pub(crate) fn has(&self, slot: usize) -> bool {
        self.0[slot / 64].load(Ordering::Relaxed) & (1 << (slot % 64)) != 0
    }

    /// Most often it is as it should be already, and then nothing is written.
    pub(crate) fn set(&self, slot: usize, to: bool) {
        if self.has(slot) != to {
            let (word, bit) = (&self.0[slot / 64], 1 << (slot % 64));
            if to {
                word.fetch_or(bit, Ordering::Relaxed);
            } else {
                word.fetch_and(!bit, Ordering::Relaxed);
            }
        }
    }
}
