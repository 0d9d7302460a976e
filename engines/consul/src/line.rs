//! Who stands at a resource, as Consul has told it at one moment, and in which order.
//!
//! The lock's own key is the place of the claim that came when nobody was there, or of the first of those that were
//! there when its holder went. All others stand in the line beside it, each with a key of its own. So whoever is alone
//! needs one key, and a client of another program sees the lock held as long as anybody of ours holds.

use std::sync::Arc;

use leasehold_core::ordered::{Contender, Key, Line};
use leasehold_core::{ClaimId, Meta, Name, Token};

use crate::names::Keys;
use crate::own::Admitted;
use crate::place::Place;
use crate::plan::Leaving;
use crate::wire::{Entry, LOCK_FLAGS};

/// The lock's own key.
#[derive(Debug, Clone)]
pub(crate) struct Lock {
    /// The index of its last change.
    pub(crate) index: u64,
    /// How often it has been taken, by whomever.
    pub(crate) taken: u64,
    /// Who has it.
    pub(crate) session: Option<Arc<str>>,
    /// The claim for which it is held; `None` if another program's client holds it.
    pub(crate) place: Option<Place>,
}

/// A key of the line.
#[derive(Debug, Clone)]
pub(crate) struct Spot {
    pub(crate) key: String,
    /// The index of its last change.
    pub(crate) index: u64,
    created: u64,
    pub(crate) session: Arc<str>,
    pub(crate) place: Place,
}

/// What was seen.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    pub(crate) lock: Option<Lock>,
    /// In no order.
    pub(crate) spots: Vec<Spot>,
    /// Further keys of the one who has the lock's own; they go with it.
    pub(crate) doubles: Vec<Spot>,
}

/// The lock's own key is not one.
#[derive(Debug)]
pub(crate) struct NotALock;

/// One claim of the line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stand<'a> {
    pub(crate) session: &'a Arc<str>,
    pub(crate) place: &'a Place,
    /// The index by which it came.
    pub(crate) joined: u64,
    /// The number of its token, once it has been let in.
    pub(crate) token: Option<u64>,
    /// Its key, if that is not the lock's own.
    pub(crate) spot: Option<&'a Spot>,
}

impl Stand<'_> {
    pub(crate) fn key(&self) -> Key {
        key(self.session, self.place.claim)
    }

    /// Whether nobody can hold beside it.
    pub(crate) fn takes_all(&self) -> bool {
        self.place.weight == self.place.capacity
    }
}

/// How a contender is called: by its session and its claim, wherever it stands.
pub(crate) fn key(session: &str, claim: ClaimId) -> Key {
    format!("{session}/{claim}").into()
}

/// The session and the claim of a contender.
pub(crate) fn of_key(key: &str) -> Option<(&str, ClaimId)> {
    let (session, claim) = key.split_once('/')?;
    Some((session, claim.parse().ok()?))
}

/// What stands for another program's client, and for the time in which Consul gives the lock to nobody.
const FOREIGN: &str = "!";
pub(crate) const DELAY: &str = "!delay";

/// Which session of another program's client a key stands for, and how often the lock had been taken then.
pub(crate) fn of_foreign(key: &str) -> Option<(&str, u64)> {
    let (session, taken) = key.strip_prefix(FOREIGN)?.split_once('/')?;
    Some((session, taken.parse().ok()?))
}

impl Seen {
    /// Reads what the server has told. The value of a key that was `written` by the same request is not told.
    pub(crate) fn read(
        keys: &Keys,
        name: &Name,
        entries: &[Entry],
        written: Option<(&str, &Place)>,
    ) -> Result<Self, NotALock> {
        let (lock, line) = (keys.lock(name), keys.line(name));
        let mut seen = Self::default();
        for entry in entries {
            let session = entry.session.as_deref().map(Arc::from);
            let place = match written.filter(|(key, _)| *key == entry.key) {
                Some((_, place)) => Some(place.clone()),
                None => Place::read(&entry.text()),
            };
            if entry.key == lock {
                if entry.flags != LOCK_FLAGS {
                    return Err(NotALock);
                }
                let (index, taken) = (entry.modify_index, entry.lock_index);
                seen.lock = Some(Lock { index, taken, place: place.filter(|_| session.is_some()), session });
            } else if let (true, Some(session), Some(place)) = (entry.key.starts_with(&line), session, place)
                && !seen.spots.iter().any(|spot| spot.key == entry.key)
            {
                let (key, index, created) = (entry.key.clone(), entry.modify_index, entry.create_index);
                seen.spots.push(Spot { key, index, created, session, place });
            }
        }
        seen.set_aside_doubles();
        Ok(seen)
    }

    /// A request that was thought lost may have put a claim into the lock's own key that has come into the line since.
    fn set_aside_doubles(&mut self) {
        let Some(place) = self.lock.as_mut().and_then(|lock| lock.place.as_mut()) else { return };
        let (doubles, spots) =
            std::mem::take(&mut self.spots).into_iter().partition(|s| s.place.claim == place.claim);
        self.spots = spots;
        self.doubles = doubles;
        if let Some(double) = self.doubles.first() {
            place.joined = Some(double.place.joined.unwrap_or(double.created));
        }
    }

