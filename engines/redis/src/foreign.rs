//! Locks of other clients that ours wait behind: who is to look when one of them goes.
//!
//! Other clients tell nobody. Where the server tells of changed keys (`notify-keyspace-events`), the key that stands in
//! the way is watched; where not, the first in the queue looks again and again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use leasehold_core::claim::ClaimId;

/// Who waits behind which key.
#[derive(Debug, Default)]
pub(crate) struct Foreign(Mutex<BTreeMap<String, BTreeSet<ClaimId>>>);

impl Foreign {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, BTreeSet<ClaimId>>> {
        // Nothing in here panics half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A claim waits behind a key; `true` if it is the first.
    pub(crate) fn add(&self, key: &str, id: ClaimId) -> bool {
        let mut keys = self.lock();
        if let Some(ids) = keys.get_mut(key) {
            ids.insert(id);
            return false;
        }
        keys.insert(key.to_owned(), BTreeSet::from([id])).is_none()
    }

    /// A claim waits no more; `true` if nobody is left behind that key.
    pub(crate) fn remove(&self, key: &str, id: ClaimId) -> bool {
        let mut keys = self.lock();
        let Some(ids) = keys.get_mut(key) else { return false };
        ids.remove(&id);
        ids.is_empty() && keys.remove(key).is_some()
    }

    /// Who waits behind a key.
    pub(crate) fn behind(&self, key: &str) -> Vec<ClaimId> {
        self.lock().get(key).map(|ids| ids.iter().copied().collect()).unwrap_or_default()
    }

    /// All keys that somebody waits behind.
    pub(crate) fn keys(&self) -> Vec<String> {
        self.lock().keys().cloned().collect()
    }
}
