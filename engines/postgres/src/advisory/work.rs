//! The verbs, and what is done at the server for them.

use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::future::{join, join_all};
use hashbrown::HashMap;
use leasehold_core::claim::{CAPACITY_MAX, Leave, Manner, Refresh, WAITING_TTL_MAX};
use leasehold_core::desk::{Asker, Joined, Session as _, Stand};
use leasehold_core::engine::{Batch, Standing};
use leasehold_core::{Claim, ClaimId, Error, ErrorKind, Moment, Outcome, Result, Token};

use crate::advisory::key::Key;
use crate::advisory::link::Link;
use crate::advisory::{Act, BEATS, Grip, Inner, KEPT, Taken};
use crate::failure;

/// A confirmation is new enough for a renewal if it is younger than this part of the session's time.
const FRESH_PART: u32 = 6;

impl Inner {
    pub(super) async fn join(self: Arc<Self>, claims: Batch<Claim>) -> Batch<Result<Standing>> {
        // Each begins when the one before has found its place; they are answered side by side.
        join_all(claims.into_iter().map(|claim| self.join_one(claim))).await.into()
    }

    async fn join_one(self: &Arc<Self>, claim: Claim) -> Result<Standing> {
        check(&claim)?;
        let now = self.world.env.now();
        let key = self.keys.key(claim.name.as_str());
        let joined = self.desk().join(&claim, key, now);
        match joined {
            Joined::Act(act) => {
                self.look_at(now + claim.waiting_ttl());
                self.begin(act, &claim, now).await
            }
            Joined::Queued(ahead) => {
                self.look_at(now + claim.waiting_ttl());
                Ok(queued(ahead, claim.ttl))
            }
            Joined::Refused(why) => Ok(Standing::Refused(why)),
            Joined::Known => {
                let ask = Refresh { claim: claim.key(), ttl: claim.ttl, raise: None };
                self.renew(&[ask], now).await.pop().expect("one answer an item")
            }
        }
    }

    /// Does what a `join` takes, and tells how its claim stands.
    async fn begin(self: &Arc<Self>, act: Act, claim: &Claim, now: Moment) -> Result<Standing> {
        let asked = match act {
            Act::Take { key, claim: asker, after } => self.take(key, asker, after, true).await,
            Act::Admit { key, claim: asker } => self.admit(key, asker).await,
            Act::LetGo { .. } | Act::Pursue { .. } => unreachable!("a join takes or is admitted"),
        };
        asked?;
        // For as long as it was asked for, if it holds.
        self.desk().renew_if_held(claim.id, claim.ttl, now);
        let stand = self.desk().stand(claim.id, now);
        Ok(match stand {
            Some(Stand::Held(token, link)) => Standing::Held { token, ttl: claim.ttl.min(link.left(now)) },
            Some(Stand::Waiting(ahead)) => queued(ahead, claim.ttl),
            Some(Stand::Asking) => queued(0, claim.ttl),
            None => Standing::Gone,
        })
    }

    pub(super) async fn refresh(self: Arc<Self>, asks: Batch<Refresh>) -> Batch<Result<Standing>> {
        let now = self.world.env.now();
        self.renew(&asks, now).await
    }

    /// Renews claims: the sessions of those that hold are confirmed, once for all of them.
    async fn renew(self: &Arc<Self>, asks: &[Refresh], now: Moment) -> Batch<Result<Standing>> {
        let mut links: HashMap<i32, (Arc<Link>, Duration, Result<()>)> = HashMap::new();
        {
            let desk = self.desk();
            for ask in asks {
                if let Some(Stand::Held(_, link)) = desk.stand(ask.claim.id, now) {
                    let slot = links.entry(link.pid()).or_insert((link, Duration::ZERO, Ok(())));
                    slot.1 = slot.1.max(ask.ttl);
                }
            }
        }
        join_all(links.values_mut().map(|(link, ttl, confirmed)| async {
            *confirmed = self.confirm(link, *ttl, now).await;
        }))
        .await;
        asks.iter().map(|ask| self.renewed(ask, now, &links)).collect()
    }

