//! One lock: what is known of its item, and how it is changed.
//!
//! Every change is the rule of `core` applied to the state that is known, and one conditional write that succeeds only
//! if that is still the state. If it is not, the refusal brings the new one, and the rule is applied to that.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hashbrown::{HashMap, HashSet};
use leasehold_core::engine::{Batch, QueueView, Refusal};
use leasehold_core::inbox::Inbox;
use leasehold_core::ledger::{Entry, Queue};
use leasehold_core::{
    Claim, ClaimId, Env, Hint, Leave, Mint, Moment, Name, Outcome, Refresh, Result, Standing,
};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::failure::{self, Fault};
use crate::http::{Http, plain};
use crate::sight::Sights;
use crate::size;
use crate::wire::{Item, Record, Table};

/// How often a change that somebody else was faster with is tried again at once: what is there then is best known, and
/// each refusal means that somebody got on.
const AT_ONCE: usize = 8;
/// The pause after that; it doubles, and each is drawn from nothing to it.
const PAUSE_MIN: Duration = Duration::from_millis(4);
const PAUSE_MAX: Duration = Duration::from_millis(64);

/// What a caller asks of one lock.
#[derive(Clone, Debug)]
pub(crate) enum Ask {
    Join(Claim),
    Refresh(Refresh),
    Leave(Leave),
}

impl Ask {
    pub(crate) fn name(&self) -> &Name {
        match self {
            Self::Join(claim) => &claim.name,
            Self::Refresh(refresh) => &refresh.claim.name,
            Self::Leave(leave) => &leave.claim.name,
        }
    }

    fn id(&self) -> ClaimId {
        match self {
            Self::Join(claim) => claim.id,
            Self::Refresh(refresh) => refresh.claim.id,
            Self::Leave(leave) => leave.claim.id,
        }
    }

    fn verb(&self) -> &'static str {
        match self {
            Self::Join(_) => "lock",
            Self::Refresh(_) => "renew",
            Self::Leave(_) => "release",
        }
    }
}

/// Where locks are kept.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) http: Http,
    pub(crate) table: Table,
    pub(crate) inbox: Inbox,
    pub(crate) poll: Duration,
    pub(crate) env: Env,
}

impl World {
    /// The time of day, to be shown and to be deleted by.
    pub(crate) fn wall(&self) -> Duration {
        Duration::from_micros(self.env.clock.wall_micros())
    }

    async fn read(&self, operation: &'static str, name: &Name) -> Result<Item> {
        let answer = self.http.ask("GetItem", &self.table.get(name)).await.map_err(plain)?;
        match answer.get("Item") {
            Some(item) => self.item_of(operation, name, item),
            None => Ok(Item::default()),
        }
    }

    pub(crate) fn item_of(&self, operation: &'static str, name: &Name, value: &Value) -> Result<Item> {
        self.table.read(value).map_err(|why| failure::not_ours(operation, name.as_str(), why))
    }
}

/// One lock.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) name: Name,
    /// The item as we have last seen it; `None` if that is nothing to build upon. Whoever changes it holds this lock.
    known: tokio::sync::Mutex<Option<Item>>,
    desk: Mutex<Desk>,
}

#[derive(Debug, Default)]
struct Desk {
    sights: Sights,
    /// What is to be done with the next write, and who is to hear of it.
    asked: Vec<(Vec<Ask>, Tell)>,
    /// Our own claims that wait, as far as we know.
    waiting: HashSet<ClaimId>,
    /// When the item was last looked at for those who wait.
    looked: Moment,
}

/// Where an answer is waited for.
type Tell = oneshot::Sender<Result<Vec<Standing>>>;

/// What is to become of an item.
struct Plan {
    answers: Vec<Standing>,
    /// `None` if nothing is to be written.
    next: Option<Item>,
}

/// What came of the attempt to write.
enum Written {
    Yes(Value),
    /// Somebody else was faster; this is what is there now.
    Not(Item),
}

/// What came of the attempt to hold without a look.
enum Entered {
    Held(Standing, Item),
    /// Somebody is there.
    Not(Item),
}

