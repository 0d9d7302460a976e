//! The engine: what is asked is gathered, done in the caller's own poll if the database is free at once, and on a
//! thread that may wait if it is not.

use std::fmt;
use std::os::fd::BorrowedFd;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use leasehold_core::claim::{Leave, Refresh};
use leasehold_core::engine::{
    Alarms, ClockKind, Durability, Engine, EngineInfo, Hints, Page, Query, Reach, Reply, Standing,
    TokensRise, Validity, Wakeups, no_alarms,
};
use leasehold_core::gather::{Gather, Work};
use leasehold_core::inbox::Inbox;
use leasehold_core::{Claim, ClaimRef, Env, Error, ErrorKind, Outcome, Result};
use tokio::runtime::Handle;

use crate::batch::{Answer, Desk, Done, Op, Trouble};
use crate::config::Config;
use crate::line::News;
use crate::peers::{self, Own};
use crate::place::Place;
use crate::post::Post;
use crate::store::{Entry, Store, World};
use crate::{boot, failure, upkeep, view};

/// The most claims in one request, and about the most in one transaction.
const BATCH_MAX: usize = 1024;
/// How often a request begins again because the file was replaced under it or more tokens were needed.
const TRIES_MAX: usize = 8;

static INFO: LazyLock<EngineInfo> = LazyLock::new(|| {
    let mut info = EngineInfo::least("sqlite");
    info.reach = Reach::Host;
    info.durability = Durability::SingleNode;
    info.clock = ClockKind::ServerBoot;
    info.wakeups = Wakeups::Push;
    info.validity = Validity::Proven;
    info.ttl_min = Duration::from_millis(100);
    info.batch_max = BATCH_MAX;
    info.shared = true;
    info.at_least = true;
    info.raise = true;
    info.notices_death = true;
    info.tokens_rise = TokensRise::ClockAhead;
    info
});

/// What this engine can do and what it guarantees.
pub fn info() -> &'static EngineInfo {
    &INFO
}

/// Locks between the processes of one machine, kept in a SQLite file.
pub struct Sqlite {
    inner: Arc<Inner>,
    gather: Gather<Op, Answer>,
    runtime: Handle,
}

impl fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sqlite").field("path", &self.inner.world.place.path).finish_non_exhaustive()
    }
}

struct Inner {
    world: World,
    desk: Mutex<Desk>,
    own: Own,
    post: Post,
    inbox: Inbox,
    runtime: Handle,
    /// Transactions since the last upkeep.
    commits: AtomicU32,
    /// Whether the upkeep is at work.
    upkeep: AtomicBool,
}

impl Sqlite {
    /// Opens the database, makes it if it is missing, and takes over from what has died meanwhile.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`] if this user cannot use the file or its folder; [`ErrorKind::Unsupported`] on a
    /// file system that machines share, or if another machine uses the file; [`ErrorKind::Corrupt`] if the file is
    /// not ours or is damaged, and then it is left as it is.
    ///
    /// # Panics
    /// Outside of a tokio runtime, or in one without its I/O driver.
    ///
    /// # Cancel safety
    /// Dropping the future may leave an empty database behind.
    pub async fn open(config: Config, env: Env) -> Result<Self> {
        let runtime = Handle::current();
        let inner = {
            let runtime = runtime.clone();
            runtime.clone().spawn_blocking(move || Inner::open(&config, env, runtime)).await
        };
        let inner = Arc::new(inner.unwrap_or_else(|e| match e.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(shut_down()),
        })?);
        let (worker, spawner) = (inner.clone(), runtime.clone());
        let gather =
            Gather::new(BATCH_MAX, move |ops| worker.clone().run(ops), move |rest| drop(spawner.spawn(rest)));
        Ok(Self { inner, gather, runtime })
    }

    fn standings(&self, op: Op, size: usize) -> Reply<Standing> {
        let answer = self.gather.submit(op, size);
        Reply::later(async move {
            match answer.await {
                Answer::Standings(standings) => standings,
                Answer::Left(_) => unreachable!("a join or refresh is answered with standings"),
            }
        })
    }
}