    fn renewed(
        self: &Arc<Self>,
        ask: &Refresh,
        now: Moment,
        links: &HashMap<i32, (Arc<Link>, Duration, Result<()>)>,
    ) -> Result<Standing> {
        let id = ask.claim.id;
        let mut desk = self.desk();
        let standing = match desk.stand(id, now) {
            None => return Ok(Standing::Gone),
            Some(Stand::Asking) => return Err(busy()),
            Some(Stand::Held(token, link)) => match links.get(&link.pid()) {
                Some((confirmed, _, Ok(()))) if Arc::ptr_eq(confirmed, &link) => {
                    Standing::Held { token, ttl: ask.ttl.min(link.left(now)) }
                }
                // Its session is lost, and in a moment it is gone.
                Some((_, _, Err(error))) => return Err(error.clone()),
                // It has come to hold meanwhile.
                _ => return Err(busy()),
            },
            Some(Stand::Waiting(ahead)) => queued(ahead, ask.ttl),
        };
        let next = desk.renew(id, ask.ttl, now).and_then(|key| desk.next(&key));
        drop(desk);
        self.follow(next);
        Ok(standing)
    }

    /// Makes sure that the server has heard of a session lately, and keeps it for as long as somebody needs.
    async fn confirm(&self, link: &Link, ttl: Duration, now: Moment) -> Result<()> {
        let fail = |e| failure::request("refresh", &self.world.place, e);
        if link.kept() < ttl {
            return link.keep(ttl).await.map_err(fail);
        }
        if now.since(link.heard()) >= link.kept() / FRESH_PART {
            return link.beat().await.map_err(fail);
        }
        Ok(())
    }

    pub(super) async fn leave(self: Arc<Self>, asks: Batch<Leave>) -> Batch<Result<()>> {
        join_all(asks.into_iter().map(|ask| self.leave_one(ask))).await.into()
    }

    async fn leave_one(self: &Arc<Self>, ask: Leave) -> Result<()> {
        let act = {
            let mut desk = self.desk();
            let Some((key, held)) = desk.leave(ask.claim.id, ask.manner) else { return Ok(()) };
            if held && ask.manner != Manner::Release {
                self.bell.send_replace(());
            }
            desk.next(&key)
        };
        match act {
            None => Ok(()),
            Some(Act::LetGo { key, grip }) => self.let_go(key, grip).await,
            Some(Act::Take { key, claim, after }) => {
                let left = self.take(key, claim, after, false).await;
                left.map(drop)
            }
            other => {
                self.follow(other);
                Ok(())
            }
        }
    }

    /// A claim's owner waits for it.
    pub(super) fn stay(self: &Arc<Self>, id: ClaimId) {
        let next = {
            let mut desk = self.desk();
            desk.stay(id).and_then(|key| desk.next(&key))
        };
        self.follow(next);
    }

    /// Does what is to be done, and what comes of that, in the background.
    pub(super) fn follow(self: &Arc<Self>, act: Option<Act>) {
        if let Some(act) = act {
            self.world.runtime.spawn(Arc::clone(self).perform(act));
        }
    }

