#![doc = include_str!("docs.md")]

mod config;
mod key;
mod link;
mod pursue;
mod view;
mod work;

use std::fmt;
use std::os::fd::BorrowedFd;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::stream;
use leasehold_core::claim::{Leave, Refresh};
use leasehold_core::engine::{
    Alarms, Batch, ClockKind, Durability, Engine, EngineInfo, Hints, Page, Query, Reach, Reply, Standing,
    TokensRise, Validity, Wakeups,
};
use leasehold_core::inbox::Inbox;
use leasehold_core::{Claim, ClaimRef, Env, Error, ErrorKind, Moment, Result, desk};
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;

use crate::engine::share_a_session;
use crate::lane::{Lane, Opened, World};
use crate::{failure, tls};

pub use config::Config;
use key::Key;
pub use key::Keys;
use link::{Life, Link};

type Desk = desk::Desk<Key, Link>;
type Act = desk::Act<Key, Link>;
type Grip = desk::Grip<Link>;
type Taken = desk::Taken<Link>;

/// A session with claims is confirmed if nothing has been heard of it for this part of its time.
const BEATS: u32 = 3;
/// While it holds nothing, a session is kept for so long.
const KEPT: Duration = Duration::from_secs(30);

static INFO: LazyLock<EngineInfo> = LazyLock::new(|| {
    let mut info = EngineInfo::least("postgres+advisory");
    info.reach = Reach::Network;
    info.durability = Durability::Volatile;
    info.clock = ClockKind::Session;
    info.wakeups = Wakeups::Push;
    info.validity = Validity::Estimated;
    info.ttl_min = Duration::from_millis(100);
    info.batch_max = 1024;
    info.shared = true;
    info.shared_fate = true;
    info.own_queues = true;
    info.notices_death = true;
    info.tokens_rise = TokensRise::ClockAhead;
    info
});

/// What this engine can do and guarantees, whichever database it uses.
pub fn info() -> &'static EngineInfo {
    &INFO
}

/// Advisory locks of a PostgreSQL database.
pub struct Advisory {
    inner: Arc<Inner>,
    upkeep: AbortHandle,
}

impl fmt::Debug for Advisory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Advisory").field("database", &self.inner.world.place).finish_non_exhaustive()
    }
}

/// What the verbs and the background work share.
pub(crate) struct Inner {
    world: Arc<World>,
    keys: Keys,
    /// Where nothing waits: all keys that are free when they are asked for are taken here.
    main: Lane<Link>,
    /// Where nothing is held: what readers ask, cancels and onlookers.
    side: Lane<Link>,
    pool: pursue::Pool,
    desk: Mutex<Desk>,
    /// Its sessions.
    lives: Mutex<Vec<Weak<Life>>>,
    /// The longest TTL that was asked for, in nanoseconds.
    longest: AtomicU64,
    /// When the upkeep looks next, in nanoseconds.
    upkeep_at: AtomicU64,
    /// Something is due before that.
    earlier: Notify,
    /// Rings when claims were lost that their owners believe in.
    bell: watch::Sender<()>,
    closed: AtomicBool,
}

impl Advisory {
    /// Connects, and makes what tokens need if it is missing.
    ///
    /// # Errors
    /// As [`Postgres::open`](crate::Postgres::open), and [`Unsupported`](ErrorKind::Unsupported) for servers before
    /// PostgreSQL 14 and behind a pooler that hands out the database by transactions.
    ///
    /// # Panics
    /// Outside of a tokio runtime, or in one without its I/O driver.
    ///
    /// # Cancel safety
    /// Dropped on the way, nothing stays open; the tables may have been made.
    pub async fn open(config: Config, env: Env) -> Result<Self> {
        let Config { mut database, keys, waiters } = config;
        // A peer that has vanished while we wait for it sends nothing, and is sent nothing.
        database.server.keepalives_idle(KEPT / 3).keepalives_interval(KEPT / 3).keepalives_retries(2);
        let world = Arc::new(World {
            place: database.place(),
            tls: tls::connector(database.tls.as_ref())?,
            inbox: Inbox::default(),
            runtime: Handle::current(),
            channel: String::new(),
            config: database,
            env,
        });
        let (main, side) = (world.connect().await?, world.connect().await?);
        if share_a_session(&world, &main, &side).await? {
            let message = "a pooler hands out the database by transactions, and locks belong to sessions: connect past it, have \
                           it pool by sessions, or use `postgres://`, which keeps locks in a table";
            return Err(Error::new(ErrorKind::Unsupported, "connect", message).with("database", &world.place));
        }
        // Until there is an engine, there is nobody to hear that one of them is lost.
        let inner = Arc::new_cyclic(|weak: &Weak<Inner>| Inner {
            keys,
            main: Lane::new(Arc::clone(&world), weak.clone(), None),
            side: Lane::new(Arc::clone(&world), weak.clone(), None),
            pool: pursue::Pool::new(waiters),
            desk: Mutex::default(),
            lives: Mutex::default(),
            longest: AtomicU64::new(0),
            upkeep_at: AtomicU64::new(Moment::NEVER.as_nanos()),
            earlier: Notify::new(),
            bell: watch::Sender::new(()),
            closed: AtomicBool::new(false),
            world: Arc::clone(&world),
        });
        let weak = Arc::downgrade(&inner);
        inner.main.put(Link::on(main, &world, &weak).await?);
        inner.side.put(Link::on(side, &world, &weak).await?);
        let upkeep = world.runtime.spawn(work::upkeep(weak)).abort_handle();
        Ok(Self { inner, upkeep })
    }

