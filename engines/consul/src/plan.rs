//! What must be done for a line to be as the rule has it: pure, and done as one transaction or not at all.

use std::collections::BTreeMap;
use std::sync::Arc;

use leasehold_core::ordered::Key;
use leasehold_core::{ClaimId, Name};

use crate::line::{Lock, Seen, Stand, key};
use crate::names::Keys;
use crate::place::Place;
use crate::wire::{LOCK_FLAGS, Op};

/// The most claims that one transaction lets in beside the first, and the most sessions that it tells: all of it must
/// fit into one.
const AT_ONCE: usize = 12;

/// Whom to tell what: sessions, and who is gone, or may look at itself.
pub(crate) type Rings = BTreeMap<Arc<str>, Vec<Key>>;

/// What is to be done.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) ops: Vec<Op>,
    pub(crate) rings: Rings,
    /// Whose claims are let in, or given the lock's own key.
    pub(crate) admits: Vec<Arc<str>>,
    /// Who is let in; the token of all of them is the index of the transaction.
    pub(crate) let_in: Vec<Key>,
    /// What is seen once it is done, where that is known: then the lock's own key has the index of the transaction.
    pub(crate) then: Option<Seen>,
}

/// Who goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Leaving<'a> {
    pub(crate) session: &'a str,
    pub(crate) claim: ClaimId,
}

impl Leaving<'_> {
    pub(crate) fn is(&self, stand: &Stand<'_>) -> bool {
        **stand.session == *self.session && stand.place.claim == self.claim
    }
}

/// How many of the first fit together. One that names another capacity than the first will be refused; nobody behind it
/// is let in before it has gone.
fn fitting(stands: &[Stand<'_>]) -> usize {
    let Some(capacity) = stands.first().map(|first| first.place.capacity) else { return 0 };
    let mut taken = 0;
    stands
        .iter()
        .take_while(|stand| {
            taken += u64::from(stand.place.weight);
            stand.place.capacity == capacity && taken <= u64::from(capacity)
        })
        .count()
}

/// Those behind, for whom it matters that this one goes: up to the next that takes everything, and is told itself.
fn concerned<'a, 's>(behind: &'a [Stand<'s>]) -> &'a [Stand<'s>] {
    let end = behind.iter().position(Stand::takes_all).map_or(behind.len(), |at| at + 1);
    &behind[..end]
}

/// What must be done, with or without somebody who goes; whoever is not there any more was the first.
pub(crate) fn plan(seen: &Seen, keys: &Keys, name: &Name, leaving: Option<Leaving<'_>>) -> Plan {
    let all = seen.stands();
    let goes = all.iter().position(|stand| leaving.is_some_and(|leaving| leaving.is(stand)));
    let staying: Vec<Stand<'_>> =
        all.iter().enumerate().filter(|(at, _)| Some(*at) != goes).map(|(_, stand)| *stand).collect();
    let gone = goes.map(|at| all[at]);
    let heir = leaving.and_then(|leaving| seen.heir(leaving));
    let mut plan = Plan { then: heir.map(|heir| seen.handed_on(&heir)), ..Plan::default() };
    if seen.foreign().is_none() {
        let first = plan.hand_on(seen, keys, name, &staying, gone.as_ref());
        plan.let_in(&staying[..fitting(&staying)], first);
        if !plan.ops.is_empty()
            && first.is_none()
            && seen.holder().is_some()
            && gone.is_none_or(|g| g.spot.is_some())
        {
            // Nobody is let in beside a lock that has gone to somebody else meanwhile.
            plan.ops.extend(seen.lock.as_ref().map(|lock| Op::unchanged(&keys.lock(name), lock.index)));
        }
    }
    if let Some(leaving) = leaving {
        plan.see_off(seen, gone.as_ref(), leaving, &staying[goes.unwrap_or(0)..]);
    }
    plan
}

/// What must be done if this one goes while Consul gives the lock to nobody: the first in line takes it when it can.
pub(crate) fn without_heir(seen: &Seen, keys: &Keys, name: &Name, leaving: Leaving<'_>) -> Plan {
    let all = seen.stands();
    let goes = all.iter().position(|stand| leaving.is(stand));
    let gone = goes.map(|at| all[at]);
    let mut plan = Plan::default();
    if let (Some(holder), Some(lock)) = (gone.filter(|gone| gone.spot.is_none()), &seen.lock) {
        plan.leave_alone(&keys.lock(name), &holder, lock);
    }
    plan.see_off(seen, gone.as_ref(), leaving, &all[goes.map_or(0, |at| at + 1)..]);
    plan
}

