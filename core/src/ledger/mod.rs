//! The ledger: the pure state machine that says what an engine must do.
//!
//! It knows queues, tokens and the time that it is told; it does no I/O and reads no clock. It runs the memory
//! engine and the simulator, and is the oracle against which every other engine is compared.

mod queue;

use hashbrown::HashMap;

use crate::claim::{Claim, Leave, Refresh};
use crate::clock::Moment;
use crate::engine::{Page, Query, Standing};
use crate::name::Name;
use crate::token::Mint;

pub use queue::{Entry, HandOver, QUEUE_CLAIMS_MAX, Queue};

/// Below this many queues nobody goes looking for dead ones.
const SWEEP_QUEUES_MIN: usize = 1024;

/// All queues of an engine.
#[derive(Clone, Debug)]
pub struct Ledger {
    queues: HashMap<Name, Queue>,
    mint: Mint,
    /// Look for queues of which only dead claims are left when there are this many.
    sweep_at: usize,
    out: Vec<HandOver>,
    /// The room of the last queue that became empty, for the next that is needed.
    spare: Queue,
}

impl Ledger {
    /// An empty ledger whose first token is above `floor`.
    pub fn new(floor: u64) -> Self {
        Self {
            queues: HashMap::new(),
            mint: Mint::above(floor),
            sweep_at: SWEEP_QUEUES_MIN,
            out: Vec::new(),
            spare: Queue::default(),
        }
    }

    /// Queues a claim, or renews it if it is there.
    pub fn join(&mut self, now: Moment, claim: &Claim) -> Standing {
        if self.queues.len() >= self.sweep_at {
            self.sweep(now);
        }
        let Self { queues, mint, out, spare, .. } = self;
        match queues.entry_ref(claim.name.as_str()) {
            hashbrown::hash_map::EntryRef::Occupied(mut queue) => queue.get_mut().join(now, claim, mint, out),
            hashbrown::hash_map::EntryRef::Vacant(slot) => {
                let name = claim.name.clone();
                slot.insert_entry_with_key(name, std::mem::take(spare)).get_mut().join(now, claim, mint, out)
            }
        }
    }

    /// Renews a claim.
    pub fn refresh(&mut self, now: Moment, ask: &Refresh) -> Standing {
        let Some(queue) = self.queues.get_mut(ask.claim.name.as_str()) else { return Standing::Gone };
        let standing = queue.refresh(now, ask.claim.id, (ask.ttl, ask.raise), &mut self.mint, &mut self.out);
        if queue.is_empty() {
            self.forget(&ask.claim.name);
        }
        standing
    }

    /// Ends a claim.
    pub fn leave(&mut self, now: Moment, ask: &Leave) {
        let Some(queue) = self.queues.get_mut(ask.claim.name.as_str()) else { return };
        queue.leave(now, ask.claim.id, ask.manner, &mut self.mint, &mut self.out);
        if queue.is_empty() {
            self.forget(&ask.claim.name);
        }
    }

    /// The hand-overs since the last call: whoever owns these claims wants to hear of it.
    pub fn hand_overs(&mut self) -> std::vec::Drain<'_, HandOver> {
        self.out.drain(..)
    }

    /// The source of this ledger's tokens.
    pub fn mint(&mut self) -> &mut Mint {
        &mut self.mint
    }

    /// Who stands where.
    pub fn inspect(&self, now: Moment, query: &Query) -> Page {
        let mut names: Vec<&Name> = self
            .queues
            .keys()
            .filter(|n| n.as_str().starts_with(&query.prefix) && query.after.as_ref().is_none_or(|a| *n > a))
            .collect();
        names.sort_unstable();
        let mut queues = names.into_iter().filter_map(|n| self.queues[n].view(now, n));
        let mut page = Page { queues: queues.by_ref().take(query.limit).collect(), next: None };
        if queues.next().is_some() {
            page.next = page.queues.last().map(|q| q.name.clone());
        }
        page
    }

    /// Forgets an empty queue, but not the room that it took.
    fn forget(&mut self, name: &Name) {
        if let Some(queue) = self.queues.remove(name.as_str()) {
            self.spare = queue;
        }
    }

    /// Forgets queues in which nobody is alive; costs less than one look at a queue a join.
    fn sweep(&mut self, now: Moment) {
        self.queues.retain(|_, queue| queue.entries().any(|e| e.deadline > now));
        self.sweep_at = SWEEP_QUEUES_MIN.max(self.queues.len() * 2);
    }
}

#[cfg(test)]
mod tests;
