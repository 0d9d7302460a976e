//! What has been seen of a lock's claims, and since when: by this a claim is known to be dead.
//!
//! No clock but our own is read. A claim's owner counts from when it sent its last renewal; we count from when we first
//! saw it, which was later. So its owner has stopped believing before we stop waiting.

use hashbrown::HashMap;
use leasehold_core::ledger::Entry;
use leasehold_core::{ClaimId, Moment};

use crate::wire::{Item, Record};

/// The claims of one lock.
#[derive(Debug, Default)]
pub(crate) struct Sights(HashMap<ClaimId, Seen>);

#[derive(Clone, Copy, Debug)]
struct Seen {
    beat: u64,
    /// When an answer that had this beat in it was here.
    first: Moment,
    /// The same of an answer in which it was held.
    held: Option<Moment>,
    /// When it is dead if it does not change.
    death: Moment,
}

impl Sights {
    /// An item as an answer had it that is here now.
    pub(crate) fn see(&mut self, item: &Item, now: Moment) {
        let mut seen = HashMap::with_capacity(item.claims.len());
        for record in &item.claims {
            let before = self.0.get(&record.id);
            let first = before.filter(|before| before.beat == record.beat).map_or(now, |before| before.first);
            let held = before.and_then(|before| before.held).or_else(|| record.token.map(|_| now));
            seen.insert(record.id, Seen { beat: record.beat, first, held, death: first + record.life });
        }
        self.0 = seen;
    }

    /// A claim as the rule has it. It has been seen.
    pub(crate) fn entry(&self, record: &Record, capacity: u32, joined: Moment) -> Entry {
        let seen = self.0.get(&record.id);
        let held = seen.and_then(|seen| seen.held).filter(|_| !record.at_least.is_zero());
        Entry {
            id: record.id,
            capacity,
            weight: record.weight.min(capacity),
            at_least: record.at_least,
            meta: record.meta.clone(),
            joined,
            // What has not been seen is not known to be dead.
            deadline: seen.map_or(Moment::NEVER, |seen| seen.death),
            keep_until: held.map_or(Moment::BOOT, |held| held + record.at_least),
            token: record.token,
            revoked: record.revoked,
        }
    }

    /// Whether anybody could be alive.
    pub(crate) fn any_alive(&self, now: Moment) -> bool {
        self.0.values().any(|seen| seen.death > now)
    }
}
