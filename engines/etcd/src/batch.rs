//! Transactions: what arrives while one is under way goes into the next one, joins and leaves together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;
use hashbrown::{HashMap, HashSet};
use leasehold_core::Result;
use leasehold_core::gather::{Gather, Work};

use crate::failure::{self, is_of_one_item};
use crate::link::Link;
use crate::messages::{
    KeyValue, RangeRequest, Request, Response, ResponseOp, TxnRequest, TxnResponse, revision,
};
use crate::wire::{self, op};

/// The most items of a transaction: etcd takes 128 operations unless told otherwise, counted along the deepest path, and
/// two are those of an item.
const ITEMS_MAX: usize = 126;

/// Something to be done in a transaction.
#[derive(Clone, Debug)]
pub(crate) enum Item {
    /// Puts this key and tells the line of this lock. All keys of one transaction have the same create revision, which
    /// is their token, so it may have only one of a lock.
    Enter { lock: Arc<str>, key: Arc<str>, txn: TxnRequest },
    /// Deletes this key, and tells who is first in its line then if somebody wants to know.
    Exit { key: Arc<str>, first: Option<RangeRequest> },
}

/// What came of it.
#[derive(Clone, Debug)]
pub(crate) enum Done {
    /// The line, and the revision of that.
    Entered(Vec<KeyValue>, u64),
    /// The key is not there any more; who is first since this revision, if that was asked.
    Left(Option<KeyValue>, u64),
}

impl Item {
    fn operation(&self) -> &'static str {
        match self {
            Self::Enter { .. } => "lock",
            Self::Exit { .. } => "release",
        }
    }

    fn key(&self) -> &Arc<str> {
        match self {
            Self::Enter { key, .. } | Self::Exit { key, .. } => key,
        }
    }
}

/// A gather of them.
pub(crate) fn gather(link: Arc<Link>) -> Gather<Item, Result<Done>> {
    let limit = Arc::new(AtomicUsize::new(ITEMS_MAX));
    let run = move |items: Vec<Item>| -> Work<Vec<Result<Done>>> {
        let batch = Batch { link: Arc::clone(&link), limit: Arc::clone(&limit) };
        Box::pin(async move {
            match &items[..] {
                [item] => vec![batch.alone(item).await],
                items => batch.together(items).await,
            }
        })
    };
    Gather::new(ITEMS_MAX, run, |rest| drop(tokio::spawn(rest)))
}

struct Batch {
    link: Arc<Link>,
    limit: Arc<AtomicUsize>,
}

impl Batch {
    async fn alone(&self, item: &Item) -> Result<Done> {
        match item {
            Item::Enter { txn, .. } => entered(self.link.ask("lock", txn.clone()).await?, None),
            Item::Exit { key, first: None } => {
                let answer = self.link.ask("release", wire::delete(key)).await?;
                Ok(Done::Left(None, revision(answer.header)))
            }
            Item::Exit { key, first: Some(first) } => {
                let txn = wire::exit(key, first.clone());
                left(self.link.ask("release", txn).await?, None)
            }
        }
    }

    /// In as few transactions as may be; what is about one key, one after the other.
    async fn together(&self, items: &[Item]) -> Vec<Result<Done>> {
        let (waves, in_turn) = waves(items, self.limit.load(Ordering::Relaxed));
        let mut answers: Vec<Option<Result<Done>>> = vec![None; items.len()];
        let mut take = |wave: &[usize], done: Vec<Result<Done>>| {
            wave.iter().zip(done).for_each(|(nth, done)| answers[*nth] = Some(done));
        };
        if in_turn {
            for wave in &waves {
                take(wave, self.wave(items, wave).await);
            }
        } else {
            let all = join_all(waves.iter().map(|wave| self.wave(items, wave))).await;
            waves.iter().zip(all).for_each(|(wave, done)| take(wave, done));
        }
        answers.into_iter().map(|done| done.expect("each item is in a wave")).collect()
    }