impl Plan {
    /// The keys of one who goes go too, but for the lock's own, and those behind are told.
    fn see_off(&mut self, seen: &Seen, gone: Option<&Stand<'_>>, leaving: Leaving<'_>, behind: &[Stand<'_>]) {
        if let Some(stand) = gone {
            let doubles = seen.doubles.iter().filter(|_| stand.spot.is_none());
            let spots = stand.spot.into_iter().chain(doubles);
            self.ops.extend(spots.flat_map(|spot| Op::remove(&spot.key, spot.index)));
        }
        for told in concerned(behind) {
            self.ring(told, key(leaving.session, leaving.claim));
        }
    }

    fn ring(&mut self, told: &Stand<'_>, key: Key) {
        if self.rings.len() < AT_ONCE || self.rings.contains_key(told.session) {
            self.rings.entry(Arc::clone(told.session)).or_default().push(key);
        }
    }

    fn admit(&mut self, stand: &Stand<'_>) {
        self.admits.push(Arc::clone(stand.session));
        self.let_in.push(stand.key());
        self.ring(stand, stand.key());
    }

    /// The lock's own key goes to the first, unless whoever has it stays and may; tells who gets it.
    fn hand_on(
        &mut self,
        seen: &Seen,
        keys: &Keys,
        name: &Name,
        staying: &[Stand<'_>],
        gone: Option<&Stand<'_>>,
    ) -> Option<ClaimId> {
        let key = keys.lock(name);
        let holder = seen.holder();
        let stays = holder.filter(|_| gone.is_none_or(|gone| gone.spot.is_some()));
        let may = |holder: &Stand<'_>| {
            staying[..fitting(staying)].iter().any(|stand| stand.place.claim == holder.place.claim)
        };
        if stays.as_ref().is_some_and(may) {
            return None;
        }
        let Some((first, spot)) = staying.first().and_then(|first| Some((first, first.spot?))) else {
            if let (Some(holder), Some(lock)) = (holder, &seen.lock) {
                self.leave_alone(&key, &holder, lock);
            }
            return None;
        };
        match (&seen.lock, &holder) {
            (None, _) => self.ops.push(Op::absent(&key)),
            (Some(lock), None) => self.ops.push(Op::unchanged(&key, lock.index)),
            (Some(lock), Some(holder)) => {
                self.ops.push(Op::unchanged(&key, lock.index));
                self.ops.push(Op::unlock(&key, holder.session, LOCK_FLAGS));
            }
        }
        self.ops.push(Op::lock(&key, first.session, LOCK_FLAGS, &seen.place_of_first(first).write()));
        self.ops.extend(Op::remove(&spot.key, spot.index));
        match first.token {
            None => self.admit(first),
            // It has been let in before, under a lock that has ended with the session of another.
            Some(_) => self.admits.push(Arc::clone(first.session)),
        }
        if let Some(early) = stays {
            self.put_back(keys, name, &early);
        }
        Some(first.place.claim)
    }

    /// Nobody is left: the key goes, unless others have used it, for then the number of its locks must not begin again.
    fn leave_alone(&mut self, key: &str, holder: &Stand<'_>, lock: &Lock) {
        if holder.place.keep {
            self.ops.push(Op::unchanged(key, lock.index));
            self.ops.push(Op::unlock(key, holder.session, LOCK_FLAGS));
        } else {
            self.ops.push(Op::delete(key, lock.index));
        }
    }

    /// Somebody has taken the lock although others were waiting: it stands where it would stand if it had waited.
    fn put_back(&mut self, keys: &Keys, name: &Name, early: &Stand<'_>) {
        let place = Place { token: None, joined: Some(early.joined), keep: false, ..early.place.clone() };
        let key = format!("{}{}-{}", keys.line(name), early.session, early.place.claim);
        self.ops.push(Op::absent(&key));
        self.ops.push(Op::lock(&key, early.session, 0, &place.write()));
    }

    /// Marks those who fit and have not been let in yet.
    fn let_in(&mut self, fitting: &[Stand<'_>], first: Option<ClaimId>) {
        let outside = fitting.iter().filter(|s| s.token.is_none() && Some(s.place.claim) != first);
        for stand in outside {
            let Some(spot) = stand.spot else { continue };
            if self.admits.len() >= AT_ONCE {
                return;
            }
            let place = Place { held: true, ..stand.place.clone() };
            self.ops.push(Op::replace(&spot.key, spot.index, 0, &place.write()));
            self.admit(stand);
        }
    }
}
