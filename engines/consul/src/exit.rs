//! How a claim goes, and the next one comes in.

use leasehold_core::ordered::Key;
use leasehold_core::{Name, Result};

use crate::failure;
use crate::line::{Seen, key, of_key};
use crate::plan::{Leaving, plan, without_heir};
use crate::store::{Inner, TRIES};
use crate::wire::{LOCK_FLAGS, Op, Undone, Why};

impl Inner {
    /// Ends the place of a claim, whosever it is. One that is not there is success.
    pub(crate) async fn exit(&self, name: &Name, key: &Key) -> Result<()> {
        let Some((session, claim)) = of_key(key) else { return Ok(()) };
        let _turn = self.own.turn(session, claim).await;
        let leaving = Leaving { session, claim };
        let left = match self.own.hold(session, claim) {
            // Who shares may have company that came since: nothing that it wrote is changed by that.
            Some(seen) if !seen.holder().is_some_and(|holder| holder.takes_all()) => false,
            Some(seen) if seen.spots.is_empty() && seen.doubles.is_empty() => {
                self.leave_alone(name, &seen, leaving).await?
            }
            Some(seen) => self.hand_on(name, &seen, leaving).await?,
            None => false,
        };
        if !left {
            self.leave(name, leaving).await?;
        }
        self.own.end(session, claim);
        Ok(())
    }

    /// Gives up the lock's own key without a look, for nobody else was there; whether that was right.
    async fn leave_alone(&self, name: &Name, seen: &Seen, leaving: Leaving<'_>) -> Result<bool> {
        let (Some(seen), key) = (&seen.lock, self.keys.lock(name)) else { return Ok(false) };
        let mut ops = match seen.place.as_ref().is_some_and(|place| place.keep) {
            false => vec![Op::delete(&key, seen.index)],
            true => vec![Op::unchanged(&key, seen.index), Op::unlock(&key, leaving.session, LOCK_FLAGS)],
        };
        ops.push(Op::tree(&self.keys.line(name)));
        let entries = match self.batches.transact("release", name, ops).await {
            Ok(entries) => entries,
            Err(Undone::Refused(_)) => return Ok(false),
            Err(Undone::Failed(error)) => return Err(error),
        };
        if let Ok(seen) = self.read("release", name, &entries, None)
            && !seen.spots.is_empty()
        {
            self.busy.set(name, true);
            self.follow(name, seen, leaving).await;
        }
        Ok(true)
    }

    /// Gives the lock to the next one without a look, if that can only be this one; whether that was right.
    async fn hand_on(&self, name: &Name, seen: &Seen, leaving: Leaving<'_>) -> Result<bool> {
        let plan = plan(seen, &self.keys, name, Some(leaving));
        if plan.then.is_none() {
            return Ok(false);
        }
        match self.carry_out("release", name, plan, None).await {
            Ok(()) => Ok(true),
            Err(Undone::Refused(_)) => Ok(false),
            Err(Undone::Failed(error)) => Err(error),
        }
    }

    /// Lets in whoever came meanwhile, as far as that succeeds: they look for themselves, too.
    async fn follow(&self, name: &Name, mut seen: Seen, gone: Leaving<'_>) {
        for _ in 0..TRIES {
            let plan = plan(&seen, &self.keys, name, Some(gone));
            match self.carry_out("release", name, plan, None).await {
                Err(Undone::Refused(_)) => {}
                Ok(()) | Err(Undone::Failed(_)) => return,
            }
            match self.look("release", name).await {
                Ok(now) => seen = now,
                Err(_) => return,
            }
        }
    }

    /// Looks, and then does it all at once.
    async fn leave(&self, name: &Name, leaving: Leaving<'_>) -> Result<()> {
        let theirs = !self.own.has(leaving.session);
        for _ in 0..TRIES {
            let seen = self.look("release", name).await?;
            if !seen.stands().iter().any(|stand| leaving.is(stand)) {
                // It may have gone by a request whose answer was lost: whoever of ours waits for that has not been told.
                self.rings.ring(name, &key(leaving.session, leaving.claim));
                return self.give_back(name, &seen, leaving).await;
            }
            let upset = theirs.then_some(leaving.session);
            let planned = plan(&seen, &self.keys, name, Some(leaving));
            let done = match self.carry_out("release", name, planned, upset).await {
                Err(undone) if undone.is(&Why::Delayed) => {
                    let planned = without_heir(&seen, &self.keys, name, leaving);
                    self.carry_out("release", name, planned, upset).await
                }
                done => done,
            };
            match done {
                Ok(()) => return Ok(()),
                Err(undone) => match undone.error("release") {
                    Some(error) => return Err(error),
                    None => continue,
                },
            }
        }
        Err(failure::restless("release"))
    }

    /// The claim has no place, but its session may still have the lock: somebody has written over its value.
    async fn give_back(&self, name: &Name, seen: &Seen, leaving: Leaving<'_>) -> Result<()> {
        let had = self.own.hold(leaving.session, leaving.claim).is_some();
        let Some((_, lock)) = seen.foreign().filter(|(session, _)| had && ***session == *leaving.session)
        else {
            return Ok(());
        };
        let key = self.keys.lock(name);
        let ops = vec![Op::unchanged(&key, lock.index), Op::unlock(&key, leaving.session, LOCK_FLAGS)];
        match self.batches.transact("release", name, ops).await {
            Err(Undone::Failed(error)) => Err(error),
            // Whoever was faster has it now.
            Ok(_) | Err(Undone::Refused(_)) => Ok(()),
        }
    }
}
