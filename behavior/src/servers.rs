//! Servers that are started for the tests: `redis:temp`, `redlock:temp` and so on.

use std::io;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use leasehold_testkit::Server;
use leasehold_testkit::consul::{self, Consul};
use leasehold_testkit::dynamodb::DynamoDb;
use leasehold_testkit::etcd::{self, Etcd};
use leasehold_testkit::mariadb::MariaDb;
use leasehold_testkit::postgres::Postgres;
use leasehold_testkit::redis::{self, Builder, Flavour, Kind, Redis};
use leasehold_testkit::zookeeper::{TICK, ZooKeeper};
use tokio::sync::{Semaphore, SemaphorePermit};

/// Servers of some kind, until they are dropped.
pub(crate) trait Servers: Send + Sync {
    /// The URL of the engine that they make.
    fn url(&self) -> String;

    /// Those that can be restarted and whose clocks can be set, if they were started for one test alone.
    fn own(&self) -> Vec<&Server> {
        Vec::new()
    }

    /// Deletes all that they keep, if they were.
    fn wipe(&self) -> io::Result<()> {
        Err(io::Error::other("these servers are shared"))
    }
}

type Start = fn() -> io::Result<Arc<dyn Servers>>;

/// Something that can be started.
struct Startable {
    /// The scheme of its URL.
    scheme: &'static str,
    /// Whether they are several.
    many: bool,
    start: Start,
    /// The same for one test, that restarts them and sets their clocks, where that can be done. Sentinels change masters
    /// under it then.
    alone: Option<Start>,
    /// What of it is running: until the last test that uses it has ended. Tests have names of their own for their
    /// locks, so most share it.
    running: Mutex<Option<Weak<dyn Servers>>>,
    /// How many tests may do so at a time.
    seats: Semaphore,
}

impl Startable {
    const fn new(scheme: &'static str, many: bool, start: Start, alone: Option<Start>) -> Self {
        Self::for_tests(Semaphore::MAX_PERMITS, scheme, many, start, alone)
    }

    const fn for_tests(
        at_once: usize,
        scheme: &'static str,
        many: bool,
        start: Start,
        alone: Option<Start>,
    ) -> Self {
        let seats = Semaphore::const_new(at_once);
        Self { scheme, many, start, alone, running: Mutex::new(None), seats }
    }
}

static ALL: [Startable; 15] = [
    Startable::new(
        "redis",
        false,
        || redis(Kind::One, Redis::builder().flavour(Flavour::Redis)),
        Some(|| redis(Kind::One, alone(Redis::builder().flavour(Flavour::Redis)))),
    ),
    Startable::new(
        "valkey",
        false,
        || redis(Kind::One, Redis::builder().flavour(Flavour::Valkey)),
        Some(|| redis(Kind::One, alone(Redis::builder().flavour(Flavour::Valkey)))),
    ),
    Startable::new(
        "redlock",
        true,
        || redis(Kind::Five, Redis::builder()),
        Some(|| redis(Kind::Five, alone(Redis::builder()))),
    ),
    Startable::new("redis+sentinel", true, || redis(Kind::Sentinels, Redis::builder()), None),
    Startable::new("redis+cluster", true, || redis(Kind::Cluster, Redis::builder()), Some(cluster_alone)),
    Startable::new("consul", false, || Ok(Arc::new(Consul::start()?)), None),
    Startable::new("consul+cluster", true, || Ok(Arc::new(consul::Cluster::start()?)), None),
    // The stand-in has one thread, and is slow.
    Startable::for_tests(3, "dynamodb", false, || Ok(Arc::new(DynamoDb::start()?)), None),
    Startable::new("etcd", false, || Ok(Arc::new(Etcd::start()?)), None),
    Startable::new("etcd+cluster", true, || Ok(Arc::new(etcd::Cluster::start()?)), None),
    Startable::new(
        "mysql",
        false,
        || Ok(Arc::new(MariaDb::builder().option("max-connections", "600").start()?)),
        None,
    ),
    Startable::new(
        "mysql+getlock",
        false,
        || Ok(Arc::new(GetLocks(MariaDb::builder().option("max-connections", "1000").start()?))),
        None,
    ),
    // Every engine of every test has two connections, and each of many processes an engine.
    Startable::new(
        "postgres",
        false,
        || Ok(Arc::new(Postgres::builder().option("max_connections", "400").start()?)),
        None,
    ),
    Startable::new(
        "postgres+advisory",
        false,
        || Ok(Arc::new(Sessions(Postgres::builder().option("max_connections", "400").start()?))),
        None,
    ),
    // Long enough a session for the TTLs of the tests.
    Startable::new(
        "zookeeper",
        false,
        || Ok(Arc::new(ZooKeeper::builder().option("maxSessionTimeout", "60000").start()?)),
        None,
    ),
];

