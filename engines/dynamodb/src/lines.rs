//! The lines of all locks that we have to do with.

use std::sync::{Arc, Mutex, PoisonError};

use hashbrown::HashMap;
use leasehold_core::{Moment, Name};

use crate::line::Line;

/// Below this many nobody goes looking for those that do not matter any more.
const SWEEP_MIN: usize = 1024;

/// Where the lines of all locks are.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    lines: Mutex<Kept>,
}

#[derive(Debug)]
struct Kept {
    by_name: HashMap<Name, Arc<Line>>,
    /// Look for those that do not matter any more when there are so many.
    sweep_at: usize,
}

impl Default for Kept {
    fn default() -> Self {
        Self { by_name: HashMap::new(), sweep_at: SWEEP_MIN }
    }
}

impl Lines {
    /// The line of a lock.
    pub(crate) fn of(&self, name: &Name, now: Moment) -> Arc<Line> {
        let mut kept = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(line) = kept.by_name.get(name.as_str()) {
            return line.clone();
        }
        if kept.by_name.len() >= kept.sweep_at {
            kept.by_name.retain(|_, line| Arc::strong_count(line) > 1 || line.matters(now));
            kept.sweep_at = SWEEP_MIN.max(kept.by_name.len() * 2);
        }
        let line = Arc::new(Line::new(name.clone()));
        kept.by_name.insert(name.clone(), line.clone());
        line
    }
}
