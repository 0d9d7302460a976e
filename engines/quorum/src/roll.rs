//! What this process knows of its claims: under which ids they stand at the nodes, where they wait, and which token
//! a majority has accepted.
//!
//! A claim that is withdrawn from a node is never joined there again under the same id: a `leave` may arrive late
//! or twice, and would end what was joined after it was sent. So every node has its own count of tries, and the id
//! of a try differs from the claim's in the last 16 bits.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use hashbrown::HashMap;
use leasehold_core::{Claim, ClaimId, ClaimRef, Moment, Token};
use smallvec::smallvec;

use crate::round::PerNode;

/// The bits of an id that tell tries apart.
const TRY_BITS: u32 = u16::BITS;
/// Below this many claims nobody goes looking for dead ones.
const SWEEP_MIN: usize = 1024;

/// The id of a try.
pub(crate) fn id_of(claim: ClaimId, nth: u16) -> ClaimId {
    ClaimId(claim.0 ^ u128::from(nth))
}

/// Whether two ids are tries of one claim.
pub(crate) fn is_same(one: ClaimId, other: ClaimId) -> bool {
    one.0 >> TRY_BITS == other.0 >> TRY_BITS
}

/// What is known of a claim.
#[derive(Debug)]
pub(crate) struct Entry {
    /// What was joined.
    pub(crate) claim: Claim,
    /// The token that a majority has accepted: it is held.
    pub(crate) accepted: Option<Token>,
    /// The token that it has at each node, as far as that is known. It tells lives apart: where the claim has another
    /// one, it died and a late request has joined it anew, and somebody else may have been let in between.
    pub(crate) lives: PerNode<Option<Token>>,
    /// The node in whose queue it waits.
    pub(crate) queue: Option<usize>,
    /// Which try is the current one, by node.
    pub(crate) tries: PerNode<u16>,
    /// It may stand at other nodes than that.
    pub(crate) scattered: bool,
    /// The queue's node has said that it is the head.
    pub(crate) hinted: bool,
    /// How often it was the head in vain.
    pub(crate) vain: u32,
    /// How often in a row the queue's node has not answered.
    pub(crate) misses: u32,
    /// A request that may change the above is under way.
    pub(crate) busy: bool,
    /// Requests that wait for that one to be done.
    pub(crate) waiting: Vec<Waker>,
    /// It is over, or wanted no more; what is left of it is known so that its owner can leave it.
    pub(crate) leaving: bool,
    /// When it is dead at the latest.
    pub(crate) until: Moment,
    /// Who watches it and must be told when it waits at another node.
    pub(crate) watcher: Option<Waker>,
}

impl Entry {
    fn new(claim: Claim, nodes: usize, until: Moment) -> Self {
        Self {
            claim,
            accepted: None,
            lives: PerNode::new(),
            queue: None,
            tries: smallvec![0; nodes],
            scattered: false,
            hinted: false,
            vain: 0,
            misses: 0,
            busy: false,
            waiting: Vec::new(),
            leaving: false,
            until,
            watcher: None,
        }
    }

    /// What is sent to a node about it.
    pub(crate) fn key(&self, node: usize) -> ClaimRef {
        ClaimRef { name: self.claim.name.clone(), id: id_of(self.claim.id, self.tries[node]) }
    }

    /// It waits at this node from now on.
    pub(crate) fn waits_at(&mut self, node: usize) {
        if self.queue.replace(node) != Some(node) {
            self.hinted = false;
            if let Some(watcher) = self.watcher.take() {
                watcher.wake();
            }
        }
    }
}

/// The claims of this process.
#[derive(Debug, Default)]
pub(crate) struct Roll {
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    by_id: HashMap<ClaimId, Entry>,
    sweep_at: usize,
}

impl Roll {
    fn lock(&self) -> MutexGuard<'_, Entries> {
        // Plain assignments: a panic elsewhere cannot leave one half done.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at a claim, or changes what is known of it.
    pub(crate) fn with<T>(&self, id: ClaimId, look: impl FnOnce(&mut Entry) -> T) -> Option<T> {
        self.lock().by_id.get_mut(&id).map(look)
    }

    /// The same; a claim that nothing is known of is entered first.
    pub(crate) fn enter<T>(
        &self,
        claim: &Claim,
        nodes: usize,
        now: Moment,
        look: impl FnOnce(&mut Entry) -> T,
    ) -> T {
        let mut entries = self.lock();
        if entries.by_id.len() >= entries.sweep_at.max(SWEEP_MIN) {
            entries.by_id.retain(|_, entry| entry.until > now || entry.busy);
            entries.sweep_at = entries.by_id.len() * 2;
        }
        let until = now + claim.ttl;
        let new = || Entry::new(claim.clone(), nodes, until);
        look(entries.by_id.entry(claim.id).or_insert_with(new))
    }

    /// Nothing is to be known of a claim any more.
    pub(crate) fn forget(&self, id: ClaimId) {
        let gone = self.lock().by_id.remove(&id);
        gone.into_iter().flat_map(|entry| entry.waiting).for_each(Waker::wake);
    }

    /// Whether what a node has under this try is wanted.
    pub(crate) fn wants(&self, id: ClaimId, node: usize, nth: u16) -> bool {
        self.with(id, |entry| !entry.leaving && entry.tries[node] == nth).unwrap_or(false)
    }
}
