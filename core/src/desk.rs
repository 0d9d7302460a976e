//! What one client has of each key in the server, and which of its claims that is for. Sessions may take a lock that
//! they have again and again, so it is here that the claims of one client exclude each other.
//!
//! For engines whose locks are a database's, which belong to sessions and know neither claims nor tokens. No I/O and no clock
//! reads: what there is to do at the server is told as an [`Act`], one at a time for each key.

use std::collections::VecDeque;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;
use hashbrown::hash_map::Entry as Slot;
use tokio::sync::{Notify, OwnedSemaphorePermit};

use crate::claim::{Claim, ClaimId, Manner, WAITING_TTL_MAX};
use crate::engine::{ClaimView, Hint, QueueView, Refusal};
use crate::ledger::QUEUE_CLAIMS_MAX;
use crate::{Moment, Name, Token};

/// A session of the server.
pub trait Session {
    /// Whether it is over, and with it all that it held.
    fn is_over(&self) -> bool;

    /// How long it surely lasts yet.
    fn left(&self, now: Moment) -> Duration;
}

/// What a client has of a key in the server: by which session, and whether with others.
pub struct Grip<L> {
    /// The session.
    pub link: Arc<L>,
    /// Whether others may have it too.
    pub shared: bool,
    /// If that session is one of those that wait.
    pub seat: Option<OwnedSemaphorePermit>,
}

/// What is to be done at the server.
pub enum Act<K, L> {
    /// Takes the key for a claim if it is free, after letting go of what there was.
    Take {
        /// What is taken.
        key: K,
        /// Who wants it.
        claim: Asker,
        /// What is let go of first.
        after: Option<Grip<L>>,
    },
    /// Lets one more reader in.
    Admit {
        /// What is read under.
        key: K,
        /// Who wants to read.
        claim: Asker,
    },
    /// Lets go of a key.
    LetGo {
        /// What is let go of.
        key: K,
        /// How it was had.
        grip: Grip<L>,
    },
    /// Waits for the key until it is had or [`Pursuit::over`].
    Pursue {
        /// What is waited for.
        key: K,
        /// Who waits, and until when.
        pursuit: Arc<Pursuit>,
    },
}

/// For whom something is asked.
#[derive(Clone, Copy, Debug)]
pub struct Asker {
    /// The claim.
    pub id: ClaimId,
    /// Whether it shares.
    pub shared: bool,
    /// How long it is to last.
    pub ttl: Duration,
}

/// Somebody waits for a key in the server.
#[derive(Debug)]
pub struct Pursuit {
    /// Whether it is wanted with others.
    pub shared: bool,
    /// Notified once when nobody needs it any more.
    pub over: Notify,
}

/// Who is next to change what a client has of a key.
enum Turn {
    /// Nobody.
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
        Asker { id: self.claim.id, shared: is_reader(&self.claim), ttl: self.claim.ttl }
    }

    fn token(&self) -> Option<Token> {
        match self.state {
            State::Held(token) => Some(token),
            State::Asking | State::Waiting => None,
        }
    }
}

/// The claims to one key, those that hold first.
struct Line<L> {
    entries: VecDeque<Entry>,
    grip: Option<Grip<L>>,
    turn: Turn,
    /// Whether a writer elsewhere waits for the readers here: nobody joins them any more.
    closed: bool,
}

impl<L> Default for Line<L> {
    fn default() -> Self {
        Self { entries: VecDeque::new(), grip: None, turn: Turn::Idle, closed: false }
    }
}

impl<L> Line<L> {
    /// Whether one more reader may be let in beside those that hold.
    fn is_open(&self) -> bool {
        !self.closed && self.grip.as_ref().is_some_and(|grip| grip.shared)
    }

