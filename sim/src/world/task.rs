//! What the tasks of a node do: lock in every way that the client offers, and change their mind.

use std::future::poll_fn;
use std::ops::Deref;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use leasehold_core::{Client, Clock, ErrorKind, Guard, Lease, Manner, Moment, Permit, Query, Result};

use crate::check::{Rule, Violation};
use crate::dice::Dice;
use crate::executor::{NodeId, nanos};
use crate::trace::{CallId, Event, Outcome};
use crate::world::World;
use crate::world::want::{Finish, Holding, Kind, Verb, Want};

/// After the faults, nobody holds for longer than this.
const SHORT: Duration = Duration::from_millis(10);

/// A guard or a permit.
enum Held {
    Guard(Guard),
    Permit(Permit),
}

impl Deref for Held {
    type Target = Lease;

    fn deref(&self) -> &Lease {
        match self {
            Self::Guard(guard) => guard,
            Self::Permit(permit) => permit,
        }
    }
}

impl Held {
    async fn release(self) -> Result<()> {
        match self {
            Self::Guard(guard) => guard.release().await,
            Self::Permit(permit) => permit.release().await,
        }
    }
}

/// A task of a node.
pub(crate) struct Task {
    pub(crate) world: Arc<World>,
    pub(crate) node: NodeId,
    pub(crate) dice: Dice,
}

impl Task {
    /// Does what tasks do until the faults end, then gets in once more everywhere.
    pub(crate) async fn run(mut self) {
        let world = Arc::clone(&self.world);
        let unit = world.plan.unit;
        self.rest(unit / 1000, unit / 2).await;
        for _ in 0..world.plan.deeds {
            if self.now() >= self.heal_at() {
                break;
            }
            match self.dice.below(100) {
                0..2 if !world.plan.is_calm() => self.shut_down().await,
                2..6 if !world.plan.is_calm() => self.revoke().await,
                _ => {
                    let want = Want::draw(&world.plan.resources, unit, &world.plan.info, &mut self.dice);
                    self.deed(want, false).await;
                }
            }
            self.rest(unit / 10_000, unit / 4).await;
        }
        self.clock().sleep_until(self.heal_at()).await;
        for resource in 0..world.plan.resources.len() {
            let want = Want::last(&world.plan.resources, resource, unit, &mut self.dice);
            self.deed(want, true).await;
        }
    }

    fn clock(&self) -> &dyn Clock {
        &self.world.clocks[self.node]
    }

    fn now(&self) -> Moment {
        self.clock().now()
    }

    /// When the faults end, on the clock of this node.
    fn heal_at(&self) -> Moment {
        self.world.clocks[self.node].at(self.world.plan.heal_at)
    }

    async fn rest(&mut self, least: Duration, most: Duration) {
        let until = self.now() + self.dice.span(least, most);
        self.clock().sleep_until(until).await;
    }

    /// Asks for something, holds it, lets go.
    async fn deed(&self, want: Want, last: bool) {
        let call = self.world.next_call();
        let client = self.world.client(self.node);
        self.log(&Event::Calls(self.node, call, want.clone()));
        let work = async {
            match want.verb {
                Verb::Run if !matches!(want.kind, Kind::Semaphore(_)) => {
                    return self.run_under(&client, &want, call).await.map(|()| None);
                }
                _ => acquire(&client, &want, call).await,
            }
        };
        let result = match want.verb {
            Verb::DropAfterPolls(polls) => give_up(work, polls, std::future::pending()).await,
            Verb::DropAfter(span) => {
                let until = self.clock().sleep_until(self.now() + span);
                give_up(work, u32::MAX, until).await
            }
            _ => Some(work.await),
        };
        let outcome = match &result {
            None => Outcome::Dropped,
            Some(Ok(None)) => Outcome::Busy,
            Some(Ok(Some(held))) => Outcome::Holds(held.token(), held.id()),
            Some(Err(error)) => Outcome::Error(error.kind()),
        };
        self.log(&Event::Returns(self.node, call, outcome));
        match result {
            Some(Ok(Some(held))) => self.hold(held, &want, call, last).await,
            Some(Err(error)) => self.judge(&error, call, last || self.world.plan.is_calm()),
            _ => {}
        }
    }

