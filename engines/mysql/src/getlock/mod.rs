#![doc = include_str!("docs.md")]

mod config;
mod link;
mod name;
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
use leasehold_core::{Claim, ClaimRef, Env, Moment, Result, desk};
use mysql_async::Opts;
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;

use crate::failure;

pub use config::Config;
use link::{Lane, Link};
use name::Key;

type Desk = desk::Desk<Key, Link>;
type Act = desk::Act<Key, Link>;
type Grip = desk::Grip<Link>;
type Taken = desk::Taken<Link>;

/// A session with claims is confirmed if nothing has been heard of it for this part of its time.
const BEATS: u32 = 3;
/// While it holds nothing, a session is kept for so long.
const KEPT: Duration = Duration::from_secs(30);

static INFO: LazyLock<EngineInfo> = LazyLock::new(|| {
    let mut info = EngineInfo::least("mysql+getlock");
    info.reach = Reach::Network;
    info.durability = Durability::Volatile;
    info.clock = ClockKind::Session;
    info.wakeups = Wakeups::Push;
    info.validity = Validity::Estimated;
    info.ttl_min = Duration::from_millis(100);
    info.batch_max = 1024;
    info.shared_fate = true;
    info.own_queues = true;
    info.notices_death = true;
    info.tokens_rise = TokensRise::ClockAhead;
    info
});

/// What this engine can do and guarantees, whichever server it uses.
pub fn info() -> &'static EngineInfo {
    &INFO
}

/// The locks that `GET_LOCK` takes in a MySQL or MariaDB server.
pub struct GetLock {
    inner: Arc<Inner>,
    upkeep: AbortHandle,
}

impl fmt::Debug for GetLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GetLock").field("server", &self.inner.place.name).finish_non_exhaustive()
    }
}

/// Where the sessions are, and what they share.
struct Place {
    /// The server, for messages.
    name: String,
    opts: Opts,
    /// How long a request may take before its outcome counts as unknown.
    timeout: Duration,
    env: Env,
    inbox: Inbox,
    runtime: Handle,
}

impl Place {
    /// What comes in time, or `None`.
    async fn in_time<T>(&self, event: impl Future<Output = T>) -> Option<T> {
        let late = self.env.clock.sleep_until(self.env.now() + self.timeout);
        tokio::select! {
            biased;
            out = event => Some(out),
            () = late => None,
        }
    }
}

/// What the verbs and the background work share.
struct Inner {
    place: Arc<Place>,
    /// Where nothing waits: all keys that are free when they are asked for are taken here.
    main: Lane,
    /// Where nothing is held: ends of waits, and onlookers.
    side: Lane,
    pool: pursue::Pool,
    desk: Mutex<Desk>,
    /// Its sessions.
    links: Mutex<Vec<Weak<Link>>>,
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

impl GetLock {
    /// Connects.
    ///
    /// # Errors
    /// As [`MySql::open`](crate::MySql::open), but for what concerns tables; [`Unsupported`](leasehold_core::ErrorKind::Unsupported)
    /// for servers before MySQL 5.7.5 and MariaDB 10.0.2, and for those whose clock was far off when they started.
    ///
    /// # Panics
    /// Outside of a tokio runtime, or in one without its I/O driver.
    ///
    /// # Cancel safety
    /// Dropped on the way, nothing stays open.
    pub async fn open(config: Config, env: Env) -> Result<Self> {
        let Config { server, waiters } = config;
        let place = Arc::new(Place {
            name: server.place(),
            opts: server.opts()?,
            timeout: server.timeout,
            env,
            inbox: Inbox::default(),
            runtime: Handle::current(),
        });
        let inner = Arc::new(Inner {
            place: Arc::clone(&place),
            main: Lane::default(),
            side: Lane::default(),
            pool: pursue::Pool::new(waiters),
            desk: Mutex::default(),
            links: Mutex::default(),
            longest: AtomicU64::new(0),
            upkeep_at: AtomicU64::new(Moment::NEVER.as_nanos()),
            earlier: Notify::new(),
            bell: watch::Sender::new(()),
            closed: AtomicBool::new(false),
        });
        inner.main.put(inner.open().await?);
        let upkeep = place.runtime.spawn(work::upkeep(Arc::downgrade(&inner))).abort_handle();
        Ok(Self { inner, upkeep })
    }

    /// A verb on its way, which comes to its end whoever waits for it.
    fn verb<T: Send + 'static>(
        &self,
        operation: &'static str,
        count: usize,
        work: impl Future<Output = Batch<Result<T>>> + Send + 'static,
    ) -> Reply<T> {
        let (place, inner) = (Arc::clone(&self.inner.place), Arc::downgrade(&self.inner));
        let work = Carried { work: Some(Box::pin(work)), runtime: place.runtime.clone() };
        Reply::later(async move {
            // What needs no answer of the server would let a loop of requests keep its thread for ever.
            tokio::task::consume_budget().await;
            let late = match place.in_time(work).await {
                Some(answers) => return answers,
                None => failure::late(operation, &place.name),
            };
            if let Some(inner) = inner.upgrade() {
                inner.retire();
            }
            (0..count).map(|_| Err(late.clone())).collect()
        })
    }
}

impl Drop for GetLock {
    fn drop(&mut self) {
        self.upkeep.abort();
        self.inner.closed.store(true, Ordering::Release);
        for link in self.inner.links() {
            link.give_up();
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

    /// A new session.
    async fn open(self: &Arc<Self>) -> Result<Arc<Link>> {
        let link = Link::open(&self.place, Arc::downgrade(self)).await?;
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        links.retain(|link| link.strong_count() > 0);
        links.push(Arc::downgrade(&link));
        Ok(link)
    }

    /// All sessions that are open.
    fn links(&self) -> Vec<Arc<Link>> {
        let links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        links.iter().filter_map(Weak::upgrade).collect()
    }
}

impl Engine for GetLock {
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
        self.inner.place.inbox.watch(claim.id)
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