    /// Whether the first one waits for what this pursuit is after.
    fn wants(&self, pursuit: &Pursuit) -> bool {
        let first = self.entries.front().filter(|first| first.state == State::Waiting);
        first.is_some_and(|first| is_reader(&first.claim) == pursuit.shared)
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
pub enum Joined<K, L> {
    /// That must be done first.
    Act(Act<K, L>),
    /// So many are ahead of it.
    Queued(u32),
    /// It cannot stand there.
    Refused(Refusal),
    /// It stands there already.
    Known,
}

/// How a claim stands.
pub enum Stand<L> {
    /// It holds, by this session.
    Held(Token, Arc<L>),
    /// So many are ahead of it.
    Waiting(u32),
    /// Nobody knows yet.
    Asking,
}

/// What came of asking for a key.
pub enum Taken<L> {
    /// It is had.
    Had(Grip<L>, Token),
    /// Somebody else has it.
    Busy,
    /// Not taken, or lost with its session.
    Failed,
}

/// All claims of a client, by the keys `K` that the server knows, over sessions `L`.
pub struct Desk<K, L> {
    lines: HashMap<K, Line<L>>,
    places: HashMap<ClaimId, K>,
}

impl<K, L> Default for Desk<K, L> {
    fn default() -> Self {
        Self { lines: HashMap::new(), places: HashMap::new() }
    }
}

impl<K: Clone + Eq + Hash, L: Session> Desk<K, L> {
    /// A claim stands in line from now on, or is refused.
    pub fn join(&mut self, claim: &Claim, key: K, now: Moment) -> Joined<K, L> {
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
        let idle = matches!(line.turn, Turn::Idle);
        let alone = idle && line.entries.is_empty();
        let admitted = idle
            && line.is_open()
            && is_reader(claim)
            && line.entries.back().is_some_and(|last| last.token().is_some());
        let ahead = line.ahead(claim.id);
        line.entries.push_back(Entry {
            claim: claim.clone(),
            state: if alone || admitted { State::Asking } else { State::Waiting },
            joined: now,
            due: now + claim.waiting_ttl(),
            stays: false,
            revoked: false,
        });
        self.places.insert(claim.id, key.clone());
        let asker = Asker { id: claim.id, shared: is_reader(claim), ttl: claim.ttl };
        if alone {
            line.turn = Turn::Asking;
            Joined::Act(Act::Take { key, claim: asker, after: line.grip.take() })
        } else if admitted {
            line.turn = Turn::Asking;
            Joined::Act(Act::Admit { key, claim: asker })
        } else {
            Joined::Queued(ahead)
        }
    }

    /// What is to be done next for a key, if nobody does anything yet.
    pub fn next(&mut self, key: &K) -> Option<Act<K, L>> {
        let Slot::Occupied(mut place) = self.lines.entry(key.clone()) else { return None };
        let line = place.get_mut();
        match &line.turn {
            Turn::Idle => {}
            Turn::Asking => return None,
            Turn::Pursuing(pursuit) => {
                if !line.wants(pursuit) {
                    pursuit.over.notify_one();
                }
                return None;
            }
        }
        let holders = line.entries.iter().take_while(|entry| entry.token().is_some()).count();
        if holders > 0 {
            let open = line.is_open();
            let reader = line.entries.get_mut(holders).filter(|next| open && is_reader(&next.claim))?;
            reader.state = State::Asking;
            line.turn = Turn::Asking;
            return Some(Act::Admit { key: key.clone(), claim: reader.asker() });
        }
        let stays = line.entries.iter().any(|entry| entry.stays);
        let Some(first) = line.entries.front_mut() else {
            return place.remove().grip.map(|grip| Act::LetGo { key: key.clone(), grip });
        };
        if line.grip.is_some() {
            first.state = State::Asking;
            line.turn = Turn::Asking;
            return Some(Act::Take { key: key.clone(), claim: first.asker(), after: line.grip.take() });
        }
        stays.then(|| {
            let pursuit = Arc::new(Pursuit { shared: is_reader(&first.claim), over: Notify::new() });
            line.turn = Turn::Pursuing(Arc::clone(&pursuit));
            Act::Pursue { key: key.clone(), pursuit }
        })
    }

    /// An [`Act::Take`] is done; what its owner is to be told if the claim holds now. `first` if it was the claim's own `join`: then it does
    /// not stay if nobody knows how it stands.
    pub fn taken(&mut self, key: &K, id: ClaimId, first: bool, taken: Taken<L>, now: Moment) -> Option<Hint> {
        let busy = matches!(taken, Taken::Busy);
        let line = self.lines.get_mut(key)?;
        line.turn = Turn::Idle;
        if let Taken::Had(grip, token) = taken
            && !grip.link.is_over()
        {
            line.grip = Some(grip);
            line.closed = false;
            return self.hold(key, id, token, now);
        }
        if first && !busy {
            self.remove(id);
        } else if let Some(entry) = line.find(id) {
            entry.state = State::Waiting;
        }
        None
    }

    /// An [`Act::Admit`] is done.
    pub fn admitted(&mut self, key: &K, id: ClaimId, token: Option<Token>, now: Moment) -> Option<Hint> {
        let line = self.lines.get_mut(key)?;
        line.turn = Turn::Idle;
        // What they read under may have been lost meanwhile.
        let holds = line.grip.as_ref().is_some_and(|grip| grip.shared && !grip.link.is_over());
        match token.filter(|_| holds) {
            Some(token) => self.hold(key, id, token, now),
            None => {
                line.closed = true;
                if let Some(entry) = line.find(id) {
                    entry.state = State::Waiting;
                }
                None
            }
        }
    }

    /// Who waited in the server has got the key; if nobody wants it, it is given back.
    pub fn caught(
        &mut self,
        key: &K,
        pursuit: &Arc<Pursuit>,
        (grip, token): (Grip<L>, Token),
        now: Moment,
    ) -> Result<Option<(ClaimId, Hint)>, Grip<L>> {
        let Some(line) = self.lines.get_mut(key) else { return Err(grip) };
        if grip.link.is_over() || !line.wants(pursuit) {
            return Err(grip);
        }
        line.turn = Turn::Idle;
        line.closed = false;
        line.grip = Some(grip);
        let Some(id) = line.entries.front().map(|first| first.claim.id) else { return Ok(None) };
        Ok(self.hold(key, id, token, now).map(|hint| (id, hint)))
    }

    /// A pursuit has ended without the key.
    pub fn abandoned(&mut self, key: &K) {
        if let Some(line) = self.lines.get_mut(key) {
            line.turn = Turn::Idle;
        }
    }

    /// A claim holds from now on: what its owner is to be told.
    fn hold(&mut self, key: &K, id: ClaimId, token: Token, now: Moment) -> Option<Hint> {
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
    pub fn stand(&self, id: ClaimId, now: Moment) -> Option<Stand<L>> {
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
    pub fn renew(&mut self, id: ClaimId, ttl: Duration, now: Moment) -> Option<K> {
        let key = self.places.get(&id)?.clone();
        let entry = self.lines.get_mut(&key)?.find(id)?;
        let ttl = if entry.token().is_some() { ttl } else { ttl.min(WAITING_TTL_MAX) };
        entry.due = entry.due.max(now + ttl);
        entry.stays = true;
        Some(key)
    }

    /// The same for one that has just come to hold, at its `join`.
    pub fn renew_if_held(&mut self, id: ClaimId, ttl: Duration, now: Moment) {
        let Some(key) = self.places.get(&id) else { return };
        let entry = self.lines.get_mut(key).and_then(|line| line.find(id));
        if let Some(entry) = entry.filter(|entry| entry.token().is_some()) {
            entry.due = entry.due.max(now + ttl);
        }
    }

    /// A claim's owner waits for it. Its key.
    pub fn stay(&mut self, id: ClaimId) -> Option<K> {
        let key = self.places.get(&id)?.clone();
        self.lines.get_mut(&key)?.find(id)?.stays = true;
        Some(key)
    }

    /// Ends a claim; its key, and whether it held.
    pub fn leave(&mut self, id: ClaimId, manner: Manner) -> Option<(K, bool)> {
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
    pub fn bury_dead(&mut self, now: Moment) -> Vec<K> {
        self.remove_all(|_, entry| entry.due <= now)
    }

    /// Removes those whose session is over; their keys.
    pub fn bury_lost(&mut self) -> Vec<K> {
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

    fn remove_all(&mut self, goes: impl Fn(&Option<Grip<L>>, &Entry) -> bool) -> Vec<K> {
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
    pub fn next_due(&self) -> Moment {
        let due = self.lines.values().flat_map(|line| &line.entries).map(|entry| entry.due);
        due.min().unwrap_or(Moment::NEVER)
    }

    /// The claims as an onlooker sees them, by name.
    pub fn view(&self, prefix: &str, now: Moment) -> Vec<(K, QueueView)> {
        let mut queues: Vec<(K, QueueView)> = Vec::new();
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

fn is_reader(claim: &Claim) -> bool {
    claim.weight < claim.capacity
}