fn shut_down() -> Error {
    Error::new(ErrorKind::Closed, "request", "the tokio runtime in which the engine was opened has shut down")
        .with_outcome(Outcome::Unknown)
}

impl Engine for Sqlite {
    fn info(&self) -> &EngineInfo {
        &INFO
    }

    fn join(&self, claims: &[Claim]) -> Reply<Standing> {
        self.standings(Op::Join(claims.into()), claims.len())
    }

    fn refresh(&self, claims: &[Refresh]) -> Reply<Standing> {
        self.standings(Op::Refresh(claims.into()), claims.len())
    }

    fn leave(&self, claims: &[Leave]) -> Reply<()> {
        let answer = self.gather.submit(Op::Leave(claims.into()), claims.len());
        Reply::later(async move {
            match answer.await {
                Answer::Left(left) => left,
                Answer::Standings(_) => unreachable!("a leave is not answered with standings"),
            }
        })
    }

    fn watch(&self, claim: &ClaimRef) -> Hints {
        self.inner.inbox.watch(claim.id)
    }

    fn inspect(&self, query: Query) -> Pin<Box<dyn Future<Output = Result<Page>> + Send>> {
        let (inner, runtime) = (self.inner.clone(), self.runtime.clone());
        Box::pin(async move {
            runtime.spawn_blocking(move || inner.inspect(&query)).await.unwrap_or_else(|e| {
                match e.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    Err(_) => Err(shut_down()),
                }
            })
        })
    }

    fn alarms(&self) -> Alarms {
        no_alarms()
    }

    fn lifeline(&self) -> Option<BorrowedFd<'_>> {
        Some(self.inner.own.lifeline())
    }
}

impl Inner {
    fn open(config: &Config, env: Env, runtime: Handle) -> Result<Self> {
        let boot = config.boot_id.clone().map_or_else(boot::id, Ok)?;
        let place = Arc::new(Place::prepare(config)?);
        let world = World { place: place.clone(), env, boot };
        let store = Store::open(&world, None)?;
        // What it leaves undone is done another time.
        let _ = upkeep::at_open(&world, store.identity);
        let io = |e| failure::file("open", &place.peers, e);
        let own = Own::enter(&place, &world.env).map_err(io)?;
        let inbox = Inbox::default();
        let post = Post::open(&place, own.id, inbox.clone()).map_err(io)?;
        let desk = Mutex::new(Desk::new(store, own.id));
        let (commits, upkeep) = (AtomicU32::new(0), AtomicBool::new(false));
        let inner = Self { world, desk, own, post, inbox, runtime, commits, upkeep };
        inner.bury_the_dead()?;
        Ok(inner)
    }

    /// Ends the claims of processes that have died without anybody noticing.
    fn bury_the_dead(&self) -> Result<()> {
        let dead =
            peers::dead(&self.world.place).map_err(|e| failure::file("open", &self.world.place.peers, e))?;
        for dead in dead {
            let done = self.transact(|desk| desk.release_all(&self.world, dead.id))?;
            self.tell(done.news);
            dead.bury();
        }
        Ok(())
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        // A panic leaves a transaction that the next one rolls back, and nothing that is believed.
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(self: Arc<Self>, ops: Vec<Op>) -> Work<Vec<Answer>> {
        Box::pin(async move {
            let ops = match self.at_once(ops) {
                Ok(answers) => return answers,
                Err(ops) => Arc::new(ops),
            };
            let (inner, asked) = (self.clone(), ops.clone());
            let answers = self.runtime.spawn_blocking(move || inner.patiently(&asked)).await;
            answers.unwrap_or_else(|e| match e.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => ops.iter().map(|op| op.fail(&shut_down())).collect(),
            })
        })
    }

