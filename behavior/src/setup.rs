//! What each test gets: an engine with nothing in it, and further engines on the same data.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use leasehold::engine::ClockKind;
use leasehold::observe::Observer;
use leasehold::{Client, Clock, Engine, EngineInfo, Env, Error, ErrorKind, Reach};
use leasehold_testkit::{Server, TempDir, Worker};
use tokio::sync::{Mutex, SemaphorePermit};

use crate::probe::Probe;
use crate::seen::Seen;
use crate::servers::{self, Servers};
use crate::stack::{Stack, Weather, open, open_on};
use crate::test::Break;
use crate::verdict::{Failure, Verdict};

/// An event that has not come after this long does not come.
pub(crate) const BOUND: Duration = Duration::from_secs(30);

/// The same over a broken engine, where there is something that does not come.
const BOUND_BROKEN: Duration = Duration::from_secs(10);

/// The ground that one test stands on.
pub(crate) struct Setup {
    pub(crate) stack: Stack,
    /// The engine's own URL, with this test's database in it.
    pub(crate) url: String,
    pub(crate) env: Env,
    pub(crate) info: EngineInfo,
    /// Where the random operations start.
    pub(crate) seed: u64,
    broken: Option<Break>,
    /// Unique to this test, so that tests can share a server.
    prefix: String,
    opened: AtomicU64,
    /// The one engine, without layers, of those that are not shared by opening them again.
    only: Mutex<Option<Arc<dyn Engine>>>,
    dir: TempDir,
    /// What was started for this test, or for all that run now.
    servers: Option<Arc<dyn Servers>>,
    /// The servers are this test's alone.
    alone: bool,
    _seat: Option<SemaphorePermit<'static>>,
}

impl Setup {
    /// `alone` is for tests that restart servers or set their clocks.
    pub(crate) async fn new(stack: &Stack, seed: u64, broken: Option<Break>, alone: bool) -> Verdict<Self> {
        let env = Env::system();
        let alone = alone && servers::can_be_alone(&stack.engine);
        let seat = servers::seat(&stack.engine).await;
        let start = if alone { servers::for_one } else { servers::shared };
        let servers = start(&stack.engine)?;
        let dir = match stack.engine.split_once(':') {
            Some(("sqlite", parent)) if parent != "temp" => TempDir::new_in(parent)?,
            _ => leasehold_testkit::scratch()?,
        };
        let url = match &servers {
            Some(servers) => servers.url(),
            None if stack.scheme() == "sqlite" => format!("sqlite:{}/locks.db", dir.path().display()),
            None => stack.engine.clone(),
        };
        let first = open(&url).await?;
        let info = stack.wrap(first, &env, 0, Weather::Any).info().clone();
        let prefix = format!("behavior/{:08x}/", env.rng.next() as u32);
        let setup = Self {
            stack: stack.clone(),
            url,
            env,
            info,
            seed,
            broken,
            prefix,
            opened: AtomicU64::new(0),
            only: Mutex::new(None),
            dir,
            servers,
            alone,
            _seat: seat,
        };
        Ok(setup)
    }

    /// An engine on this test's data: each one as another process would open it, where the reach allows it.
    pub(crate) async fn engine(&self) -> Verdict<Arc<dyn Engine>> {
        Ok(self.dress(self.bare().await?, &self.env, Weather::Any))
    }

    async fn bare(&self) -> Verdict<Arc<dyn Engine>> {
        if self.info.reach > Reach::Process {
            return open(&self.url).await;
        }
        let mut only = self.only.lock().await;
        let engine = match only.take() {
            Some(engine) => engine,
            None => open(&self.url).await?,
        };
        Ok(Arc::clone(only.insert(engine)))
    }

    /// An engine on this test's data with another clock.
    pub(crate) async fn engine_on(&self, env: &Env) -> Verdict<Arc<dyn Engine>> {
        Ok(self.dress(open_on(&self.url, env.clone()).await?, env, Weather::NoLateCopies))
    }

    /// The layers, and then the fault.
    fn dress(&self, engine: Arc<dyn Engine>, env: &Env, weather: Weather) -> Arc<dyn Engine> {
        let nth = self.opened.fetch_add(1, Ordering::Relaxed);
        // The weather goes by real time, whatever the engine's clock says.
        let engine = self.stack.wrap(engine, &self.env, nth, weather);
        match self.broken {
            Some(broken) => broken(engine, env),
            None => engine,
        }
    }

    /// The servers, if they are this test's alone.
    pub(crate) fn own_servers(&self) -> Vec<&Server> {
        self.own().map_or_else(Vec::new, |servers| servers.own())
    }

    fn own(&self) -> Option<&dyn Servers> {
        self.servers.as_deref().filter(|_| self.alone)
    }

    /// Sets the wall clocks of servers so many seconds ahead.
    pub(crate) fn shift_servers(&self, seconds: i64) -> Verdict {
        Ok(self.own_servers().iter().try_for_each(|server| server.shift_clock(seconds as f64))?)
    }

    /// The engine's process is gone: what it keeps in memory is lost, what it keeps on disk is not. All engines
    /// must have been dropped before.
    pub(crate) async fn restart(&self) -> Verdict {
        *self.only.lock().await = None;
        Ok(self.own_servers().iter().try_for_each(|server| server.restart())?)
    }

    /// As [`restart`](Self::restart), and the data is deleted too.
    pub(crate) async fn wipe(&self) -> Verdict {
        self.own().map_or(Ok(()), Servers::wipe)?;
        self.restart().await?;
        for entry in std::fs::read_dir(self.dir.path())? {
            let path = entry?.path();
            if path.is_dir() { std::fs::remove_dir_all(path)? } else { std::fs::remove_file(path)? }
        }
        Ok(())
    }

