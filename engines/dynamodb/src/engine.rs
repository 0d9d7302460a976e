//! The engine: what is asked is sorted by lock, and each lock's part done on its own.

use std::fmt;
use std::os::fd::BorrowedFd;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use futures_util::{FutureExt, StreamExt, future, stream};
use leasehold_core::claim::{Leave, Refresh};
use leasehold_core::engine::{
    Alarms, Batch, ClockKind, Durability, Engine, EngineInfo, Hints, Page, Query, Reach, Reply, Standing,
    TokensRise, Validity, Wakeups, no_alarms,
};
use leasehold_core::inbox::Inbox;
use leasehold_core::{Claim, ClaimRef, Env, Error, ErrorKind, Outcome, Result};
use tokio::runtime::Handle;

use crate::config::{Config, Layout};
use crate::http::Http;
use crate::line::{Ask, World};
use crate::lines::Lines;
use crate::wire::Table;
use crate::{table, view};

/// The most claims in one request.
const BATCH_MAX: usize = 256;
/// No lock is held for longer without a renewal.
const TTL_MAX: Duration = Duration::from_secs(24 * 3600);
/// What has not been used for so long is not held, by clocks that are not more than a day apart.
pub(crate) const FORGET_MIN: Duration = Duration::from_secs(2 * 24 * 3600);

static INFO: LazyLock<EngineInfo> = LazyLock::new(|| {
    let mut info = EngineInfo::least("dynamodb");
    info.reach = Reach::Network;
    info.durability = Durability::Consensus;
    info.clock = ClockKind::Observed;
    info.wakeups = Wakeups::Poll;
    info.validity = Validity::Proven;
    // One slow request is not the end of a lock.
    info.ttl_min = Duration::from_millis(500);
    info.ttl_max = TTL_MAX;
    info.batch_max = BATCH_MAX;
    info.shared = true;
    info.at_least = true;
    info.raise = true;
    info.tokens_rise = TokensRise::WithData;
    info
});

/// What this engine can do and guarantees, whichever table it uses.
pub fn info() -> &'static EngineInfo {
    &INFO
}

/// Locks in a DynamoDB table.
pub struct DynamoDb {
    inner: Arc<Inner>,
    runtime: Handle,
    info: EngineInfo,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) world: World,
    pub(crate) lines: Lines,
}

impl fmt::Debug for DynamoDb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DynamoDb").field("table", &self.inner.world.table.name).finish_non_exhaustive()
    }
}

impl DynamoDb {
    /// Looks at the table, and makes an engine of it.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) if there is no such table or its key is another;
    /// [`Denied`](ErrorKind::Denied) without credentials or with such as may not use it;
    /// [`Unavailable`](ErrorKind::Unavailable) if DynamoDB does not answer.
    ///
    /// # Panics
    /// Outside of a tokio runtime, or in one without its I/O driver.
    ///
    /// # Cancel safety
    /// Dropped on the way, nothing stays open.
    pub async fn open(config: Config, env: Env) -> Result<Self> {
        let http = Http::new(&config, env.clone())?;
        let mut info = INFO.clone();
        let (hash, range, warnings) = table::check(&http, &config).await?;
        info.warnings = warnings;
        if config.layout == Layout::Aws {
            info.tokens_rise = TokensRise::ClockAhead;
        }
        let world = World {
            http,
            table: Table { name: config.table, hash, range, layout: config.layout, forget: config.forget },
            inbox: Inbox::default(),
            poll: config.poll,
            env,
        };
        let inner = Arc::new(Inner { world, lines: Lines::default() });
        Ok(Self { inner, runtime: Handle::current(), info })
    }

    /// Begins at once, in the caller's own poll, so that what concerns one lock is done in the order in which it was
    /// asked; and goes on whether or not somebody waits for the answer.
    fn start<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Started<T> {
        let _runtime = self.runtime.enter();
        let mut work = Box::pin(work);
        match work.as_mut().now_or_never() {
            Some(done) => future::Either::Left(future::ready(Ok(done))),
            None => future::Either::Right(self.runtime.spawn(work)),
        }
    }

