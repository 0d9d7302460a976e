//! What callers ask, put together for the database, and its answers taken apart.

use std::sync::Arc;
use std::time::Duration;

use leasehold_core::claim::{Leave, Refresh, WAITING_TTL_MAX};
use leasehold_core::engine::Refusal;
use leasehold_core::ledger::QUEUE_CLAIMS_MAX;
use leasehold_core::{Batch, Claim, Error, ErrorKind, Hint, Result, Standing};

use crate::engine::Inner;
use crate::failure;
use crate::lane::{Lane, Session};
use crate::wire::{self, Item, Patience, Stands, Told};

/// How often a request is made again that the database undid for the sake of another.
const TRIES_MAX: usize = 5;
/// So many renewals at the least go in one statement.
const RENEWALS_MIN: usize = 8;
/// How long those who have a row to wait for may hold up the next batch, together; the database waits for one about as long.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often those look whom nobody tells: all where nobody listens, and the first behind another client's lock.
const LOOK_UNTOLD: Duration = Duration::from_millis(500);
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

/// Does what is asked, all of it in one transaction if that can be.
pub(crate) async fn run(inner: &Arc<Inner>, ops: &[Op]) -> Vec<Answer> {
    let items: Vec<Item<'_>> = ops.iter().flat_map(Op::items).collect();
    let mut answers: Vec<Option<Result<Standing>>> = items.iter().map(|item| inner.refuse(item)).collect();
    // Rows are locked in the order of names by everybody, and what is asked of one name stays in its order.
    let mut order: Vec<usize> = (0..items.len()).filter(|&at| answers[at].is_none()).collect();
    order.sort_by_key(|&at| items[at].name());
    let sorted: Vec<Item<'_>> = order.iter().map(|&at| items[at]).collect();
    for (at, answer) in order.into_iter().zip(inner.ask(&sorted).await) {
        answers[at] = Some(answer);
    }
    let mut answers = answers.into_iter().map(|answer| answer.expect("each item has been answered"));
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

impl Inner {
    /// What the database could not keep is not sent.
    fn refuse(&self, item: &Item<'_>) -> Option<Result<Standing>> {
        let (bytes, max) = (item.name().as_str().len(), self.name_max);
        (bytes > max).then(|| {
            let message = format!(
                "the name has {bytes} bytes, and the column `lock_name` takes {max}; choose a shorter name, or widen the \
                 column"
            );
            Err(Error::new(ErrorKind::InvalidInput, "request", message).with("lock", item.name()))
        })
    }

    /// Asks, in the order of names.
    async fn ask(self: &Arc<Self>, items: &[Item<'_>]) -> Vec<Result<Standing>> {
        let renewed = match self.renew(items).await {
            Ok(renewed) => renewed,
            Err(Trouble::OfOne(_)) => vec![None; items.len()],
            Err(Trouble::Failed(why)) => return items.iter().map(|_| Err(why.clone())).collect(),
        };
        let rest: Vec<Item<'_>> =
            items.iter().zip(&renewed).filter(|(_, done)| done.is_none()).map(|(item, _)| *item).collect();
        let mut late = self.ask_each(&rest).await.into_iter();
        let answers = renewed.into_iter().map(|done| done.map_or_else(|| late.next(), |done| Some(Ok(done))));
        answers.map(|answer| answer.expect("one for each that was not renewed")).collect()
    }

    /// Renews those who hold and of whose names nothing else is asked, if there are many.
    async fn renew(&self, items: &[Item<'_>]) -> std::result::Result<Vec<Option<Standing>>, Trouble> {
        let mut standings = vec![None; items.len()];
        let mut at = 0;
        let mut asks: Vec<(usize, &Refresh)> = Vec::new();
        for of_one in items.chunk_by(|one, other| one.name() == other.name()) {
            if let [Item::Refresh(ask)] = of_one {
                asks.push((at, ask));
            }
            at += of_one.len();
        }
        if asks.len() < RENEWALS_MIN {
            return Ok(standings);
        }
        let mut session = self.main.session().await.map_err(Trouble::Failed)?;
        let all: Vec<&Refresh> = asks.iter().map(|(_, ask)| *ask).collect();
        let done = self.world.in_time(wire::renew(session.conn(), &all)).await;
        for ((at, ask), token) in asks.into_iter().zip(self.taken_in(session, done)?) {
            standings[at] = token.map(|token| Standing::Held { token, ttl: ask.ttl });
        }
        Ok(standings)
    }

    async fn ask_each(self: &Arc<Self>, items: &[Item<'_>]) -> Vec<Result<Standing>> {
        if items.is_empty() {
            return Vec::new();
        }
        let told = match self.tell(&self.main, Patience::Skip, items).await {
            Ok(told) => told,
            Err(Trouble::OfOne(_)) => return self.one_by_one(items).await,
            Err(Trouble::Failed(why)) => return items.iter().map(|_| Err(why.clone())).collect(),
        };
        let answers = self.settle(items, told);
        let busy: Vec<Item<'_>> = items
            .iter()
            .zip(&answers)
            .filter(|(_, answer)| answer.is_none())
            .map(|(item, _)| *item)
            .collect();
        if busy.is_empty() {
            return answers.into_iter().flatten().map(Ok).collect();
        }
        let mut late = self.one_by_one(&busy).await.into_iter();
        let answers = answers.into_iter().map(|answer| answer.map_or_else(|| late.next(), |a| Some(Ok(a))));
        answers.map(|answer| answer.expect("one for each that was busy")).collect()
    }

    /// A transaction for each name, on the other connection, where it may wait for a row without being in anybody's way.
    async fn one_by_one(self: &Arc<Self>, items: &[Item<'_>]) -> Vec<Result<Standing>> {
        let mut answers = Vec::with_capacity(items.len());
        let impatient = self.world.env.now() + PATIENCE;
        for items in items.chunk_by(|one, other| one.name() == other.name()) {
            let patience = if self.world.env.now() < impatient { Patience::Wait } else { Patience::Skip };
            match self.alone(patience, items).await {
                Ok(told) => answers.extend(
                    self.settle(items, told)
                        .into_iter()
                        .map(|standing| standing.ok_or_else(|| failure::kept(&self.world.place))),
                ),
                Err(why) => answers.extend(items.iter().map(|_| Err(why.clone()))),
            }
        }
        answers
    }

    async fn alone(&self, patience: Patience, items: &[Item<'_>]) -> Result<Told> {
        let mut tries = 0;
        loop {
            tries += 1;
            match self.tell(&self.side, patience, items).await {
                Ok(told) => return Ok(told),
                Err(Trouble::OfOne(why)) if failure::is_passing(&why) && tries < TRIES_MAX => {}
                Err(Trouble::OfOne(why)) => {
                    return Err(failure::request("request", &self.world.place, why));
                }
                Err(Trouble::Failed(why)) => return Err(why),
            }
        }
    }

    /// One transaction.
    async fn tell(
        &self,
        lane: &Lane,
        patience: Patience,
        items: &[Item<'_>],
    ) -> std::result::Result<Told, Trouble> {
        let mut session = lane.session().await.map_err(Trouble::Failed)?;
        let work = wire::work(session.conn(), self.world.peer(), patience, items);
        let done = self.world.in_time(work).await;
        self.taken_in(session, done)
    }

    /// What came of a transaction, and its connection for the next one.
    fn taken_in<T>(
        &self,
        session: Session<'_>,
        done: Option<std::result::Result<T, mysql_async::Error>>,
    ) -> std::result::Result<T, Trouble> {
        let Some(done) = done else {
            return Err(Trouble::Failed(failure::late("request", &self.world.place)));
        };
        if !done.as_ref().is_err_and(failure::is_of_the_connection) {
            session.keep();
        }
        match done {
            Ok(done) => Ok(done),
            Err(e) if failure::is_of_one(&e) => Err(Trouble::OfOne(e)),
            Err(e) => Err(Trouble::Failed(failure::request("request", &self.world.place, e))),
        }
    }

    /// Takes the answers apart, and tells those who hold now; `None` for those who are to be asked for again.
    fn settle(self: &Arc<Self>, items: &[Item<'_>], told: Told) -> Vec<Option<Standing>> {
        for heir in &told.heirs {
            self.world.inbox.deliver(heir.id, Hint::Held(heir.token));
        }
        let mut queued = false;
        let standings = items.iter().zip(told.stands).map(|(item, stands)| {
            let ttl = match item {
                Item::Join(claim) => claim.ttl,
                Item::Refresh(ask) => ask.ttl,
                Item::Leave(_) => Duration::ZERO,
            };
            Some(match stands {
                Stands::Busy => return None,
                Stands::Gone => Standing::Gone,
                Stands::Held(token) => Standing::Held { token, ttl },
                Stands::Capacity(current) => Standing::Refused(Refusal::Capacity { current }),
                Stands::Full => Standing::Refused(Refusal::QueueFull { max: QUEUE_CLAIMS_MAX as u32 }),
                Stands::Queued { ahead, mut look_again, foreign } => {
                    queued = true;
                    if foreign && ahead == 1 {
                        look_again = look_again.min(LOOK_FOREIGN);
                    }
                    if !self.world.config.listen {
                        look_again = look_again.min(LOOK_UNTOLD);
                    }
                    Standing::Queued { ahead, ttl: ttl.min(WAITING_TTL_MAX), look_again }
                }
            })
        });
        let standings = standings.collect();
        if queued {
            self.listen();
        }
        standings
    }
}

/// Why nothing of a transaction was done.
enum Trouble {
    /// Each name is to be asked for alone.
    OfOne(mysql_async::Error),
    Failed(Error),
}