    /// Whether a call may fail like this.
    fn judge(&self, error: &leasehold_core::Error, call: CallId, strict: bool) {
        let fair = match error.kind() {
            ErrorKind::Unavailable | ErrorKind::Closed => !strict,
            // Only `run` says so, and the watch knows whether it may.
            ErrorKind::Lost => true,
            _ => false,
        };
        if !fair {
            self.violated(Rule::NoSurprise, format!("call {call} fails: {error:?}"));
        }
    }

    async fn run_under(&self, client: &Client, want: &Want, call: CallId) -> Result<()> {
        let work = |lease: Lease| {
            let watched = self.world.watch.begins(self.node, call, want, &lease);
            async move {
                self.work(&lease, want).await;
                drop(watched);
            }
        };
        let (name, payload) = (resource_name(want.resource), call.to_string());
        match want.kind {
            Kind::RwLock => {
                let mut lock = client.rwlock(&name)?.ttl(want.ttl).at_least(want.at_least).payload(&payload);
                if let Some(most) = want.at_most {
                    lock = lock.at_most(most);
                }
                if want.weight == 1 { lock.run_read(work).await } else { lock.run_write(work).await }
            }
            _ => {
                let mut lock = client.mutex(&name)?.ttl(want.ttl).at_least(want.at_least).payload(&payload);
                if let Some(most) = want.at_most {
                    lock = lock.at_most(most);
                }
                lock.run(work).await
            }
        }
    }

    /// Raises the fence at the storage, reads, and writes in the end; what it writes may arrive late.
    async fn work(&self, lease: &Lease, want: &Want) {
        let (world, token) = (Arc::clone(&self.world), lease.token());
        let exclusive = want.weight == want.kind.capacity();
        let read = world.storage.enter(want.resource, token, exclusive);
        self.hold_for(lease, want.holding).await;
        let (Some(read), true, false) = (read, exclusive, matches!(want.kind, Kind::Semaphore(_))) else {
            return;
        };
        let late = token.get().wrapping_mul(0x9E37_79B9_7F4A_7C15) % nanos(world.plan.unit);
        let at = world.executor.now() + if token.get() % 2 == 0 { 0 } else { late };
        let (later, resource) = (Arc::clone(&world), want.resource);
        world.executor.at(at, move || {
            if let Err(violation) = later.storage.write(resource, token, read, later.executor.now()) {
                later.verdict.violated(violation);
            }
        });
    }

    async fn hold_for(&self, lease: &Lease, holding: Holding) {
        let now = self.now();
        let latest = self.heal_at().max(now + SHORT);
        match holding {
            Holding::Not => {}
            Holding::For(span) => self.clock().sleep_until((now + span).min(latest)).await,
            Holding::UntilLost(span) => {
                let sleep = self.clock().sleep_until((now + span).min(latest));
                tokio::select! {
                    biased;
                    () = lease.lost() => {}
                    () = sleep => {}
                }
            }
        }
    }

    async fn hold(&self, held: Held, want: &Want, call: CallId, last: bool) {
        let watched = self.world.watch.begins(self.node, call, want, &held);
        self.work(&held, want).await;
        let valid = held.is_valid();
        drop(watched);
        let how = match want.finish {
            Finish::Drop => "drop",
            Finish::Release => "release",
            Finish::ReleaseDropped(_) => "release, dropped",
        };
        self.log(&Event::LetsGo(self.node, call, how));
        let result = match want.finish {
            Finish::Drop => {
                drop(held);
                Some(Ok(()))
            }
            Finish::Release => Some(held.release().await),
            Finish::ReleaseDropped(polls) => give_up(held.release(), polls, std::future::pending()).await,
        };
        match result {
            Some(Err(error)) if error.kind() == ErrorKind::Lost && valid => {
                let what = format!("call {call} is told that its valid guard was lost: {error:?}");
                self.violated(Rule::NoSurprise, what);
            }
            Some(Ok(())) if want.finish == Finish::Release && !valid => {
                let what = format!("call {call} is not told that its guard was lost");
                self.violated(Rule::NoSurprise, what);
            }
            Some(Err(error)) => self.judge(&error, call, last || self.world.plan.is_calm()),
            _ => {}
        }
    }