    /// One answer an item, in their order.
    fn ask<T: Send + 'static>(&self, asks: Vec<Ask>, convert: fn(Standing) -> T) -> Reply<T> {
        let count = asks.len();
        let now = self.inner.world.env.now();
        let parts: Vec<_> = by_lock(asks)
            .into_iter()
            .map(|(places, asks)| {
                let inner = self.inner.clone();
                let line = inner.lines.of(asks[0].name(), now);
                let work = self.start(async move { line.change(&inner.world, asks).await });
                async move { (places, work.await) }
            })
            .collect();
        Reply::later(async move {
            let mut answers: Vec<Option<Result<T>>> = (0..count).map(|_| None).collect();
            for (places, done) in future::join_all(parts).await {
                let done = match done {
                    Ok(done) => done,
                    Err(ended) => {
                        Err(ended.try_into_panic().map_or_else(shut_down, |p| std::panic::resume_unwind(p)))
                    }
                };
                match done {
                    Ok(standings) => {
                        for (place, standing) in places.into_iter().zip(standings) {
                            answers[place] = Some(Ok(convert(standing)));
                        }
                    }
                    Err(error) => {
                        for place in places {
                            answers[place] = Some(Err(error.clone()));
                        }
                    }
                }
            }
            answers
                .into_iter()
                .map(|answer| answer.expect("each item has a lock, and each lock an answer"))
                .collect::<Batch<_>>()
        })
    }
}

type Started<T> =
    future::Either<future::Ready<std::result::Result<T, tokio::task::JoinError>>, tokio::task::JoinHandle<T>>;

/// What concerns each lock, and which items these are.
fn by_lock(asks: Vec<Ask>) -> Vec<(Vec<usize>, Vec<Ask>)> {
    let mut asks: Vec<(usize, Ask)> = asks.into_iter().enumerate().collect();
    // Stable: in order within one lock.
    asks.sort_by(|(_, a), (_, b)| a.name().cmp(b.name()));
    let mut parts: Vec<(Vec<usize>, Vec<Ask>)> = Vec::new();
    for (place, ask) in asks {
        match parts.last_mut() {
            Some((places, part)) if part[0].name() == ask.name() => {
                places.push(place);
                part.push(ask);
            }
            _ => parts.push((vec![place], vec![ask])),
        }
    }
    parts
}

fn shut_down(_: tokio::task::JoinError) -> Error {
    Error::new(ErrorKind::Closed, "request", "the tokio runtime in which the engine was opened has shut down")
        .with_outcome(Outcome::Unknown)
}

impl Engine for DynamoDb {
    fn info(&self) -> &EngineInfo {
        &self.info
    }

    fn join(&self, claims: &[Claim]) -> Reply<Standing> {
        self.ask(claims.iter().cloned().map(Ask::Join).collect(), std::convert::identity)
    }

    fn refresh(&self, claims: &[Refresh]) -> Reply<Standing> {
        self.ask(claims.iter().cloned().map(Ask::Refresh).collect(), std::convert::identity)
    }

    fn leave(&self, claims: &[Leave]) -> Reply<()> {
        self.ask(claims.iter().cloned().map(Ask::Leave).collect(), drop)
    }

    /// Nobody tells a waiter of another client that it holds: the stream looks, as long as it is polled. Those of one
    /// lock share the looks.
    fn watch(&self, claim: &ClaimRef) -> Hints {
        let (inner, now) = (self.inner.clone(), self.inner.world.env.now());
        let line = inner.lines.of(&claim.name, now);
        let told = inner.world.inbox.watch(claim.id);
        let looks = stream::unfold(now + inner.world.poll, move |at| {
            let (inner, line) = (inner.clone(), line.clone());
            async move {
                inner.world.env.clock.sleep_until(at).await;
                Some((None, line.look(&inner.world).await))
            }
        });
        Box::pin(stream::select(told.map(Some), looks).filter_map(future::ready))
    }

    fn inspect(&self, query: Query) -> Pin<Box<dyn Future<Output = Result<Page>> + Send>> {
        let inner = self.inner.clone();
        Box::pin(async move { view::page(&inner, &query).await })
    }

    fn alarms(&self) -> Alarms {
        no_alarms()
    }

    fn lifeline(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}
