//! Which keys one client has in the server, and for which of its claims. Sessions may take a lock that they have again and
//! again, so it is here that the claims of one client exclude each other.
//!
//! No I/O and no clock reads: what there is to do at the server is told as an [`Act`], one at a time for each key.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;
use hashbrown::hash_map::Entry as Slot;
use leasehold_core::claim::{Claim, ClaimId, Manner, WAITING_TTL_MAX};
use leasehold_core::engine::{ClaimView, Hint, QueueView, Refusal};
use leasehold_core::ledger::QUEUE_CLAIMS_MAX;
use leasehold_core::{Moment, Name, Token};
use tokio::sync::{Notify, OwnedSemaphorePermit};

use crate::getlock::link::Link;
use crate::getlock::name::Key;

/// That a client has a key in the server: by which session.
pub(super) struct Grip {
    pub(super) link: Arc<Link>,
    /// If that session is one of those that wait.
    pub(super) seat: Option<OwnedSemaphorePermit>,
}

/// What is to be done at the server.
pub(super) enum Act {
    /// Takes the key for a claim if it is free, after letting go of what there was.
    Take {
        key: Key,
        claim: Asker,
        after: Option<Grip>,
    },
    LetGo {
        key: Key,
        grip: Grip,
    },
    /// Waits for the key until it is had or [`Pursuit::over`].
    Pursue {
        key: Key,
        pursuit: Arc<Pursuit>,
    },
}

/// For whom something is asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asker {
    pub(super) id: ClaimId,
    pub(super) ttl: Duration,
}

/// Somebody waits for a key in the server.
#[derive(Debug, Default)]
pub(super) struct Pursuit {
    /// Notified once when nobody needs it any more.
    pub(super) over: Notify,
}

/// Who is next to change what a client has of a key.
#[derive(Default)]
enum Turn {
    /// Nobody.
    #[default]
    Idle,
    /// A request that is under way.
    Asking,
    Pursuing(Arc<Pursuit>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Asking,
    Waiting,
    Held(Token),
}

/// A claim.
struct Entry {
    claim: Claim,
    state: State,
    joined: Moment,
    /// When it is dead unless it is refreshed.
    due: Moment,
    /// Whether its owner stays, and does not just try.
    stays: bool,
    revoked: bool,
}

impl Entry {
    fn asker(&self) -> Asker {
        Asker { id: self.claim.id, ttl: self.claim.ttl }
    }

    fn token(&self) -> Option<Token> {
        match self.state {
            State::Held(token) => Some(token),
            State::Asking | State::Waiting => None,
        }
    }
}

/// The claims to one key, the one that holds first.
#[derive(Default)]
struct Line {
    entries: VecDeque<Entry>,
    grip: Option<Grip>,
    turn: Turn,
}

impl Line {
    /// Whether somebody still waits for the key.
    fn wants_it(&self) -> bool {
        self.entries.front().is_some_and(|first| first.state == State::Waiting)
            && self.entries.iter().any(|entry| entry.stays)
    }

    fn find(&mut self, id: ClaimId) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.claim.id == id)
    }

    fn ahead(&self, id: ClaimId) -> u32 {
        let ahead = self.entries.iter().position(|entry| entry.claim.id == id).unwrap_or(self.entries.len());
        // Who holds elsewhere is ahead, too.
        let elsewhere = self.entries.front().is_none_or(|first| first.state == State::Waiting);
        (ahead + usize::from(elsewhere)) as u32
    }
}

/// What a `join` finds.
pub(super) enum Joined {
    Act(Act),
    Queued(u32),
    Refused(Refusal),
    /// It stands there already.
    Known,
}

/// How a claim stands.
pub(super) enum Stand {
    Held(Token, Arc<Link>),
    Waiting(u32),
    /// Nobody knows yet.
    Asking,
}

/// What came of asking for a key.
pub(super) enum Taken {
    /// It is had.
    Had(Grip, Token),
    Busy,
    /// Not taken, or lost with its session.
    Failed,
}

/// All claims of a client.
#[derive(Default)]
pub(super) struct Desk {
    lines: HashMap<Key, Line>,
    places: HashMap<ClaimId, Key>,
}

