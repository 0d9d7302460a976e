//! Where floors and peers work: beside the engine.

use std::path::Path;

use leasehold_core::Env;

/// An engine's place, as whoever runs beside it needs to know it.
#[derive(Clone, Copy, Debug)]
pub struct Site<'a> {
    /// The engine's URL.
    pub url: &'a str,
    /// A folder for their files.
    pub folder: &'a Path,
    /// The clock and the randomness.
    pub env: &'a Env,
}

impl<'a> Site<'a> {
    /// The scheme of the URL.
    pub fn scheme(&self) -> &'a str {
        self.url.split_once(':').map_or(self.url, |(scheme, _)| scheme)
    }

    /// What two benchmarks at one place do not share: it stands before the names of all locks.
    pub(crate) fn prefix(&self) -> String {
        format!("leasehold-bench/{:08x}", self.env.rng.next() >> 96)
    }
}
