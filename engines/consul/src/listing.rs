//! What can only be found by going through many keys.

use std::collections::{BTreeMap, BTreeSet};

use hashbrown::HashMap;
use leasehold_core::ordered::Owned;
use leasehold_core::{Name, Result};

use crate::failure;
use crate::line::key;
use crate::place::Place;
use crate::store::Inner;
use crate::wire::{Entry, LOCK_FLAGS, OPS_MAX, Op, Undone};

impl Inner {
    /// Those of the keys that are there.
    async fn entries(&self, operation: &'static str, keys: Vec<String>) -> Result<HashMap<String, Entry>> {
        let mut found = HashMap::new();
        for keys in keys.chunks(OPS_MAX) {
            let mut ops: Vec<Op> = keys.iter().map(|key| Op::get(key)).collect();
            while !ops.is_empty() {
                match self.api.transact(operation, &ops).await {
                    Ok(entries) => {
                        found.extend(entries.into_iter().map(|entry| (entry.key.clone(), entry)));
                        break;
                    }
                    Err(undone) => {
                        if let Some(error) = undone.error(operation) {
                            return Err(error);
                        }
                        let Undone::Refused(missing) = undone else { continue };
                        let mut nth = 0..;
                        ops.retain(|_| {
                            let at = nth.next();
                            !missing.iter().any(|(step, _)| Some(*step) == at)
                        });
                        if missing.is_empty() {
                            return Err(failure::restless(operation));
                        }
                    }
                }
            }
        }
        Ok(found)
    }

    /// The claims of a session that stand somewhere. Only those that this client has ever sent are looked for: nobody
    /// else knows the session.
    pub(crate) async fn owned(&self, session: &str) -> Result<Vec<Owned>> {
        let suspects = self.own.suspects(session);
        let spot = |name: &Name, slot: u32| format!("{}{session}-{slot}", self.keys.line(name));
        let mut keys: BTreeSet<String> = BTreeSet::new();
        for suspect in &suspects {
            keys.insert(self.keys.lock(&suspect.name));
            keys.extend(suspect.slot.map(|slot| spot(&suspect.name, slot)));
        }
        let entries = self.entries("look", keys.into_iter().collect()).await?;
        let mut owned = Vec::new();
        let mut bereft = BTreeSet::new();
        for suspect in suspects {
            let lock = entries.get(&self.keys.lock(&suspect.name));
            let spot = suspect.slot.and_then(|slot| entries.get(&spot(&suspect.name, slot)));
            let place = |entry: Option<&Entry>| {
                let entry = entry.filter(|entry| entry.session.as_deref() == Some(session))?;
                Place::read(&entry.text()).filter(|place| place.claim == suspect.claim)
            };
            let Some(place) = place(lock).or_else(|| place(spot)) else { continue };
            if place.held && lock.is_none_or(|lock| lock.session.is_none()) {
                bereft.insert(suspect.name.clone());
            }
            let key = key(session, suspect.claim);
            owned.push(Owned { name: suspect.name, key, id: suspect.claim, revoked: place.revoked });
        }
        for name in bereft {
            // The one whose session had the lock for all is gone: somebody else of those who hold takes it, as soon as
            // Consul gives it.
            drop(self.line(&name).await);
        }
        Ok(owned)
    }

    /// Names in use, in the order of their bytes.
    pub(crate) async fn names(&self, prefix: &str, after: Option<&Name>, limit: usize) -> Result<Vec<Name>> {
        let keys = self.api.keys("look", &self.keys.beginning(prefix)).await?;
        // Whether somebody certainly stands there.
        let mut candidates: BTreeMap<Name, bool> = BTreeMap::new();
        for found in keys {
            let Some(name) = self.keys.name(&found) else { continue };
            if name.as_str().starts_with(prefix) && after.is_none_or(|after| name > *after) {
                *candidates.entry(name.clone()).or_default() |= found.starts_with(&self.keys.line(&name));
            }
        }
        let mut names = Vec::new();
        let mut candidates = candidates.into_iter().peekable();
        while names.len() < limit && candidates.peek().is_some() {
            let some: Vec<_> = candidates.by_ref().take(OPS_MAX).collect();
            let unsure =
                some.iter().filter(|(_, sure)| !sure).map(|(name, _)| self.keys.lock(name)).collect();
            let locks = self.entries("look", unsure).await?;
            let held = |name: &Name| {
                locks.get(&self.keys.lock(name)).is_some_and(|l| l.session.is_some() && l.flags == LOCK_FLAGS)
            };
            names.extend(some.into_iter().filter(|(name, sure)| *sure || held(name)).map(|(name, _)| name));
        }
        names.truncate(limit);
        Ok(names)
    }
}