impl Desk {
    pub(super) fn join(&mut self, claim: &Claim, key: Key, now: Moment) -> Joined {
        if self.places.contains_key(&claim.id) {
            return Joined::Known;
        }
        let line = self.lines.entry(key.clone()).or_default();
        if let Some(current) = line.entries.front().map(|e| e.claim.capacity).filter(|&c| c != claim.capacity)
        {
            return Joined::Refused(Refusal::Capacity { current });
        }
        if line.entries.len() >= QUEUE_CLAIMS_MAX {
            return Joined::Refused(Refusal::QueueFull { max: QUEUE_CLAIMS_MAX as u32 });
        }
        let alone = matches!(line.turn, Turn::Idle) && line.entries.is_empty();
        let ahead = line.ahead(claim.id);
        line.entries.push_back(Entry {
            claim: claim.clone(),
            state: if alone { State::Asking } else { State::Waiting },
            joined: now,
            due: now + claim.waiting_ttl(),
            stays: false,
            revoked: false,
        });
        self.places.insert(claim.id, key.clone());
        let asker = Asker { id: claim.id, ttl: claim.ttl };
        if alone {
            line.turn = Turn::Asking;
            Joined::Act(Act::Take { key, claim: asker, after: line.grip.take() })
        } else {
            Joined::Queued(ahead)
        }
    }

    /// What is to be done next for a key, if nobody does anything yet.
    pub(super) fn next(&mut self, key: Key) -> Option<Act> {
        let Slot::Occupied(mut place) = self.lines.entry(key.clone()) else { return None };
        let line = place.get_mut();
        match &line.turn {
            Turn::Idle => {}
            Turn::Asking => return None,
            Turn::Pursuing(pursuit) => {
                if !line.wants_it() {
                    pursuit.over.notify_one();
                }
                return None;
            }
        }
        if line.entries.front().is_some_and(|first| first.token().is_some()) {
            return None;
        }
        let stays = line.entries.iter().any(|entry| entry.stays);
        let Some(first) = line.entries.front_mut() else {
            return place.remove().grip.map(|grip| Act::LetGo { key, grip });
        };
        if line.grip.is_some() {
            first.state = State::Asking;
            line.turn = Turn::Asking;
            return Some(Act::Take { key, claim: first.asker(), after: line.grip.take() });
        }
        stays.then(|| {
            let pursuit = Arc::<Pursuit>::default();
            line.turn = Turn::Pursuing(Arc::clone(&pursuit));
            Act::Pursue { key, pursuit }
        })
    }

    /// An [`Act::Take`] is done; what its owner is to be told if the claim holds now. `first` if it was the claim's own
    /// `join`: then it does not stay if nobody knows how it stands.
    pub(super) fn taken(
        &mut self,
        key: &Key,
        id: ClaimId,
        first: bool,
        taken: Taken,
        now: Moment,
    ) -> Option<Hint> {
        let busy = matches!(taken, Taken::Busy);
        let line = self.lines.get_mut(key)?;
        line.turn = Turn::Idle;
        if let Taken::Had(grip, token) = taken
            && !grip.link.is_over()
        {
            line.grip = Some(grip);
            return self.hold(key, id, token, now);
        }
        if first && !busy {
            self.remove(id);
        } else if let Some(entry) = line.find(id) {
            entry.state = State::Waiting;
        }
        None
    }

    /// Who waited in the server has got the key; if nobody wants it, it is given back.
    pub(super) fn caught(
        &mut self,
        key: &Key,
        (grip, token): (Grip, Token),
        now: Moment,
    ) -> Result<Option<(ClaimId, Hint)>, Grip> {
        let Some(line) = self.lines.get_mut(key) else { return Err(grip) };
        if grip.link.is_over() || !line.wants_it() {
            return Err(grip);
        }
        line.turn = Turn::Idle;
        line.grip = Some(grip);
        let Some(id) = line.entries.front().map(|first| first.claim.id) else { return Ok(None) };
        Ok(self.hold(key, id, token, now).map(|hint| (id, hint)))
    }

    /// A pursuit has ended without the key.
    pub(super) fn abandoned(&mut self, key: &Key) {
        if let Some(line) = self.lines.get_mut(key) {
            line.turn = Turn::Idle;
        }
    }

    /// A claim holds from now on: what its owner is to be told.
    fn hold(&mut self, key: &Key, id: ClaimId, token: Token, now: Moment) -> Option<Hint> {
        let line = self.lines.get_mut(key)?;
        let entry = line.entries.iter_mut().find(|entry| entry.claim.id == id)?;
        if entry.due <= now {
            self.remove(id);
            return None;
        }
        entry.state = State::Held(token);
        let (grip, left) = (line.grip.as_ref()?, entry.due.since(now));
        // Under the deadline of its last renewal, unless the session may end before that.
        Some(if grip.link.left(now) >= left { Hint::Held(token) } else { Hint::Look })
    }

    /// How a claim stands that is alive.
    pub(super) fn stand(&self, id: ClaimId, now: Moment) -> Option<Stand> {
        let line = self.lines.get(self.places.get(&id)?)?;
        let entry = line.entries.iter().find(|entry| entry.claim.id == id)?;
        if entry.due <= now || entry.revoked {
            return None;
        }
        match (entry.state, &line.grip) {
            (State::Held(token), Some(grip)) => Some(Stand::Held(token, Arc::clone(&grip.link))),
            (State::Held(_), None) | (State::Asking, _) => Some(Stand::Asking),
            (State::Waiting, _) => Some(Stand::Waiting(line.ahead(id))),
        }
    }