    /// An operator ends somebody's claim, safely.
    async fn revoke(&mut self) {
        self.log(&Event::Does(self.node, "looks whom to revoke"));
        let client = self.world.client(self.node);
        let Ok(page) = client.inspect(Query { limit: 10, ..Query::default() }).await else { return };
        let claims: Vec<_> =
            page.queues.iter().flat_map(|q| q.claims.iter().map(|c| (q.name.clone(), c.id))).collect();
        if claims.is_empty() {
            return;
        }
        let (name, id) = self.dice.pick(&claims).clone();
        self.world.watch.revoked(id);
        // Whether it arrives or not, the claim's owner must cope.
        drop(client.unlock(leasehold_core::ClaimRef { name, id }, Manner::Revoke).await);
    }

    /// The process goes on with a new client, and shuts the old one down.
    async fn shut_down(&mut self) {
        self.log(&Event::Does(self.node, "shuts its client down"));
        let old = self.world.new_client(self.node);
        self.world.watch.shut(self.node);
        let patience = self.dice.span(Duration::from_millis(1), self.world.plan.unit);
        if let Some(Err(error)) = match old {
            Some(old) => Some(old.shutdown(patience).await),
            None => None,
        } && error.kind() != ErrorKind::Unavailable
        {
            self.violated(Rule::NoSurprise, format!("a shutdown fails: {error:?}"));
        }
    }

    fn log(&self, event: &Event) {
        self.world.log.add(self.world.executor.now(), event);
    }

    fn violated(&self, rule: Rule, what: String) {
        self.world.verdict.violated(Violation::at(self.world.executor.now(), rule, what));
    }
}

/// The name of a resource.
fn resource_name(resource: usize) -> String {
    format!("r{resource}")
}

async fn acquire(client: &Client, want: &Want, call: CallId) -> Result<Option<Held>> {
    macro_rules! by {
        ($lock:expr, $wrap:path, $lock_it:ident($($n:expr)?), $try_it:ident, $timed:ident) => {{
            let mut lock = $lock.ttl(want.ttl).at_least(want.at_least).payload(&call.to_string());
            if let Some(most) = want.at_most {
                lock = lock.at_most(most);
            }
            match want.verb {
                Verb::Try => lock.$try_it($($n)?).await.map(|held| held.map($wrap)),
                Verb::Timeout(span) => lock.$timed($($n,)? span).await.map(|held| held.map($wrap)),
                _ => lock.$lock_it($($n)?).await.map(|held| Some($wrap(held))),
            }
        }};
    }
    let name = resource_name(want.resource);
    match want.kind {
        Kind::Mutex => by!(client.mutex(&name)?, Held::Guard, lock(), try_lock, lock_timeout),
        Kind::RwLock if want.weight == 1 => {
            by!(client.rwlock(&name)?, Held::Guard, read(), try_read, read_timeout)
        }
        Kind::RwLock => by!(client.rwlock(&name)?, Held::Guard, write(), try_write, write_timeout),
        Kind::Semaphore(permits) => by!(
            client.semaphore(&name, permits)?,
            Held::Permit,
            acquire_many(want.weight),
            try_acquire_many,
            acquire_many_timeout
        ),
    }
}

/// Drops a future that is not done after so many polls, or when `until` is.
async fn give_up<T>(work: impl Future<Output = T>, polls: u32, until: impl Future<Output = ()>) -> Option<T> {
    let (mut work, mut until) = (pin!(work), pin!(until));
    let mut left = polls;
    poll_fn(|cx| {
        if let Poll::Ready(out) = work.as_mut().poll(cx) {
            return Poll::Ready(Some(out));
        }
        left = left.saturating_sub(1);
        if left == 0 || until.as_mut().poll(cx).is_ready() { Poll::Ready(None) } else { Poll::Pending }
    })
    .await
}