    fn perform(self: Arc<Self>, act: Act) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            // Whoever is concerned asks again, or is told that its session is lost.
            match act {
                Act::Take { key, claim, after } => drop(self.take(key, claim, after, false).await),
                Act::Admit { key, claim } => drop(self.admit(key, claim).await),
                Act::LetGo { key, grip } => drop(self.let_go(key, grip).await),
                Act::Pursue { key, pursuit } => self.pursue(key, pursuit).await,
            }
        })
    }

    /// Takes a key that may be free. What there was of it is let go of in the same breath, so whoever waits for it in
    /// the server comes first.
    async fn take(self: &Arc<Self>, key: Key, asker: Asker, after: Option<Grip>, first: bool) -> Result<()> {
        let taken = self.try_take(key, asker, after).await;
        let (taken, error) = match taken {
            Ok(taken) => (taken, None),
            Err(error) => (Taken::Failed, Some(error)),
        };
        let (hint, next) = {
            let mut desk = self.desk();
            let hint = desk.taken(&key, asker.id, first, taken, self.world.env.now());
            (hint, desk.next(&key))
        };
        if let Some(hint) = hint.filter(|_| !first) {
            self.world.inbox.deliver(asker.id, hint);
        }
        self.follow(next);
        error.map_or(Ok(()), Err)
    }

    async fn try_take(&self, key: Key, asker: Asker, after: Option<Grip>) -> Result<Taken> {
        let main = self.main(asker.ttl).await;
        let (main, token) = match (main, after) {
            (Ok(main), Some(grip)) if Arc::ptr_eq(&main, &grip.link) => {
                if let Err(e) = main.get_ready_to_unlock(key, grip.shared).await {
                    drop(self.let_go(key, grip).await);
                    return Err(failure::request("join", &self.world.place, e));
                }
                let (left, token) = join(self.let_go(key, grip), self.try_on(&main, key, asker.shared)).await;
                left?;
                (main, token?)
            }
            (main, after) => {
                if let Some(grip) = after {
                    // If that fails, the session is lost.
                    drop(self.let_go(key, grip).await);
                }
                let main = main?;
                let token = self.try_on(&main, key, asker.shared).await?;
                (main, token)
            }
        };
        Ok(match token {
            Some(token) => Taken::Had(Grip { link: main, shared: asker.shared, seat: None }, token),
            None => Taken::Busy,
        })
    }

    /// Takes a key if it is free.
    pub(super) async fn try_on(&self, link: &Arc<Link>, key: Key, shared: bool) -> Result<Option<Token>> {
        match link.try_lock(key, shared).await {
            Ok(token) => Ok(token),
            Err(e) => {
                // If it was the token that could not be had, the key may have been: an error does not undo that.
                drop(self.let_go(key, Grip { link: Arc::clone(link), shared, seat: None }).await);
                Err(failure::request("join", &self.world.place, e))
            }
        }
    }

    async fn admit(self: &Arc<Self>, key: Key, asker: Asker) -> Result<()> {
        let asked = match self.side().await {
            Ok(side) => side.probe(key).await.map_err(|e| failure::request("join", &self.world.place, e)),
            Err(error) => Err(error),
        };
        let (hint, next) = {
            let mut desk = self.desk();
            let hint = desk.admitted(&key, asker.id, asked.ok().flatten(), self.world.env.now());
            (hint, desk.next(&key))
        };
        if let Some(hint) = hint {
            self.world.inbox.deliver(asker.id, hint);
        }
        self.follow(next);
        // Who was not admitted waits.
        Ok(())
    }

    /// Lets go of a key.
    pub(super) async fn let_go(&self, key: Key, grip: Grip) -> Result<()> {
        let Grip { link, shared, seat } = grip;
        if link.is_over() {
            return Ok(());
        }
        match link.unlock(key, shared).await {
            Ok(()) => {
                if let Some(seat) = seat {
                    self.pool.give(link, seat);
                }
                Ok(())
            }
            Err(e) => {
                // Whatever that was, it must not keep the key.
                link.give_up();
                Err(failure::request("leave", &self.world.place, e))
            }
        }
    }

    /// The session for what is free, which the server keeps for so long.
    pub(super) async fn main(&self, ttl: Duration) -> Result<Arc<Link>> {
        self.asked(ttl);
        let main = self.main.session().await?;
        if main.kept() < ttl {
            let kept = main.keep(ttl).await;
            kept.map_err(|e| {
                failure::request("join", &self.world.place, e).with_outcome(Outcome::NotApplied)
            })?;
        }
        Ok(main)
    }

    pub(super) async fn side(&self) -> Result<Arc<Link>> {
        self.side.session().await
    }

    /// The longest TTL that was asked for.
    pub(super) fn longest(&self) -> Duration {
        Duration::from_nanos(self.longest.load(Ordering::Relaxed))
    }

    fn asked(&self, ttl: Duration) {
        self.longest.fetch_max(u64::try_from(ttl.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// The sessions do not answer in time: new ones for what is asked from now on. What they hold they hold for as
    /// long as the server surely keeps them.
    pub(super) fn retire(&self) {
        for lane in [&self.main, &self.side] {
            if let Some(link) = lane.open() {
                lane.retire(&link);
            }
        }
    }

    /// A session is over: the claims that it held are, too.
    pub(crate) fn bury(self: &Arc<Self>) {
        let keys = self.desk().bury_lost();
        if !keys.is_empty() {
            self.bell.send_replace(());
        }
        self.go_on(keys);
    }

    fn go_on(self: &Arc<Self>, keys: Vec<Key>) {
        for key in keys {
            let next = self.desk().next(&key);
            self.follow(next);
        }
    }

    /// Has the upkeep look at this time, if it would sleep longer.
    fn look_at(&self, at: Moment) {
        if at.as_nanos() < self.upkeep_at.fetch_min(at.as_nanos(), Ordering::AcqRel) {
            self.earlier.notify_one();
        }
    }
}

/// Ends the claims of those who are not heard of, gives up sessions that the server may have ended, and keeps the main
/// one. For ever: it is aborted with the engine.
pub(super) async fn upkeep(weak: Weak<Inner>) {
    while let Some(inner) = weak.upgrade() {
        let now = inner.world.env.now();
        inner.upkeep_at.store(Moment::NEVER.as_nanos(), Ordering::Release);
        let dead = inner.desk().bury_dead(now);
        inner.go_on(dead);
        let due = inner.desk().next_due();
        let until = Moment::from_nanos(inner.upkeep_at.fetch_min(due.as_nanos(), Ordering::AcqRel)).min(due);
        let (clock, beat) = (Arc::clone(&inner.world.env.clock), inner.beat(now));
        let until = until.min(beat);
        tokio::select! {
            () = inner.earlier.notified() => {}
            () = clock.sleep_until(until) => {}
        }
    }
}

impl Inner {
    /// Keeps the main session, which others are about to use; when to come again.
    fn beat(self: &Arc<Self>, now: Moment) -> Moment {
        let Some(main) = self.main.open() else { return now + KEPT / BEATS };
        let kept = if main.kept().is_zero() { KEPT } else { main.kept() };
        if now.since(main.heard()) >= kept / BEATS {
            self.world.runtime.spawn(async move { drop(main.beat().await) });
        }
        now + kept / BEATS
    }
}

fn check(claim: &Claim) -> Result<()> {
    let refuse =
        |message: &str| Err(Error::new(ErrorKind::Unsupported, "lock", message).with("lock", &claim.name));
    if claim.capacity != 1 && claim.capacity != CAPACITY_MAX
        || claim.weight != 1 && claim.weight != claim.capacity
    {
        return refuse(
            "advisory locks are had alone or shared by all: there is no semaphore among them; use a mutex or a \
             reader/writer lock, or `postgres://`, which has semaphores",
        );
    }
    if !claim.at_least.is_zero() {
        return refuse("the engine `postgres+advisory` has no at-least hold: locks end with their session");
    }
    Ok(())
}

fn queued(ahead: u32, ttl: Duration) -> Standing {
    let ttl = ttl.min(WAITING_TTL_MAX);
    // The server tells of every lock that goes, and the client itself of its own: there is nothing to look for earlier.
    Standing::Queued { ahead, ttl, look_again: ttl }
}

fn busy() -> Error {
    Error::new(ErrorKind::Unavailable, "refresh", "another request for this claim is under way")
}