    /// A verb on its way, which comes to its end whoever waits for it.
    fn verb<T: Send + 'static>(
        &self,
        operation: &'static str,
        count: usize,
        work: impl Future<Output = Batch<Result<T>>> + Send + 'static,
    ) -> Reply<T> {
        let (world, inner) = (Arc::clone(&self.inner.world), Arc::downgrade(&self.inner));
        let work = Carried { work: Some(Box::pin(work)), runtime: world.runtime.clone() };
        Reply::later(async move {
            // What needs no answer of the server would let a loop of requests keep its thread for ever.
            tokio::task::consume_budget().await;
            let late = match world.in_time(work).await {
                Some(answers) => return answers,
                None => failure::late(operation, &world.place),
            };
            if let Some(inner) = inner.upgrade() {
                inner.retire();
            }
            (0..count).map(|_| Err(late.clone())).collect()
        })
    }
}

impl Drop for Advisory {
    fn drop(&mut self) {
        self.upkeep.abort();
        self.inner.closed.store(true, Ordering::Release);
        for life in self.inner.lives() {
            life.give_up();
        }
    }
}

/// Work that goes on in the background when nobody polls it any more: the server's answer must be taken in.
struct Carried<T: Send + 'static> {
    work: Option<Pin<Box<dyn Future<Output = T> + Send>>>,
    runtime: Handle,
}

impl<T: Send + 'static> Future for Carried<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let work = self.work.as_mut().expect("polled after its end");
        let out = work.as_mut().poll(cx);
        if out.is_ready() {
            self.work = None;
        }
        out
    }
}

impl<T: Send + 'static> Drop for Carried<T> {
    fn drop(&mut self) {
        if let Some(work) = self.work.take() {
            self.runtime.spawn(work);
        }
    }
}

impl Inner {
    fn desk(&self) -> MutexGuard<'_, Desk> {
        // Nothing under this lock can panic between two changes that belong together.
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn all_lives(&self) -> MutexGuard<'_, Vec<Weak<Life>>> {
        self.lives.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A session has been opened.
    fn enlist(&self, life: &Arc<Life>) {
        let mut lives = self.all_lives();
        lives.retain(|life| life.strong_count() > 0);
        lives.push(Arc::downgrade(life));
    }

    /// All sessions that are open.
    fn lives(&self) -> Vec<Arc<Life>> {
        self.all_lives().iter().filter_map(Weak::upgrade).collect()
    }
}

impl Engine for Advisory {
    fn info(&self) -> &EngineInfo {
        &INFO
    }

    fn join(&self, claims: &[Claim]) -> Reply<Standing> {
        self.verb("join", claims.len(), Arc::clone(&self.inner).join(claims.into()))
    }

    fn refresh(&self, claims: &[Refresh]) -> Reply<Standing> {
        self.verb("refresh", claims.len(), Arc::clone(&self.inner).refresh(claims.into()))
    }

    fn leave(&self, claims: &[Leave]) -> Reply<()> {
        self.verb("leave", claims.len(), Arc::clone(&self.inner).leave(claims.into()))
    }

    fn watch(&self, claim: &ClaimRef) -> Hints {
        self.inner.stay(claim.id);
        self.inner.world.inbox.watch(claim.id)
    }

    fn inspect(&self, query: Query) -> Pin<Box<dyn Future<Output = Result<Page>> + Send>> {
        let inner = Arc::clone(&self.inner);
        Box::pin(async move { view::page(&inner, &query).await })
    }

    fn alarms(&self) -> Alarms {
        let bell = self.inner.bell.subscribe();
        Box::pin(stream::unfold(bell, |mut bell| async { bell.changed().await.ok().map(|()| ((), bell)) }))
    }

    fn lifeline(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}
