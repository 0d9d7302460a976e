//! Randomness from the seed. Every part of the world has its own dice, so that one drawing more does not change
//! what all the others draw.

use std::sync::Mutex;
use std::time::Duration;

use leasehold_core::Rng;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

use crate::executor::{lock, nanos};

/// A generator whose numbers are the same on every platform and in every release of the rand crate.
#[derive(Clone, Debug)]
pub struct Dice(Xoshiro256PlusPlus);

impl Dice {
    /// The dice of one part of the world.
    pub fn new(seed: u64, part: u64) -> Self {
        Self(Xoshiro256PlusPlus::seed_from_u64(
            seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(part.wrapping_mul(0xD1B5_4A32_D192_ED03)),
        ))
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0.random_range(0..end.max(1))
    }

    /// A number from `least` to `most`.
    pub fn between(&mut self, least: u64, most: u64) -> u64 {
        self.0.random_range(least..=most.max(least))
    }

    /// `true` so many times in a thousand.
    pub fn per_mille(&mut self, chance: u64) -> bool {
        self.below(1000) < chance
    }

    /// A span, short ones as likely as long ones: each doubling from `least` to `most` is as likely. In whole
    /// numbers, for logarithms differ between platforms.
    pub fn span(&mut self, least: Duration, most: Duration) -> Duration {
        let (least, most) = (nanos(least).max(1), nanos(most).max(1));
        let doublings = (most / least).checked_ilog2().unwrap_or(0);
        let low = least << self.below(u64::from(doublings) + 1);
        Duration::from_nanos(self.between(low, (low * 2).min(most)))
    }

    /// One of these.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len() as u64) as usize]
    }
}

/// What a client draws its claim ids from.
#[derive(Debug)]
pub struct SimRng(Mutex<Dice>);

impl SimRng {
    /// A source from dice.
    pub fn new(dice: Dice) -> Self {
        Self(Mutex::new(dice))
    }
}

impl Rng for SimRng {
    fn next(&self) -> u128 {
        lock(&self.0).0.random()
    }
}
