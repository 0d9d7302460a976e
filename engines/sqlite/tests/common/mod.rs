//! A clock that tests set, a folder of their own, and short words for requests of one item.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use leasehold_core::claim::{Leave, Manner};
use leasehold_core::clock::{BootClock, Sleep, SystemRng};
use leasehold_core::{
    Claim, ClaimId, ClaimRef, Clock, Engine, Env, Meta, Moment, Name, Query, Refresh, Result, Standing, Token,
};
use leasehold_sqlite::{Config, Sqlite};

/// A clock that stands still until it is set. Sleeps on it are real.
#[derive(Debug, Default)]
pub struct HandClock {
    nanos: AtomicU64,
    wall: AtomicU64,
}

impl HandClock {
    pub fn advance(&self, span: Duration) {
        self.nanos.fetch_add(span.as_nanos() as u64, Ordering::SeqCst);
        self.wall.fetch_add(span.as_micros() as u64, Ordering::SeqCst);
    }

    /// So long after the start of the machine.
    pub fn set_uptime(&self, span: Duration) {
        self.nanos.store(span.as_nanos() as u64, Ordering::SeqCst);
    }

    pub fn set_wall(&self, micros: u64) {
        self.wall.store(micros, Ordering::SeqCst);
    }

    pub fn moment(&self) -> Moment {
        Moment::from_nanos(self.nanos.load(Ordering::SeqCst))
    }
}

impl Clock for HandClock {
    fn now(&self) -> Moment {
        self.moment()
    }

    fn wall_micros(&self) -> u64 {
        self.wall.load(Ordering::SeqCst)
    }

    fn sleep_until(&self, at: Moment) -> Sleep {
        BootClock.sleep_until(at)
    }
}

/// When the tests begin, in microseconds since 1970.
pub const WALL: u64 = 1_780_000_000_000_000;

/// A folder with a database, and the machine that it is on.
pub struct Rig {
    pub folder: tempfile::TempDir,
    pub clock: Arc<HandClock>,
    pub boot: String,
}

impl Rig {
    pub fn new() -> Self {
        let clock = Arc::new(HandClock::default());
        clock.set_uptime(Duration::from_secs(1000));
        clock.set_wall(WALL);
        Self { folder: tempfile::tempdir().unwrap(), clock, boot: "boot-1".into() }
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("locks.db")
    }

    pub fn config(&self) -> Config {
        let mut config = Config::new(self.path());
        config.boot_id = Some(self.boot.clone());
        config
    }

    pub async fn try_open(&self) -> Result<Sqlite> {
        Sqlite::open(self.config(), Env { clock: self.clock.clone(), rng: Arc::new(SystemRng) }).await
    }

    pub async fn open(&self) -> Sqlite {
        self.try_open().await.unwrap()
    }

    /// Makes the database.
    pub async fn open_and_close(&self) -> PathBuf {
        drop(self.open().await);
        self.path()
    }

    /// The machine starts again.
    pub fn reboot(&mut self, boot: &str, uptime: Duration) {
        boot.clone_into(&mut self.boot);
        self.clock.set_uptime(uptime);
    }
}

pub fn name(name: &str) -> Name {
    Name::new(name).unwrap()
}

/// A claim to all of a mutex, for half a minute.
pub fn claim(resource: &str, id: u128) -> Claim {
    Claim {
        name: name(resource),
        id: ClaimId(id),
        capacity: 1,
        weight: 1,
        ttl: Duration::from_secs(30),
        at_least: Duration::ZERO,
        raise: None,
        meta: Meta { owner: "test".into(), payload: None },
    }
}

pub fn key(resource: &str, id: u128) -> ClaimRef {
    claim(resource, id).key()
}

/// Requests of one item.
pub trait One: Engine {
    fn try_join(&self, claim: Claim) -> impl Future<Output = Result<Standing>> {
        let reply = self.join(&[claim]);
        async { reply.await.remove(0) }
    }

    fn join_one(&self, claim: Claim) -> impl Future<Output = Standing> {
        let reply = self.try_join(claim);
        async { reply.await.unwrap() }
    }

    fn try_refresh(&self, claim: &ClaimRef, ttl: Duration) -> impl Future<Output = Result<Standing>> {
        let reply = self.refresh(&[Refresh { claim: claim.clone(), ttl, raise: None }]);
        async { reply.await.remove(0) }
    }

    fn refresh_one(&self, claim: &ClaimRef, ttl: Duration) -> impl Future<Output = Standing> {
        let reply = self.try_refresh(claim, ttl);
        async { reply.await.unwrap() }
    }

    fn look(&self, claim: &ClaimRef) -> impl Future<Output = Standing> {
        self.refresh_one(claim, Duration::from_secs(30))
    }

    fn leave_one(&self, claim: &ClaimRef, manner: Manner) -> impl Future<Output = ()> {
        let reply = self.leave(&[Leave { claim: claim.clone(), manner }]);
        async { reply.await.remove(0).unwrap() }
    }

    fn release(&self, claim: &ClaimRef) -> impl Future<Output = ()> {
        self.leave_one(claim, Manner::Release)
    }

    fn names(&self, limit: usize) -> impl Future<Output = Vec<String>> {
        let page = self.inspect(Query { limit, ..Query::default() });
        async { page.await.unwrap().queues.iter().map(|q| q.name.to_string()).collect() }
    }
}

impl One for Sqlite {}

/// The token of a held claim.
pub fn token(standing: &Standing) -> Token {
    match standing {
        Standing::Held { token, .. } => *token,
        other => panic!("not held: {other:?}"),
    }
}

pub fn is_queued(standing: &Standing) -> bool {
    matches!(standing, Standing::Queued { .. })
}