    /// Does what is asked without waiting for anybody; gives it back if that cannot be.
    fn at_once(self: &Arc<Self>, ops: Vec<Op>) -> std::result::Result<Vec<Answer>, Vec<Op>> {
        let Ok(mut desk) = self.desk.try_lock() else { return Err(ops) };
        let Ok(Entry::In) = desk.store.enter_at_once() else { return Err(ops) };
        match desk.work(&self.world, &ops) {
            Ok(done) => {
                let identity = desk.store.identity;
                drop(desk);
                Ok(self.finish(done, identity))
            }
            Err(Trouble::OutOfTokens(_)) => Err(ops),
            Err(Trouble::Failed(why)) => Ok(ops.iter().map(|op| op.fail(&why)).collect()),
        }
    }

    /// Does what is asked, waiting as long as it takes.
    fn patiently(self: &Arc<Self>, ops: &[Op]) -> Vec<Answer> {
        match self.transact(|desk| desk.work(&self.world, ops)) {
            Ok(done) => {
                let identity = self.desk().store.identity;
                self.finish(done, identity)
            }
            Err(why) => ops.iter().map(|op| op.fail(&why)).collect(),
        }
    }

    fn transact(
        &self,
        mut work: impl FnMut(&mut Desk) -> std::result::Result<Done, Trouble>,
    ) -> Result<Done> {
        let mut desk = self.desk();
        for _ in 0..TRIES_MAX {
            match desk.store.enter()? {
                Entry::In => match work(&mut desk) {
                    Ok(done) => return Ok(done),
                    Err(Trouble::OutOfTokens(wanted)) => desk.store.extend(&self.world, wanted)?,
                    Err(Trouble::Failed(why)) => return Err(why),
                },
                Entry::Replaced => {
                    let store = Store::open(&self.world, Some(&desk.store))?;
                    *desk = Desk::new(store, self.own.id);
                }
                Entry::Busy => {}
            }
        }
        Err(failure::busy("request", &self.world.place.path))
    }

    fn finish(self: &Arc<Self>, done: Done, identity: crate::place::Identity) -> Vec<Answer> {
        self.tell(done.news);
        let commits = self.commits.fetch_add(1, Ordering::Relaxed) + 1;
        if (done.tokens_low || commits >= upkeep::EVERY_COMMITS) && !self.upkeep.swap(true, Ordering::Relaxed)
        {
            self.commits.store(0, Ordering::Relaxed);
            let inner = self.clone();
            drop(self.runtime.spawn_blocking(move || {
                // What has failed is due again: callers wait for it only once the tokens have run out.
                let _ = upkeep::run(&inner.world, identity, done.tokens_low);
                inner.upkeep.store(false, Ordering::Relaxed);
            }));
        }
        done.answers
    }

    /// Tells whoever holds now.
    fn tell(&self, mut news: Vec<News>) {
        news.sort_unstable_by_key(|item| item.peer);
        for news in news.chunk_by(|a, b| a.peer == b.peer) {
            if news[0].peer == self.own.id {
                for item in news {
                    self.inbox.deliver(item.id, item.hint());
                }
            } else if news[0].peer != 0 {
                self.post.tell(news[0].peer, news);
            }
        }
    }

    fn inspect(&self, query: &Query) -> Result<Page> {
        let identity = {
            let desk = self.desk();
            if desk.store.is_same()? {
                desk.store.identity
            } else {
                drop(desk);
                // Nothing is asked, but it finds the file that stands there now.
                self.transact(|desk| desk.work(&self.world, &[]))?;
                self.desk().store.identity
            }
        };
        view::page(&Store::again(&self.world, identity)?, &self.world, query)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // With claims left the file stays, for whoever comes next shall see that their owner is gone.
        let me = self.own.id;
        let desk = self.desk();
        if desk.store.is_same().unwrap_or(false)
            && desk.store.wire.names_of(me).is_ok_and(|names| names.is_empty())
        {
            self.own.retire();
        }
    }
}
