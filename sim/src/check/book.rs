//! What became of every claim at the engine, kept apart from the ledger: from requests and answers alone.
//!
//! It checks that a claim that was not refreshed in time is answered `Gone` for ever, and it knows of each claim
//! that is left at the end whether its owner could have ended it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use leasehold_core::{Claim, ClaimId, Leave, Manner, Moment, Refresh, Standing};

use super::{Rule, Violation};
use crate::executor::NodeId;
use crate::network::server::Peer;

/// What is known of a claim.
#[derive(Clone, Debug)]
pub struct Record {
    /// Whose it is.
    pub node: NodeId,
    /// Of which of the node's processes.
    pub life: u32,
    /// The call that made it, as its payload says.
    pub call: Option<Arc<str>>,
    /// When it first arrived, in the order of arrivals.
    pub arrival: u64,
    /// Since when it is held, by the engine's clock.
    held_at: Option<Moment>,
    /// When it was held for the first time.
    first_held_at: Option<Moment>,
    at_least: Duration,
    /// Until when the engine may have it.
    alive_until: Moment,
    /// The last arrival of a join that made it, and of a leave that ended it.
    made: u64,
    ended: u64,
    asked_to_leave: bool,
}

impl Record {
    /// Whether only its TTL can end it: it was made (again) by a join that arrived after the last leave, when its
    /// owner had already let go of it; or it is kept for its at-least hold.
    pub fn is_excused(&self, now: Moment) -> bool {
        let late_join = self.asked_to_leave && self.made > self.ended;
        let kept = self.ended > 0 && self.held_at.is_some_and(|at| now < at + self.at_least);
        late_join || kept
    }

    /// Until when it must keep others out, by the engine's clock.
    pub fn kept_until(&self) -> Option<Moment> {
        self.first_held_at.map(|at| at + self.at_least)
    }
}

/// All claims.
#[derive(Debug, Default)]
pub struct Book {
    records: BTreeMap<ClaimId, Record>,
    /// Leaves that were sent before any join arrived.
    early: Vec<ClaimId>,
    count: u64,
}

impl Book {
    /// What is known of a claim.
    pub fn get(&self, id: ClaimId) -> Option<&Record> {
        self.records.get(&id)
    }

    /// All claims.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.records.values()
    }

    /// How long the calls whose claims were first held since then keep others out at the least, together.
    pub fn kept_since(&self, since: Moment) -> Duration {
        let held = self.records.values().filter(|r| r.first_held_at.is_some_and(|at| at >= since));
        // A call that loses its claims and makes new ones has no right to more patience.
        let calls: BTreeMap<_, Duration> = held.map(|r| (r.call.as_deref(), r.at_least)).collect();
        calls.values().sum()
    }

    /// A leave was sent.
    pub(crate) fn asked_to_leave(&mut self, leaves: &[Leave]) {
        for leave in leaves.iter().filter(|l| l.manner != Manner::Revoke) {
            match self.records.get_mut(&leave.claim.id) {
                Some(record) => record.asked_to_leave = true,
                None => self.early.push(leave.claim.id),
            }
        }
    }

    /// A join arrived.
    pub(crate) fn joined(&mut self, now: Moment, claim: &Claim, peer: &Peer, standing: &Standing) {
        self.count += 1;
        let count = self.count;
        let asked_to_leave = self.early.contains(&claim.id);
        let record = self.records.entry(claim.id).or_insert_with(|| Record {
            node: peer.node,
            life: peer.life,
            call: claim.meta.payload.clone(),
            arrival: count,
            held_at: None,
            first_held_at: None,
            at_least: claim.at_least,
            alive_until: Moment::BOOT,
            made: count,
            ended: 0,
            asked_to_leave,
        });
        if record.alive_until <= now || record.ended > record.made {
            record.made = count;
            record.held_at = None;
            record.alive_until = Moment::BOOT;
        }
        record.stands(now, standing);
    }

    /// A refresh arrived.
    pub(crate) fn refreshed(
        &mut self,
        now: Moment,
        ask: &Refresh,
        standing: &Standing,
    ) -> Result<(), Violation> {
        let Some(record) = self.records.get_mut(&ask.claim.id) else { return Ok(()) };
        if record.alive_until <= now && matches!(standing, Standing::Held { .. } | Standing::Queued { .. }) {
            return Err(Violation::new(
                Rule::DeadForEver,
                format!(
                    "{:?} died {:?} ago and is answered {standing:?}",
                    ask.claim.id,
                    now.since(record.alive_until)
                ),
            ));
        }
        record.stands(now, standing);
        Ok(())
    }

    /// The engine has forgotten everything.
    pub(crate) fn wiped(&mut self) {
        self.count += 1;
        for record in self.records.values_mut() {
            (record.alive_until, record.ended, record.held_at) = (Moment::BOOT, self.count, None);
        }
    }

    /// A claim was handed over to.
    pub(crate) fn handed_over(&mut self, now: Moment, id: ClaimId) {
        if let Some(record) = self.records.get_mut(&id) {
            record.held(now);
        }
    }

    /// A leave arrived.
    pub(crate) fn left(&mut self, _now: Moment, leave: &Leave) {
        self.count += 1;
        if let Some(record) = self.records.get_mut(&leave.claim.id).filter(|_| leave.manner != Manner::Revoke)
        {
            record.ended = self.count;
        }
    }
}

impl Record {
    fn stands(&mut self, now: Moment, standing: &Standing) {
        match standing {
            Standing::Held { ttl, .. } => {
                self.held(now);
                self.alive_until = self.alive_until.max(now + *ttl);
            }
            Standing::Queued { ttl, .. } => self.alive_until = self.alive_until.max(now + *ttl),
            Standing::Refused(_) | Standing::Gone => {}
        }
    }

    fn held(&mut self, now: Moment) {
        self.first_held_at.get_or_insert(now);
        let since = *self.held_at.get_or_insert(now);
        self.alive_until = self.alive_until.max(since + self.at_least);
    }
}