fn redis(kind: Kind, each: Builder) -> io::Result<Arc<dyn Servers>> {
    Ok(Arc::new(redis::Servers::start(kind, &each)?))
}

/// Who is stopped writes its data into a file and waits for no replicas.
fn alone(each: Builder) -> Builder {
    each.fake_clock().option("save", "3600 1").option("shutdown-timeout", "0")
}

fn cluster_alone() -> io::Result<Arc<dyn Servers>> {
    let cluster = redis::Servers::start(Kind::Cluster, &alone(Redis::builder()))?;
    for node in cluster.all() {
        // They would take what their clocks show for what has become of the others.
        node.command(["CONFIG", "SET", "cluster-node-timeout", "1000000000", "repl-timeout", "1000000000"])?;
    }
    Ok(Arc::new(cluster))
}

fn startable(engine: &str) -> Option<&'static Startable> {
    let scheme = engine.strip_suffix(":temp")?;
    ALL.iter().find(|startable| startable.scheme == scheme)
}

/// The servers of an engine that is called `SCHEME:temp`, started if they are not running; `None` if it is called
/// otherwise, or is not one of these.
pub(crate) fn shared(engine: &str) -> io::Result<Option<Arc<dyn Servers>>> {
    let Some(startable) = startable(engine) else { return Ok(None) };
    let mut running = startable.running.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(servers) = running.as_ref().and_then(Weak::upgrade) {
        return Ok(Some(servers));
    }
    let servers = (startable.start)()?;
    *running = Some(Arc::downgrade(&servers));
    Ok(Some(servers))
}

/// Waits until one more test may use the servers of this engine.
pub(crate) async fn seat(engine: &str) -> Option<SemaphorePermit<'static>> {
    startable(engine)?.seats.acquire().await.ok()
}

/// Whether the servers of this engine can be started for one test alone.
pub(crate) fn can_be_alone(engine: &str) -> bool {
    startable(engine).is_some_and(|startable| startable.alone.is_some())
}

/// Whether the servers of this engine are several.
pub(crate) fn are_many(engine: &str) -> bool {
    startable(engine).is_some_and(|startable| startable.many)
}

/// Servers for one test alone.
pub(crate) fn for_one(engine: &str) -> io::Result<Option<Arc<dyn Servers>>> {
    startable(engine).and_then(|startable| startable.alone).map(|start| start()).transpose()
}

impl Servers for redis::Servers {
    fn url(&self) -> String {
        match self {
            // A node that the machine is too busy for is not asked without, or a test would see another one's queue.
            redis::Servers::Alone("redlock", _) => format!("{}?node_timeout=2s", self.url()),
            servers => servers.url(),
        }
    }

    fn own(&self) -> Vec<&Server> {
        self.all().iter().map(|redis| &**redis).collect()
    }

    fn wipe(&self) -> io::Result<()> {
        for node in self.all() {
            if node.command(["ROLE"])?.list()[0].text() == "master" {
                node.command(["FLUSHALL"])?;
            }
        }
        Ok(())
    }
}

impl Servers for ZooKeeper {
    fn url(&self) -> String {
        format!("{}?tick={}ms", self.url(), TICK.as_millis())
    }
}

impl Servers for Consul {
    fn url(&self) -> String {
        // The dead are followed as soon as their sessions have ended.
        format!("{}?lock_delay=0s", self.url())
    }
}

impl Servers for consul::Cluster {
    fn url(&self) -> String {
        format!("{}?lock_delay=0s", self.url())
    }
}

impl Servers for DynamoDb {
    fn url(&self) -> String {
        // As those do who would rather pay than wait.
        format!("{}&poll=50ms", self.url())
    }
}

impl Servers for Etcd {
    fn url(&self) -> String {
        self.url()
    }
}

impl Servers for etcd::Cluster {
    fn url(&self) -> String {
        self.url()
    }
}

impl Servers for Postgres {
    fn url(&self) -> String {
        self.url()
    }
}

impl Servers for MariaDb {
    fn url(&self) -> String {
        self.url()
    }
}

/// The same server for locks of sessions.
struct GetLocks(MariaDb);

impl Servers for GetLocks {
    fn url(&self) -> String {
        self.0.url().replacen("mysql:", "mysql+getlock:", 1)
    }
}

/// The same server for locks of sessions.
struct Sessions(Postgres);

impl Servers for Sessions {
    fn url(&self) -> String {
        self.0.url().replacen("postgres:", "postgres+advisory:", 1)
    }
}