    /// A claim's owner is heard of: it lives on, and if it waits, it stays. Its key.
    pub(super) fn renew(&mut self, id: ClaimId, ttl: Duration, now: Moment) -> Option<Key> {
        let key = self.places.get(&id)?.clone();
        let entry = self.lines.get_mut(&key)?.find(id)?;
        let ttl = if entry.token().is_some() { ttl } else { ttl.min(WAITING_TTL_MAX) };
        entry.due = entry.due.max(now + ttl);
        entry.stays = true;
        Some(key)
    }

    /// The same for one that has just come to hold, at its `join`.
    pub(super) fn renew_if_held(&mut self, id: ClaimId, ttl: Duration, now: Moment) {
        let Some(key) = self.places.get(&id) else { return };
        let entry = self.lines.get_mut(key).and_then(|line| line.find(id));
        if let Some(entry) = entry.filter(|entry| entry.token().is_some()) {
            entry.due = entry.due.max(now + ttl);
        }
    }

    /// A claim's owner waits for it. Its key.
    pub(super) fn stay(&mut self, id: ClaimId) -> Option<Key> {
        let key = self.places.get(&id)?.clone();
        self.lines.get_mut(&key)?.find(id)?.stays = true;
        Some(key)
    }

    /// Ends a claim; its key, and whether it held.
    pub(super) fn leave(&mut self, id: ClaimId, manner: Manner) -> Option<(Key, bool)> {
        let key = self.places.get(&id)?.clone();
        let entry = self.lines.get_mut(&key)?.find(id)?;
        let held = entry.token().is_some();
        if manner == Manner::Revoke && entry.state != State::Waiting {
            entry.revoked = true;
        } else {
            self.remove(id);
        }
        Some((key, held))
    }

    fn remove(&mut self, id: ClaimId) {
        let Some(line) = self.places.remove(&id).and_then(|key| self.lines.get_mut(&key)) else { return };
        line.entries.retain(|entry| entry.claim.id != id);
    }

    /// Removes the dead; their keys.
    pub(super) fn bury_dead(&mut self, now: Moment) -> Vec<Key> {
        self.remove_all(|_, entry| entry.due <= now)
    }

    /// Removes those whose session is over; their keys.
    pub(super) fn bury_lost(&mut self) -> Vec<Key> {
        let lost = self.remove_all(|line, entry| {
            entry.token().is_some() && line.as_ref().is_none_or(|grip| grip.link.is_over())
        });
        for key in &lost {
            if let Some(line) = self.lines.get_mut(key) {
                line.grip = None;
            }
        }
        lost
    }

    fn remove_all(&mut self, goes: impl Fn(&Option<Grip>, &Entry) -> bool) -> Vec<Key> {
        let mut keys = Vec::new();
        for (key, line) in &mut self.lines {
            let before = line.entries.len();
            let (grip, places) = (&line.grip, &mut self.places);
            line.entries.retain(|entry| {
                let goes = goes(grip, entry);
                if goes {
                    places.remove(&entry.claim.id);
                }
                !goes
            });
            if line.entries.len() < before {
                keys.push(key.clone());
            }
        }
        keys
    }

    /// When the next one is due.
    pub(super) fn next_due(&self) -> Moment {
        let due = self.lines.values().flat_map(|line| &line.entries).map(|entry| entry.due);
        due.min().unwrap_or(Moment::NEVER)
    }

    /// The claims as an onlooker sees them, by name.
    pub(super) fn view(&self, prefix: &str, now: Moment) -> Vec<(Key, QueueView)> {
        let mut queues: Vec<(Key, QueueView)> = Vec::new();
        for (key, line) in &self.lines {
            let mut by_name: HashMap<Name, QueueView> = HashMap::new();
            let alive = line.entries.iter().filter(|entry| entry.due > now);
            for entry in alive.filter(|entry| entry.claim.name.as_str().starts_with(prefix)) {
                let name = &entry.claim.name;
                let queue = by_name.entry(name.clone()).or_insert_with(|| QueueView {
                    name: name.clone(),
                    capacity: entry.claim.capacity,
                    claims: Vec::new(),
                });
                queue.claims.push(ClaimView {
                    id: entry.claim.id,
                    weight: entry.claim.weight,
                    token: entry.token(),
                    age: now.since(entry.joined),
                    ttl_left: entry.due.since(now),
                    revoked: entry.revoked,
                    meta: entry.claim.meta.clone(),
                });
            }
            queues.extend(by_name.into_values().map(|queue| (key.clone(), queue)));
        }
        queues
    }
}
