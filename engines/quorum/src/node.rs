//! One node: an engine that keeps a vote.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use leasehold_core::Engine;

/// A node.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) label: String,
    pub(crate) engine: Arc<dyn Engine>,
    /// It did not answer last time, so nobody waits for it longer than for the others.
    suspect: AtomicBool,
}

impl Node {
    pub(crate) fn new(label: String, engine: Arc<dyn Engine>) -> Self {
        Self { label, engine, suspect: AtomicBool::new(false) }
    }

    pub(crate) fn is_suspect(&self) -> bool {
        self.suspect.load(Ordering::Relaxed)
    }

    pub(crate) fn answers(&self, well: bool) {
        // Most of the time nothing changes, and a store would take the line from the other processors.
        if self.is_suspect() == well {
            self.suspect.store(!well, Ordering::Relaxed);
        }
    }
}
