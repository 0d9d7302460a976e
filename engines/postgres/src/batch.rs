//! What callers ask, put together for the database, and its answers taken apart.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use hashbrown::{HashMap, HashSet};
use leasehold_core::claim::{Leave, Refresh, WAITING_TTL_MAX};
use leasehold_core::engine::Refusal;
use leasehold_core::ledger::QUEUE_CLAIMS_MAX;
use leasehold_core::{Batch, Claim, ClaimId, Error, ErrorKind, Result, Standing};

use crate::engine::Inner;
use crate::failure;
use crate::lane::{Lane, Session};
use crate::wire::{self, Item, Stands, Told};

/// How often a request is made again that the database undid for the sake of another.
const TRIES_MAX: usize = 4;
/// How often those look whom nobody tells: all where nobody listens, and the first behind another client's lock.
pub(crate) const LOOK_UNTOLD: Duration = Duration::from_millis(500);
const LOOK_FOREIGN: Duration = Duration::from_millis(250);

/// What a caller asks.
#[derive(Debug)]
pub(crate) enum Op {
    Join(Batch<Claim>),
    Refresh(Batch<Refresh>),
    Leave(Batch<Leave>),
}

/// What it is answered.
#[derive(Debug)]
pub(crate) enum Answer {
    Standings(Batch<Result<Standing>>),
    Left(Batch<Result<()>>),
}

impl Op {
    fn items(&self) -> Vec<Item<'_>> {
        match self {
            Self::Join(claims) => claims.iter().map(Item::Join).collect(),
            Self::Refresh(asks) => asks.iter().map(Item::Refresh).collect(),
            Self::Leave(asks) => asks.iter().map(Item::Leave).collect(),
        }
    }
}

/// Does what is asked, all of it in one statement if that can be.
pub(crate) async fn run(inner: &Arc<Inner>, ops: &[Op]) -> Vec<Answer> {
    let items: Vec<Item<'_>> = ops.iter().flat_map(Op::items).collect();
    let mut answers: Vec<Option<Result<Standing>>> = Vec::new();
    answers.resize_with(items.len(), || None);
    for round in rounds(&items) {
        let these: Vec<Item<'_>> = round.iter().map(|&at| items[at]).collect();
        for (at, answer) in round.into_iter().zip(inner.ask(&these).await) {
            answers[at] = Some(answer);
        }
    }
    let mut answers = answers.into_iter().map(|answer| answer.expect("each item is in a round"));
    let mut take = |count| answers.by_ref().take(count).collect::<Batch<_>>();
    ops.iter()
        .map(|op| match op {
            Op::Join(claims) => Answer::Standings(take(claims.len())),
            Op::Refresh(asks) => Answer::Standings(take(asks.len())),
            Op::Leave(asks) => {
                Answer::Left(take(asks.len()).into_iter().map(|left| left.map(drop)).collect())
            }
        })
        .collect()
}

