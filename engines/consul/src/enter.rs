//! How a claim comes to stand at a resource.
//!
//! Whoever believes that nobody is there takes the lock's own key, in one request, if that is so. Everybody else puts a
//! key into the line beside it.

use std::sync::Arc;

use leasehold_core::ordered::Line;
use leasehold_core::ordered::store::SessionId;
use leasehold_core::{Claim, Name, Outcome, Result};

use crate::failure;
use crate::line::{Seen, key};
use crate::place::Place;
use crate::store::{Inner, TRIES};
use crate::wire::{LOCK_FLAGS, Op, Undone, Why};

/// What came of a try.
enum Came {
    /// It stands.
    Line(Line),
    /// Somebody else is there.
    InUse,
    /// Consul gives the lock to nobody now.
    Delayed,
    /// There is no lock.
    Free,
}

impl Inner {
    pub(crate) async fn enter(&self, session: &SessionId, claim: &Claim) -> Result<Line> {
        let begun = self.own.begin(session, claim).await;
        let (again, _turn) = begun.ok_or_else(|| failure::lost("lock"))?;
        let entered = self.try_to_enter(session, claim, again).await;
        if let Err(error) = &entered {
            if error.outcome() == Outcome::Unknown {
                self.own.doubt(session, claim.id);
            } else if !again {
                self.own.end(session, claim.id);
            }
        }
        entered
    }

    async fn try_to_enter(&self, session: &SessionId, claim: &Claim, again: bool) -> Result<Line> {
        if again {
            let seen = self.look("lock", &claim.name).await?;
            let own = key(session, claim.id);
            if seen.stands().iter().any(|stand| stand.key() == own) {
                return self.line(&claim.name).await;
            }
        }
        let place = Place::of(claim, self.env.clock.wall_micros());
        let mut delayed = false;
        for _ in 0..TRIES {
            if !delayed && !self.busy.has(&claim.name) {
                match self.take(session, &claim.name, &place).await? {
                    Came::Line(line) => return Ok(line),
                    Came::Delayed => delayed = true,
                    Came::InUse | Came::Free => {}
                }
                self.busy.set(&claim.name, true);
            }
            match self.stand(session, &claim.name, &place, delayed).await? {
                Came::Line(line) => return Ok(line),
                Came::Free => self.busy.set(&claim.name, false),
                Came::InUse | Came::Delayed => {}
            }
        }
        Err(failure::restless("lock"))
    }

    /// Takes the lock's own key, if it is not there.
    async fn take(&self, session: &SessionId, name: &Name, place: &Place) -> Result<Came> {
        let lock = self.keys.lock(name);
        let ops = vec![
            Op::absent(&lock),
            Op::lock(&lock, session, LOCK_FLAGS, &place.write()),
            Op::tree(&self.keys.line(name)),
        ];
        let stamp = self.rings.stamp();
        let entries = match self.batches.transact("lock", name, ops).await {
            Ok(entries) => entries,
            Err(undone) if undone.is(&Why::Delayed) => return Ok(Came::Delayed),
            Err(undone) => return came_not(&undone).map(|()| Came::InUse),
        };
        let seen = Arc::new(self.read("lock", name, &entries, Some((&lock, place)))?);
        self.own.note(&seen);
        if seen.spots.is_empty() {
            return Ok(Came::Line(seen.line(stamp, false)));
        }
        // Others were there, waiting for a lock that was free for a moment: it is theirs.
        Ok(Came::Line(self.let_in(name, &seen, stamp).await))
    }

    /// Puts a key into the line.
    async fn stand(&self, session: &SessionId, name: &Name, place: &Place, delayed: bool) -> Result<Came> {
        let slot = self.own.slot(session, place.claim).ok_or_else(|| failure::lost("lock"))?;
        let line = self.keys.line(name);
        let spot = format!("{line}{session}-{slot}");
        let mut ops = vec![Op::absent(&spot), Op::lock(&spot, session, 0, &place.write()), Op::tree(&line)];
        if !delayed {
            ops.push(Op::get(&self.keys.lock(name)));
        }
        let stamp = self.rings.stamp();
        let entries = match self.batches.transact("lock", name, ops).await {
            Ok(entries) => entries,
            Err(Undone::Refused(steps)) if steps.contains(&(0, Why::Moved)) => {
                // Something stands there that came late.
                self.own.skip_slot(session, place.claim);
                return Ok(Came::InUse);
            }
            Err(undone) => return came_not(&undone).map(|()| Came::Free),
        };
        match self.read("lock", name, &entries, Some((&spot, place))) {
            Ok(seen) => Ok(Came::Line(self.let_in(name, &Arc::new(seen), stamp).await)),
            Err(error) => {
                self.withdraw(name, &spot, &entries).await?;
                Err(error)
            }
        }
    }

    /// Takes a key out of the line of what is no lock.
    async fn withdraw(&self, name: &Name, spot: &str, entries: &[crate::wire::Entry]) -> Result<()> {
        let own = entries.iter().find(|entry| entry.key == spot);
        let ops = own.map(|entry| Op::delete(spot, entry.modify_index)).into_iter().collect();
        self.batches.transact("lock", name, ops).await.map(drop).map_err(|undone| {
            let error = undone.error("lock").unwrap_or_else(|| failure::restless("lock"));
            error.with_outcome(Outcome::Unknown)
        })
    }

    /// The line, after whoever of this client should be let in has been, as far as that succeeds: the claim stands, and
    /// whatever goes wrong from here on is found when it looks again.
    async fn let_in(&self, name: &Name, seen: &Arc<Seen>, stamp: u64) -> Line {
        let Some(plan) = self.due(name, seen).or_else(|| self.early(name, seen)) else {
            self.own.note(seen);
            return seen.line(stamp, false);
        };
        match self.carry_out("lock", name, plan, None).await {
            Err(undone) if undone.is(&Why::Delayed) => seen.line(stamp, true),
            _ => self.line(name).await.unwrap_or_else(|_| seen.line(stamp, false)),
        }
    }

    /// What is planned if this client has the lock too early.
    fn early(&self, name: &Name, seen: &Seen) -> Option<crate::plan::Plan> {
        let early = seen.holder().is_some_and(|holder| self.own.has(holder.session));
        let plan = crate::plan::plan(seen, &self.keys, name, None);
        (early && !plan.ops.is_empty()).then_some(plan)
    }
}

/// What was not done because somebody else was faster can be tried in another way; all else is an error.
fn came_not(undone: &Undone) -> Result<()> {
    if undone.is(&Why::NoSession) {
        return Err(failure::lost("lock"));
    }
    undone.error("lock").map_or(Ok(()), Err)
}
