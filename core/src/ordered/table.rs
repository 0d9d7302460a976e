//! The claims that a client has in a store, and until when each of them lives by its own refreshes.
//!
//! No I/O and no clock reads here: every change is told the time.

use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;

use crate::claim::{Claim, ClaimId, WAITING_TTL_MAX};
use crate::clock::Moment;
use crate::name::Name;
use crate::ordered::rule::Place;
use crate::ordered::session::Session;
use crate::ordered::store::Key;
use crate::token::Token;

/// After a failed try to end a contender, how long until the next.
const RETRY: Duration = Duration::from_secs(1);

/// What is known of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It has been sent, or is about to be, and nobody knows what came of it.
    Entering,
    Waiting,
    Held(Token),
    /// Held, and to be let run out.
    Revoked,
    /// Its contender, if there is one, must go.
    Left,
}

/// A claim.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) claim: Claim,
    pub(super) state: State,
    /// Under which session, once it has one.
    pub(super) session: Option<Arc<Session>>,
    /// Its contender, once it is known.
    pub(super) key: Option<Key>,
    /// When it is dead unless it is refreshed; of one that has left, when to try again to end its contender.
    pub(super) due: Moment,
    /// Whom it waits for, and the stamp of the line in which they stood.
    pub(super) blockers: (Vec<Key>, u64),
}

/// What a `join` finds.
pub(super) enum Found {
    /// Nothing, or a try of which nobody knows what came: enter.
    Enter,
    /// It stands already: renew.
    Standing,
    Over,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Table {
    entries: HashMap<ClaimId, Entry>,
}

impl Table {
    /// A `join` has come.
    pub(super) fn admit(&mut self, claim: &Claim, now: Moment) -> Found {
        let due = now + claim.waiting_ttl();
        let entry = self.entries.entry(claim.id).or_insert_with(|| Entry {
            claim: claim.clone(),
            state: State::Entering,
            session: None,
            key: None,
            due,
            blockers: (Vec::new(), 0),
        });
        match entry.state {
            State::Left | State::Revoked => Found::Over,
            _ if entry.due <= now => Found::Over,
            State::Entering => Found::Enter,
            State::Waiting | State::Held(_) => Found::Standing,
        }
    }

    /// A claim that is alive.
    pub(super) fn alive(&self, id: ClaimId, now: Moment) -> Option<&Entry> {
        self.entries.get(&id).filter(|e| e.due > now && !matches!(e.state, State::Left | State::Revoked))
    }

    /// Any claim that is known.
    pub(super) fn get_mut(&mut self, id: ClaimId) -> Option<&mut Entry> {
        self.entries.get_mut(&id)
    }

    /// Takes in where a claim stands; `false` if it is over. `now` is when that was asked, if its owner did, and then
    /// it lives on for `ttl`.
    pub(super) fn settle(
        &mut self,
        id: ClaimId,
        place: &Place,
        stamp: u64,
        now: Moment,
        ttl: Option<Duration>,
    ) -> bool {
        let Some(entry) = self.entries.get_mut(&id) else { return false };
        if matches!(entry.state, State::Left | State::Revoked) || entry.due <= now {
            return false;
        }
        let ttl = match place {
            Place::Held(token) => {
                entry.state = State::Held(*token);
                entry.blockers.0.clear();
                ttl
            }
            Place::Queued { blockers, .. } => {
                // A hold is one until its owner ends it or its session does: an older look at the line is late.
                if !matches!(entry.state, State::Held(_)) {
                    entry.state = State::Waiting;
                    entry.blockers = (blockers.clone(), stamp);
                }
                ttl.map(|ttl| ttl.min(WAITING_TTL_MAX))
            }
            Place::Refused(_) | Place::Absent => {
                entry.state = State::Left;
                entry.due = now;
                return false;
            }
        };
        if let Some(ttl) = ttl {
            entry.due = entry.due.max(now + ttl);
        }
        true
    }

    /// Forgets a claim.
    pub(super) fn forget(&mut self, id: ClaimId) -> Option<Entry> {
        self.entries.remove(&id)
    }

    /// Forgets a claim that never reached the store.
    pub(super) fn forget_unsent(&mut self, id: ClaimId) {
        if self.entries.get(&id).is_some_and(|e| e.key.is_none() && e.state == State::Entering) {
            self.entries.remove(&id);
        }
    }

    /// Marks a claim as one that must go; `None` if it is not known.
    pub(super) fn leave(&mut self, id: ClaimId, now: Moment) -> Option<Going> {
        let entry = self.entries.get_mut(&id)?;
        entry.state = State::Left;
        entry.due = now + RETRY;
        Some(Going { id, name: entry.claim.name.clone(), key: entry.key.clone() })
    }

    /// The contenders that must go now: of claims that died, and of those that could not be ended before.
    pub(super) fn overdue(&mut self, now: Moment) -> Vec<Going> {
        let mut going = Vec::new();
        for (id, entry) in &mut self.entries {
            if entry.due <= now {
                entry.state = State::Left;
                entry.due = now + RETRY;
                going.push(Going { id: *id, name: entry.claim.name.clone(), key: entry.key.clone() });
            }
        }
        going
    }

    /// When the next one is due.
    pub(super) fn next_due(&self) -> Moment {
        self.entries.values().map(|e| e.due).min().unwrap_or(Moment::NEVER)
    }

    /// Forgets the claims of sessions that are over; whether there were any.
    pub(super) fn purge(&mut self) -> bool {
        let before = self.entries.len();
        self.entries.retain(|_, e| !e.session.as_ref().is_some_and(|s| s.is_over()));
        self.entries.len() < before
    }

    /// The claims that stand under a session, as far as they are known to.
    pub(super) fn under(&self, session: &Arc<Session>) -> Vec<ClaimId> {
        let stands = |e: &Entry| e.is_under(session) && e.key.is_some() && e.state != State::Left;
        self.entries.iter().filter(|(_, e)| stands(e)).map(|(id, _)| *id).collect()
    }

    /// Whether a session has any claims.
    pub(super) fn uses(&self, session: &Arc<Session>) -> bool {
        self.entries.values().any(|e| e.is_under(session))
    }

    /// Whether a claim is known.
    pub(super) fn knows(&self, id: ClaimId) -> bool {
        self.entries.contains_key(&id)
    }
}

/// A contender that must go.
#[derive(Clone, Debug)]
pub(super) struct Going {
    pub(super) id: ClaimId,
    pub(super) name: Name,
    /// `None` if it has still to be found.
    pub(super) key: Option<Key>,
}

impl Entry {
    fn is_under(&self, session: &Arc<Session>) -> bool {
        self.session.as_ref().is_some_and(|s| Arc::ptr_eq(s, session))
    }
}