    async fn wave(&self, items: &[Item], wave: &[usize]) -> Vec<Result<Done>> {
        let each = async || join_all(wave.iter().map(|nth| self.alone(&items[*nth]))).await;
        if wave.len() == 1 {
            return each().await;
        }
        let ops = wave.iter().map(|nth| match &items[*nth] {
            Item::Enter { txn, .. } => op(Request::Txn(txn.clone())),
            Item::Exit { key, first: None } => op(Request::Delete(wire::delete(key))),
            Item::Exit { key, first: Some(first) } => op(Request::Txn(wire::exit(key, first.clone()))),
        });
        let txn = TxnRequest { success: ops.collect(), ..TxnRequest::default() };
        match self.link.ask(items[wave[0]].operation(), txn).await {
            Ok(answer) if answer.responses.len() == wave.len() => {
                let at = revision(answer.header);
                let one = |(nth, one): (&usize, _)| done(&items[*nth], one, at);
                wave.iter().zip(answer.responses).map(one).collect()
            }
            Ok(_) => wave.iter().map(|_| Err(failure::odd("lock", "too few parts"))).collect(),
            Err(error) if is_of_one_item(&error) => {
                if failure::is_too_long(&error) {
                    self.limit.fetch_min(wave.len().div_ceil(2), Ordering::Relaxed);
                }
                each().await
            }
            Err(error) => wave.iter().map(|_| Err(error.clone())).collect(),
        }
    }
}

/// Which items go into which transaction, and whether one of these has to wait for another.
fn waves(items: &[Item], limit: usize) -> (Vec<Vec<usize>>, bool) {
    let mut waves: Vec<(Vec<usize>, HashSet<&str>)> = Vec::new();
    let mut last: HashMap<&str, usize> = HashMap::new();
    let mut in_turn = false;
    for (nth, item) in items.iter().enumerate() {
        let after = last.get(&**item.key()).map_or(0, |wave| wave + 1);
        in_turn |= after > 0;
        let lock = match item {
            Item::Enter { lock, .. } => Some(&**lock),
            Item::Exit { .. } => None,
        };
        let fits = |(wave, locks): &(Vec<usize>, HashSet<&str>)| {
            wave.len() < limit && lock.is_none_or(|lock| !locks.contains(lock))
        };
        let at = (after..waves.len()).find(|at| fits(&waves[*at])).unwrap_or_else(|| {
            waves.push(Default::default());
            waves.len() - 1
        });
        waves[at].0.push(nth);
        waves[at].1.extend(lock);
        last.insert(item.key(), at);
    }
    let mut waves: Vec<_> = waves.into_iter().map(|(wave, _)| wave).collect();
    // Who goes goes first: who comes in the same transaction would wait for the end of one that ends at the revision at which
    // it looks, and hear nothing of it.
    waves.iter_mut().for_each(|wave| wave.sort_by_key(|nth| matches!(items[*nth], Item::Enter { .. })));
    (waves, in_turn)
}

fn done(item: &Item, response: ResponseOp, at: u64) -> Result<Done> {
    match (item, response.response) {
        (Item::Enter { .. }, Some(Response::Txn(txn))) => entered(txn, Some(at)),
        (Item::Exit { .. }, Some(Response::Txn(txn))) => left(txn, Some(at)),
        (Item::Exit { .. }, Some(Response::Delete(_))) => Ok(Done::Left(None, at)),
        _ => Err(failure::odd("lock", "a part that was not asked for")),
    }
}

fn entered(txn: TxnResponse, at: Option<u64>) -> Result<Done> {
    let (line, at) = read_last(txn, at)?;
    Ok(Done::Entered(line, at))
}

fn left(txn: TxnResponse, at: Option<u64>) -> Result<Done> {
    let (line, at) = read_last(txn, at)?;
    Ok(Done::Left(line.into_iter().next(), at))
}

/// What a transaction has read in the end, and the revision of that.
fn read_last(txn: TxnResponse, at: Option<u64>) -> Result<(Vec<KeyValue>, u64)> {
    let at = at.unwrap_or_else(|| revision(txn.header));
    match txn.responses.into_iter().next_back().and_then(|last| last.response) {
        Some(Response::Range(line)) => Ok((line.kvs, at)),
        _ => Err(failure::odd("lock", "no line")),
    }
}