impl Line {
    pub(crate) fn new(name: Name) -> Self {
        Self { name, known: tokio::sync::Mutex::default(), desk: Mutex::default() }
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        // Nothing in there is left half-way by a panic.
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether what is known of it may still be of use.
    pub(crate) fn matters(&self, now: Moment) -> bool {
        self.desk().sights.any_alive(now)
    }

    /// Does what is asked, in order, with one write; what was asked here meanwhile goes with the next, all of it.
    pub(crate) async fn change(&self, world: &World, asks: Vec<Ask>) -> Result<Vec<Standing>> {
        let operation = asks.first().map_or("request", Ask::verb);
        let (tell, told) = oneshot::channel();
        self.desk().asked.push((asks, tell));
        {
            let mut known = self.known.lock().await;
            // Empty if whoever was here before has done ours too.
            let (parts, tell): (Vec<_>, Vec<_>) = std::mem::take(&mut self.desk().asked).into_iter().unzip();
            let ends: Vec<usize> = parts.iter().map(Vec::len).collect();
            let asks = parts.concat();
            let done = match asks.is_empty() {
                true => Ok(Vec::new()),
                false => self.change_all(world, &mut known, &asks).await,
            };
            let mut done = done.map(Vec::into_iter);
            for (count, tell) in ends.into_iter().zip(tell) {
                let part = match &mut done {
                    Ok(standings) => Ok(standings.by_ref().take(count).collect()),
                    Err(error) => Err(error.clone()),
                };
                // Who has gone away does not need it.
                let _ = tell.send(part);
            }
        }
        told.await.unwrap_or_else(|_| Err(failure::late(operation)))
    }

    async fn change_all(
        &self,
        world: &World,
        known: &mut Option<Item>,
        asks: &[Ask],
    ) -> Result<Vec<Standing>> {
        let operation = asks.first().map_or("request", Ask::verb);
        let until = world.env.now() + world.http.timeout;
        // Whether we have it from an answer to this request: no "there is nothing to do" is based on anything older.
        let mut fresh = false;
        if known.is_none()
            && let [Ask::Join(claim)] = asks
            && claim.raise.is_none()
        {
            match self.enter(world, claim).await? {
                Entered::Held(standing, item) => {
                    *known = Some(item);
                    return Ok(vec![standing]);
                }
                Entered::Not(found) => (*known, fresh) = (Some(found), true),
            }
        }
        let (mut pause, mut conflicts) = (PAUSE_MIN, 0);
        loop {
            let item = match known.take() {
                Some(item) => item,
                None => {
                    fresh = true;
                    let item = world.read(operation, &self.name).await?;
                    self.learn(world, &item, asks);
                    item
                }
            };
            let Plan { answers, next } = self.plan(world, &item, asks);
            let Some(next) = next else {
                if fresh {
                    self.note(&answers, asks);
                    *known = Some(item).filter(|item| !item.claims.is_empty());
                    return Ok(answers);
                }
                continue;
            };
            let request = world.table.change(&self.name, &item, &next, world.wall());
            match self.write(world, operation, &request, &next.revision).await? {
                Written::Yes(_) => {
                    self.learn(world, &next, asks);
                    self.note(&answers, asks);
                    // An empty queue is entered without a look at it.
                    *known = Some(next).filter(|item| !item.claims.is_empty());
                    return Ok(answers);
                }
                Written::Not(found) => {
                    self.learn(world, &found, asks);
                    (*known, fresh) = (Some(found), true);
                }
            }
            conflicts += 1;
            let patient = conflicts > AT_ONCE;
            let at = world.env.now() + if patient { world.http.part_of(pause) } else { Duration::ZERO };
            if at >= until {
                return Err(failure::restless(operation));
            }
            if patient {
                world.env.clock.sleep_until(at).await;
                pause = (pause * 2).min(PAUSE_MAX);
                // It would be refused again for what happened during the pause.
                *known = None;
            }
        }
    }

    /// Holds at once if the queue is empty, with one request and no look before it; else what is there.
    async fn enter(&self, world: &World, claim: &Claim) -> Result<Entered> {
        let revision = revision(&world.env);
        let wall = world.wall();
        let life = claim.ttl.max(claim.at_least);
        let mut record = Record {
            id: claim.id,
            weight: claim.weight,
            beat: 0,
            life: whole_millis(life),
            at_least: claim.at_least,
            token: None,
            revoked: false,
            since: u64::try_from(wall.as_millis()).unwrap_or(u64::MAX),
            meta: claim.meta.clone(),
        };
        let request = world.table.enter(&self.name, &revision, claim.capacity, &record, wall);
        let asks = [Ask::Join(claim.clone())];
        let token = match self.write(world, "lock", &request, &revision).await? {
            Written::Yes(answer) => Table::entered(&answer).map_err(|why| failure::odd("lock", why))?,
            Written::Not(found) => {
                self.learn(world, &found, &asks);
                return Ok(Entered::Not(found));
            }
        };
        record.token = Some(token);
        let item = Item {
            revision,
            token: token.get(),
            capacity: claim.capacity,
            claims: vec![record],
            other: None,
        };
        self.learn(world, &item, &asks);
        Ok(Entered::Held(Standing::Held { token, ttl: claim.ttl }, item))
    }

    /// Writes what makes `revision` out of another one, and finds out whether it was made.
    async fn write(
        &self,
        world: &World,
        operation: &'static str,
        request: &Value,
        revision: &str,
    ) -> Result<Written> {
        let found = match world.http.ask("UpdateItem", request).await {
            Ok(answer) => return Ok(Written::Yes(answer)),
            Err(Fault::Again(error) | Fault::Failed(error)) => return Err(error),
            Err(Fault::Condition(Some(found))) => world.item_of(operation, &self.name, &found)?,
            // Not every server says what is there. That nothing was written is not yet known, either: this may be the
            // answer to a repetition.
            Err(Fault::Condition(None)) => world
                .read(operation, &self.name)
                .await
                .map_err(|error| error.with_outcome(Outcome::Unknown))?,
        };
        if found.revision == revision {
            // An earlier attempt had succeeded, and its answer was lost.
            let answer = json!({ "Attributes": { "token": { "N": found.token.to_string() } } });
            return Ok(Written::Yes(answer));
        }
        Ok(Written::Not(found))
    }

    /// The rule upon what is known.
    fn plan(&self, world: &World, item: &Item, asks: &[Ask]) -> Plan {
        let (now, wall) = (world.env.now(), world.wall());
        // Another client's lock has none of its own.
        let wanted =
            asks.iter().find_map(|ask| if let Ask::Join(claim) = ask { Some(claim.capacity) } else { None });
        let capacity = if item.capacity == 0 { wanted.unwrap_or(1) } else { item.capacity };
        let mut queue = {
            let mut desk = self.desk();
            desk.sights.see(item, now);
            queue(item, capacity, &desk.sights, now, wall)
        };
        let before: HashMap<ClaimId, (&Record, Moment)> = item
            .claims
            .iter()
            .zip(queue.entries())
            .map(|(record, entry)| (record.id, (record, entry.deadline)))
            .collect();
        let (mut mint, mut told) = (Mint::above(world.table.last(item.token, wall)), Vec::new());
        let mut renewed = HashSet::new();
        let mut answers = Vec::with_capacity(asks.len());
        for ask in asks {
            let standing = match ask {
                Ask::Join(claim) => match no_room(&queue, claim) {
                    Some(refusal) => Standing::Refused(refusal),
                    None => queue.join(now, claim, &mut mint, &mut told),
                },
                Ask::Refresh(ask) => {
                    queue.refresh(now, ask.claim.id, (ask.ttl, ask.raise), &mut mint, &mut told)
                }
                Ask::Leave(ask) => {
                    queue.leave(now, ask.claim.id, ask.manner, &mut mint, &mut told);
                    Standing::Gone
                }
            };
            if matches!(standing, Standing::Held { .. } | Standing::Queued { .. }) {
                renewed.insert(ask.id());
            }
            answers.push(standing);
        }
        let claims: Vec<Record> = queue
            .entries()
            .map(|entry| match before.get(&entry.id) {
                // What its owner asked for starts its time anew, and so does a hold that lasts for some time at least.
                Some((old, deadline)) if renewed.contains(&entry.id) || *deadline != entry.deadline => {
                    record(entry, old.beat + 1, now, old.since)
                }
                Some((old, _)) => Record { token: entry.token, revoked: entry.revoked, ..(*old).clone() },
                None => record(entry, 0, now, u64::try_from(wall.as_millis()).unwrap_or(u64::MAX)),
            })
            .collect();
        let capacity = queue.capacity().unwrap_or(item.capacity);
        let next = (claims != item.claims).then(|| Item {
            revision: revision(&world.env),
            token: mint.last(),
            capacity,
            other: item.other.clone().filter(|_| claims.first().is_some_and(Record::is_foreign)),
            claims,
        });
        Plan { answers, next }
    }

    /// Takes note of an item as an answer has it that has just come, and tells our waiters what it means to them; but not
    /// those that `asks` are about, for they are answered.
    fn learn(&self, world: &World, item: &Item, asks: &[Ask]) {
        let mut desk = self.desk();
        desk.sights.see(item, world.env.now());
        for ask in asks {
            desk.waiting.remove(&ask.id());
        }
        if desk.waiting.is_empty() {
            return;
        }
        let mut news = Batch::<(ClaimId, Hint)>::new();
        let mut missing = desk.waiting.clone();
        // Another client has let go and handed over to nobody.
        let free = item.claims.first().is_some_and(|first| first.token.is_none());
        for record in &item.claims {
            missing.remove(&record.id);
            match record.token {
                Some(token) if desk.waiting.remove(&record.id) => news.push((record.id, Hint::Held(token))),
                None if free && desk.waiting.contains(&record.id) => news.push((record.id, Hint::Look)),
                _ => {}
            }
        }
        for id in missing {
            desk.waiting.remove(&id);
            news.push((id, Hint::Look));
        }
        drop(desk);
        for (id, hint) in news {
            world.inbox.deliver(id, hint);
        }
    }

    /// Who waits from now on.
    fn note(&self, answers: &[Standing], asks: &[Ask]) {
        let mut desk = self.desk();
        for (ask, standing) in asks.iter().zip(answers) {
            if let Standing::Queued { .. } = standing {
                desk.waiting.insert(ask.id());
            } else {
                desk.waiting.remove(&ask.id());
            }
        }
    }

    /// Looks whether somebody who waits here holds, if nobody has looked for so long; when to look again.
    pub(crate) async fn look(&self, world: &World) -> Moment {
        let now = world.env.now();
        {
            let mut desk = self.desk();
            let due = desk.looked + world.poll;
            if desk.looked != Moment::default() && now < due {
                return due;
            }
            desk.looked = now;
        }
        // What cannot be read now is read the next time, or the claim's own renewal tells.
        if let Ok(item) = world.read("look", &self.name).await {
            self.learn(world, &item, &[]);
            // Whoever now holds renews at once, and shall not have to ask what is there.
            if let Ok(mut known) = self.known.try_lock() {
                *known = Some(item).filter(|item| !item.claims.is_empty());
            }
        }
        // Not all at the same time.
        world.env.now() + world.poll.mul_f64(0.9) + world.http.part_of(world.poll.mul_f64(0.2))
    }

    /// The queue as it is stored, for an onlooker.
    pub(crate) fn show(&self, world: &World, item: &Item) -> Option<QueueView> {
        let (now, wall) = (world.env.now(), world.wall());
        let mut desk = self.desk();
        desk.sights.see(item, now);
        queue(item, item.capacity.max(1), &desk.sights, now, wall).view(now, &self.name)
    }

    /// Reads it for an onlooker.
    pub(crate) async fn inspect(&self, world: &World) -> Result<Option<QueueView>> {
        let item = world.read("look", &self.name).await?;
        Ok(self.show(world, &item))
    }
}

fn queue(item: &Item, capacity: u32, sights: &Sights, now: Moment, wall: Duration) -> Queue {
    let joined = |record: &Record| now - wall.saturating_sub(Duration::from_millis(record.since));
    Queue::from_entries(item.claims.iter().map(|record| sights.entry(record, capacity, joined(record))))
}

fn record(entry: &Entry, beat: u64, now: Moment, since: u64) -> Record {
    Record {
        id: entry.id,
        weight: entry.weight,
        beat,
        life: whole_millis(entry.deadline.since(now)),
        at_least: entry.at_least,
        token: entry.token,
        revoked: entry.revoked,
        since,
        meta: entry.meta.clone(),
    }
}

/// As it is stored: never less.
fn whole_millis(span: Duration) -> Duration {
    Duration::from_millis(u64::try_from(span.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX))
}

/// Why a claim that is new does not fit into the item any more.
fn no_room(queue: &Queue, claim: &Claim) -> Option<Refusal> {
    let mut bytes = size::ITEM_BYTES + claim.name.as_str().len() + size::of_claim(&claim.meta);
    for entry in queue.entries() {
        if entry.id == claim.id {
            return None;
        }
        bytes += size::of_claim(&entry.meta);
    }
    (bytes > size::ITEM_BYTES_MAX).then(|| Refusal::QueueFull { max: queue.entries().len() as u32 })
}

fn revision(env: &Env) -> String {
    format!("{:032x}", env.rng.next())
}