/// Cuts a list so that no claim is named twice in a piece: within one statement leaves come first, and what is asked of
/// a claim first must be done first.
fn rounds(items: &[Item<'_>]) -> Vec<Vec<usize>> {
    let mut rounds = vec![Vec::with_capacity(items.len())];
    if items.len() < 2 {
        rounds[0].extend(0..items.len());
        return rounds;
    }
    let mut named = HashSet::with_capacity(items.len());
    for (at, item) in items.iter().enumerate() {
        if !named.insert(item.id()) {
            named.clear();
            named.insert(item.id());
            rounds.push(Vec::new());
        }
        rounds.last_mut().expect("there is always one").push(at);
    }
    rounds
}

impl Inner {
    /// Asks about claims none of which is named twice.
    async fn ask(self: &Arc<Self>, items: &[Item<'_>]) -> Vec<Result<Standing>> {
        let session = match self.main.session().await {
            Ok(session) => session,
            Err(why) => return items.iter().map(|_| Err(why.clone())).collect(),
        };
        let (fit, too_long): (Vec<Item<'_>>, Vec<Item<'_>>) =
            items.iter().copied().partition(|item| session.name_max.is_none_or(|max| chars(item) <= max));
        let mut answers: HashMap<_, _> = too_long
            .iter()
            .map(|item| (item.id(), Err(name_too_long(item, session.name_max.unwrap_or_default()))))
            .collect();
        match self.tell(&self.main, &session, false, &fit).await {
            Ok(told) if told.busy.is_empty() => self.settle(&fit, &told, &mut answers),
            Ok(told) => {
                let (busy, done): (Vec<Item<'_>>, Vec<Item<'_>>) = fit
                    .iter()
                    .copied()
                    .partition(|item| told.busy.iter().any(|name| name == item.name().as_str()));
                self.settle(&done, &told, &mut answers);
                self.one_by_one(&busy, &mut answers).await;
            }
            Err(Trouble::OfOne) => self.one_by_one(&fit, &mut answers).await,
            Err(Trouble::Failed(why)) => {
                answers.extend(fit.iter().map(|item| (item.id(), Err(why.clone()))));
            }
        }
        items.iter().map(|item| answers.remove(&item.id()).expect("each item has been answered")).collect()
    }

    /// A statement for each name, on the other connection, where it may wait for a row without being in anybody's way.
    async fn one_by_one(
        self: &Arc<Self>,
        items: &[Item<'_>],
        answers: &mut HashMap<ClaimId, Result<Standing>>,
    ) {
        let mut by_name: HashMap<&str, Vec<Item<'_>>> = HashMap::new();
        for item in items {
            by_name.entry(item.name().as_str()).or_default().push(*item);
        }
        let asked = join_all(by_name.into_values().map(|items| async {
            let told = self.patiently(&items).await;
            (items, told)
        }));
        for (items, told) in asked.await {
            match told {
                Ok(told) => self.settle(&items, &told, answers),
                Err(why) => answers.extend(items.iter().map(|item| (item.id(), Err(why.clone())))),
            }
        }
    }

    async fn patiently(&self, items: &[Item<'_>]) -> Result<Told> {
        let session = self.side.session().await?;
        let mut tries = 0;
        loop {
            tries += 1;
            match self.try_tell(&self.side, &session, true, items).await? {
                Ok(told) => return Ok(told),
                Err(e) if failure::is_passing(&e) && tries < TRIES_MAX => {}
                Err(e) => return Err(failure::request("request", &self.world.place, e)),
            }
        }
    }

    async fn tell(
        &self,
        lane: &Lane,
        session: &Arc<Session>,
        patient: bool,
        items: &[Item<'_>],
    ) -> std::result::Result<Told, Trouble> {
        if items.is_empty() {
            return Ok(Told::default());
        }
        match self.try_tell(lane, session, patient, items).await.map_err(Trouble::Failed)? {
            Ok(told) => Ok(told),
            Err(e) if failure::is_of_one(&e) => Err(Trouble::OfOne),
            Err(e) => Err(Trouble::Failed(failure::request("request", &self.world.place, e))),
        }
    }

    /// One statement; the inner error is the database's own.
    async fn try_tell(
        &self,
        lane: &Lane,
        session: &Arc<Session>,
        patient: bool,
        items: &[Item<'_>],
    ) -> Result<std::result::Result<Told, tokio_postgres::Error>> {
        let me = if self.hears { self.world.channel.as_str() } else { "" };
        let work = wire::work(&session.connection.client, session.work.as_ref(), (patient, me), items);
        let Some(done) = self.world.in_time(work).await else {
            lane.forget(session);
            return Err(failure::late("request", &self.world.place));
        };
        if done.as_ref().is_err_and(failure::is_of_the_server) {
            lane.forget(session);
        }
        Ok(done)
    }

    /// Takes the answers to these items apart, and tells those who hold now.
    fn settle(
        self: &Arc<Self>,
        items: &[Item<'_>],
        told: &Told,
        answers: &mut HashMap<ClaimId, Result<Standing>>,
    ) {
        let mut queued = false;
        for item in items {
            let ttl = match item {
                Item::Join(claim) => claim.ttl,
                Item::Refresh(ask) => ask.ttl,
                Item::Leave(_) => Duration::ZERO,
            };
            let standing = match told.stands.get(&item.id()) {
                None => Standing::Gone,
                Some(Stands::Held(token)) => Standing::Held { token: *token, ttl },
                Some(Stands::Capacity(current)) => Standing::Refused(Refusal::Capacity { current: *current }),
                Some(Stands::Full) => Standing::Refused(Refusal::QueueFull { max: QUEUE_CLAIMS_MAX as u32 }),
                Some(Stands::Queued { ahead, look_again, foreign }) => {
                    queued = true;
                    let mut look_again = *look_again;
                    if *foreign && *ahead == 1 {
                        look_again = look_again.min(LOOK_FOREIGN);
                    }
                    if !self.hears {
                        look_again = look_again.min(LOOK_UNTOLD);
                    }
                    Standing::Queued { ahead: *ahead, ttl: ttl.min(WAITING_TTL_MAX), look_again }
                }
            };
            answers.insert(item.id(), Ok(standing));
        }
        self.hand_over(&told.heirs);
        if queued {
            self.listen();
        }
    }
}

/// Why nothing of a statement was done.
enum Trouble {
    /// Each name is to be asked for alone.
    OfOne,
    Failed(Error),
}

fn chars(item: &Item<'_>) -> usize {
    item.name().as_str().chars().count()
}

fn name_too_long(item: &Item<'_>, max: usize) -> Error {
    let message = format!(
        "the name has {} characters, and the column `lock_name` takes {max}; choose a shorter name, or widen the column",
        chars(item)
    );
    Error::new(ErrorKind::InvalidInput, "request", message).with("lock", item.name())
}