    /// To speak with an engine directly.
    pub(crate) async fn probe(&self) -> Verdict<Probe> {
        let engine = self.dress(self.bare().await?, &self.env, Weather::NoLateCopies);
        Ok(self.probe_of(engine, self.env.clone()))
    }

    /// The same on another clock.
    pub(crate) async fn probe_on(&self, env: &Env) -> Verdict<Probe> {
        Ok(self.probe_of(self.engine_on(env).await?, env.clone()))
    }

    /// To speak with this engine directly.
    pub(crate) fn probe_of(&self, engine: Arc<dyn Engine>, env: Env) -> Probe {
        Probe::new(engine, env, &self.prefix, self.bound())
    }

    fn bound(&self) -> Duration {
        if self.broken.is_some() { BOUND_BROKEN } else { BOUND }
    }

    /// A client of an engine of its own.
    pub(crate) async fn client(&self) -> Verdict<Client> {
        Ok(Client::builder_dyn(self.engine().await?).ttl(self.ttl()).spawn()?)
    }

    /// A client, and what happens to its claims.
    pub(crate) async fn watched(&self) -> Verdict<(Client, Arc<Seen>)> {
        let seen = Arc::new(Seen::default());
        let observer: Arc<dyn Observer> = seen.clone();
        Ok((Client::builder_dyn(self.engine().await?).ttl(self.ttl()).observer(observer).spawn()?, seen))
    }

    /// The TTL of the tests' clients. Long, so that whatever is left behind hangs its test, except in chaos,
    /// where some things do end only with their TTL. Where that is observed, requests are slow.
    pub(crate) fn ttl(&self) -> Duration {
        let wanted = match self.info.clock {
            _ if self.stack.layers.is_empty() => 30_000,
            ClockKind::Observed => 3_000,
            _ => 1_000,
        };
        self.offered(Duration::from_millis(wanted))
    }

    /// A TTL that no test outlives; in chaos that of the others, for a late copy of a `join` lives as long.
    pub(crate) fn endless(&self) -> Duration {
        if self.stack.layers.is_empty() { self.info.ttl_max } else { self.ttl() }
    }

    /// A TTL that a test can wait for.
    pub(crate) fn short(&self) -> Duration {
        self.offered(Duration::from_millis(400))
    }

    /// The nearest TTL that the engine offers.
    pub(crate) fn offered(&self, wanted: Duration) -> Duration {
        let step = self.info.ttl_step.max(Duration::from_millis(1)).as_millis();
        let millis = wanted.clamp(self.info.ttl_min, self.info.ttl_max).as_millis().div_ceil(step) * step;
        Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
    }

    /// A lock's name of this test's own.
    pub(crate) fn name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// A file of this test's own.
    pub(crate) fn file(&self, name: &str) -> Verdict<std::path::PathBuf> {
        let dir = self.dir.path().join("files");
        std::fs::create_dir_all(&dir)?;
        Ok(dir.join(name))
    }

    /// A process with an engine of its own on the same data; see [`crate::worker`].
    pub(crate) fn worker(&self, role: &str, arguments: &[String]) -> Verdict<Worker> {
        let nth = self.opened.fetch_add(1, Ordering::Relaxed);
        let stack = Stack { engine: self.url.clone(), layers: self.stack.layers.clone() };
        let fixed = ["worker".into(), role.into(), "--stack".into(), stack.to_string(), "--nth".into()];
        Ok(Worker::reexec(fixed.into_iter().chain([nth.to_string()]).chain(arguments.iter().cloned()))?)
    }

    /// Awaits what must happen.
    pub(crate) async fn within<T>(&self, what: &str, event: impl Future<Output = T>) -> Verdict<T> {
        within(&*self.env.clock, self.bound(), what, event).await
    }

    /// Waits until nobody stands in any of this test's queues.
    pub(crate) async fn emptied(&self, client: &Client) -> Verdict {
        self.thinned(client, 0).await
    }

    /// Waits until no more than so many claims stand in this test's queues.
    pub(crate) async fn thinned(&self, client: &Client, most: usize) -> Verdict {
        let probe = self.probe_of(Arc::clone(client.engine()), self.env.clone());
        self.within(&format!("no more than {most} claims stand in all queues"), async {
            while probe.queues().await?.iter().map(|queue| queue.claims.len()).sum::<usize>() > most {
                probe.pause().await;
            }
            Ok(())
        })
        .await?
    }
}

/// Awaits what must happen.
pub(crate) async fn within<T>(
    clock: &dyn Clock,
    bound: Duration,
    what: &str,
    event: impl Future<Output = T>,
) -> Verdict<T> {
    tokio::select! {
        biased;
        out = event => Ok(out),
        () = clock.sleep_until(clock.now() + bound) => {
            Err(Failure::Violation(format!("within {bound:?} it must happen that {what}")))
        }
    }
}

/// Asks again for as long as the engine does not answer: a lost request or reply is cured by asking again.
pub(crate) async fn ask<T>(clock: &dyn Clock, mut call: impl AsyncFnMut() -> Result<T, Error>) -> Verdict<T> {
    let until = clock.now() + BOUND;
    loop {
        match call().await {
            Err(e) if e.kind() == ErrorKind::Unavailable && clock.now() < until => {}
            Err(e) => return Err(e.into()),
            Ok(out) => return Ok(out),
        }
    }
}