    /// Whether another program's client has the lock.
    pub(crate) fn foreign(&self) -> Option<(&Arc<str>, &Lock)> {
        let lock = self.lock.as_ref().filter(|lock| lock.place.is_none())?;
        Some((lock.session.as_ref()?, lock))
    }

    /// Whose place the lock's own key is.
    pub(crate) fn holder(&self) -> Option<Stand<'_>> {
        let lock = self.lock.as_ref()?;
        let (session, place) = (lock.session.as_ref()?, lock.place.as_ref()?);
        let token = place.token.unwrap_or(lock.index);
        Some(Stand { session, place, joined: place.joined.unwrap_or(token), token: Some(token), spot: None })
    }

    /// Who is next if this one goes, and nobody with it: where each of the two takes everything, so that whoever has
    /// come since this was seen stands behind both, and none of them could be let in, too.
    pub(crate) fn heir(&self, leaving: Leaving<'_>) -> Option<Stand<'_>> {
        let stands = self.stands();
        let [holder, heir, ..] = stands[..] else { return None };
        let fits = holder.spot.is_none() && leaving.is(&holder) && holder.takes_all();
        let fits =
            fits && heir.token.is_none() && heir.takes_all() && heir.place.capacity == holder.place.capacity;
        (fits && self.doubles.is_empty()).then_some(heir)
    }

    /// The lock's own key as the place of one who comes from the line.
    pub(crate) fn place_of_first(&self, first: &Stand<'_>) -> Place {
        let used = self.lock.as_ref().is_some_and(|lock| lock.place.as_ref().is_none_or(|place| place.keep));
        let (token, joined) = (first.token, Some(first.joined));
        Place { held: false, token, joined, keep: used, ..first.place.clone() }
    }

    /// What is seen once the heir has come in; the index of that is not known before.
    pub(crate) fn handed_on(&self, heir: &Stand<'_>) -> Self {
        let taken = self.lock.as_ref().map_or(0, |lock| lock.taken) + 1;
        let (session, place) = (Some(Arc::clone(heir.session)), Some(self.place_of_first(heir)));
        let is_heir = |spot: &&Spot| heir.spot.is_some_and(|own| own.key == spot.key);
        let spots = self.spots.iter().filter(|spot| !is_heir(spot)).cloned().collect();
        Self { lock: Some(Lock { index: 0, taken, session, place }), spots, doubles: Vec::new() }
    }

    /// All claims, in their order.
    pub(crate) fn stands(&self) -> Vec<Stand<'_>> {
        let spots = self.spots.iter().map(|spot| Stand {
            session: &spot.session,
            place: &spot.place,
            joined: spot.place.joined.unwrap_or(spot.created),
            token: spot.place.held.then_some(spot.place.token.unwrap_or(spot.index)),
            spot: Some(spot),
        });
        let mut all: Vec<_> = self.holder().into_iter().chain(spots).collect();
        // Those who came by one transaction are told apart by their keys, for everybody in the same way.
        all.sort_by(|a, b| (a.joined, a.spot.map(|s| &s.key)).cmp(&(b.joined, b.spot.map(|s| &s.key))));
        all
    }

    /// The line as others know it. `delayed` says that Consul gives the lock to nobody now.
    pub(crate) fn line(&self, stamp: u64, delayed: bool) -> Line {
        let mut contenders = Vec::with_capacity(self.spots.len() + 2);
        if let Some((session, lock)) = self.foreign() {
            let key = format!("{FOREIGN}{session}/{}", lock.taken);
            contenders.push(nobody_of_ours(&key, &format!("another client of Consul, session {session}")));
        } else if delayed {
            contenders.push(nobody_of_ours(DELAY, "nobody: the lock-delay of a session that has ended"));
        }
        contenders.extend(self.stands().iter().map(contender));
        Line { contenders, stamp }
    }
}

/// The line up to one that has been let in: whoever is ahead of it makes room for it.
pub(crate) fn let_in(key: Key, claim: &Admitted) -> Line {
    let contender = Contender {
        key,
        id: Some(claim.claim),
        capacity: claim.capacity,
        weight: claim.weight,
        token: Token::new(claim.token),
        ttl: None,
        since: None,
        revoked: false,
        meta: Meta::default(),
    };
    Line { contenders: vec![contender], stamp: 0 }
}

fn contender(stand: &Stand<'_>) -> Contender {
    Contender {
        key: stand.key(),
        id: Some(stand.place.claim),
        capacity: stand.place.capacity,
        weight: stand.place.weight,
        token: stand.token.and_then(Token::new),
        ttl: Some(stand.place.ttl()),
        since: Some(stand.place.since),
        revoked: stand.place.revoked,
        meta: stand.place.meta(),
    }
}

fn nobody_of_ours(key: &str, who: &str) -> Contender {
    Contender {
        key: key.into(),
        id: None,
        capacity: 1,
        weight: u32::MAX,
        token: None,
        ttl: None,
        since: None,
        revoked: false,
        meta: Meta { owner: who.into(), payload: None },
    }
}
