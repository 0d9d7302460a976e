//! From an engine URL to a client.

use std::sync::Arc;

use leasehold_core::client::{Builder, Open};
use leasehold_core::url::{EngineUrl, suggestion};
use leasehold_core::{Engine, EngineInfo, Env, Error, ErrorKind, Memory, Result};

/// The URL schemes that this build knows.
pub const SCHEMES: &[&str] = &[
    "memory",
    #[cfg(feature = "consul")]
    "consul",
    #[cfg(feature = "consul")]
    "consuls",
    #[cfg(feature = "dynamodb")]
    "dynamodb",
    #[cfg(feature = "etcd")]
    "etcd",
    #[cfg(feature = "etcd")]
    "etcds",
    #[cfg(feature = "mysql")]
    "mysql",
    #[cfg(feature = "mysql")]
    "mariadb",
    #[cfg(feature = "mysql")]
    "mysql+getlock",
    #[cfg(feature = "mysql")]
    "mariadb+getlock",
    #[cfg(feature = "postgres")]
    "postgres",
    #[cfg(feature = "postgres")]
    "postgresql",
    #[cfg(feature = "postgres")]
    "postgres+advisory",
    #[cfg(feature = "redis")]
    "redis",
    #[cfg(feature = "redis")]
    "rediss",
    #[cfg(feature = "redis")]
    "redis+unix",
    #[cfg(feature = "redis")]
    "redis+sentinel",
    #[cfg(feature = "redis")]
    "redis+cluster",
    #[cfg(feature = "redlock")]
    "redlock",
    #[cfg(feature = "sqlite")]
    "sqlite",
    #[cfg(feature = "zookeeper")]
    "zookeeper",
];

/// What each engine of this build can do and guarantees, in the order of [`SCHEMES`].
pub fn engines() -> Vec<EngineInfo> {
    vec![
        Memory::new(Env::system()).info().clone(),
        #[cfg(feature = "consul")]
        leasehold_consul::info().clone(),
        #[cfg(feature = "dynamodb")]
        leasehold_dynamodb::info().clone(),
        #[cfg(feature = "etcd")]
        leasehold_etcd::info().clone(),
        #[cfg(feature = "mysql")]
        leasehold_mysql::info().clone(),
        #[cfg(feature = "mysql")]
        leasehold_mysql::getlock::info().clone(),
        #[cfg(feature = "postgres")]
        leasehold_postgres::info().clone(),
        #[cfg(feature = "postgres")]
        leasehold_postgres::advisory::info().clone(),
        #[cfg(feature = "redis")]
        leasehold_redis::info().clone(),
        #[cfg(feature = "redlock")]
        leasehold_quorum::info(leasehold_redis::info()),
        #[cfg(feature = "sqlite")]
        leasehold_sqlite::info().clone(),
        #[cfg(feature = "zookeeper")]
        leasehold_zookeeper::info().clone(),
    ]
}

/// Connects to the engine of this URL: `memory:`, `sqlite:` (the default place), `sqlite:PATH`, `consul://A,B,C`,
/// `dynamodb://TABLE`, `etcd://A,B,C`, `mysql://USER@HOST/DATABASE`, `postgres://USER@HOST/DATABASE`, `redis://HOST` and
/// its like, `redlock://A,B,C`, `zookeeper://A,B,C/CHROOT`; each as far as its feature is on.
///
/// Awaiting the result connects; the methods of [`Builder`] set what else is wanted first.
///
/// ```
/// # async fn example() -> leasehold::Result<()> {
/// use leasehold::{Guarantee, Purpose};
/// let locks = leasehold::connect("sqlite:").require([Guarantee::Purpose(Purpose::Correctness)]).await?;
/// # Ok(()) }
/// ```
pub fn connect(url: &str) -> Connect {
    Builder::new(Url(url.to_owned()))
}

/// A connection to be made; see [`connect`].
pub type Connect = Builder<Url>;

/// An engine URL.
#[derive(Debug)]
pub struct Url(String);

impl Open for Url {
    async fn open(self) -> Result<Arc<dyn Engine>> {
        open(&self.0).await
    }
}

/// The engine of this URL, for those who build their own client or wrap engines in layers.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] for a URL, scheme or option that is not known, naming the nearest; otherwise what
/// the engine says when it is opened.
///
/// # Cancel safety
/// Dropped on the way, nothing stays open.
pub async fn open(url: &str) -> Result<Arc<dyn Engine>> {
    let url = EngineUrl::parse(url)?;
    match url.scheme() {
        "memory" => {
            if !url.rest().is_empty() {
                return Err(Error::new(
                    ErrorKind::InvalidInput,
                    "engine URL",
                    format!("`memory:` has nothing behind the colon, not `{}`", url.rest()),
                ));
            }
            url.done()?;
            Ok(Arc::new(Memory::new(Env::system())))
        }
        #[cfg(feature = "consul")]
        "consul" | "consuls" => {
            let config = leasehold_consul::Config::from_url(url)?;
            Ok(Arc::new(leasehold_consul::open(config, Env::system()).await?))
        }
        #[cfg(feature = "dynamodb")]
        "dynamodb" => {
            let config = leasehold_dynamodb::Config::from_url(url)?;
            Ok(Arc::new(leasehold_dynamodb::DynamoDb::open(config, Env::system()).await?))
        }
        #[cfg(feature = "etcd")]
        "etcd" | "etcds" => {
            let config = leasehold_etcd::Config::from_url(url)?;
            Ok(Arc::new(leasehold_etcd::Etcd::open(config, Env::system()).await?))
        }
        #[cfg(feature = "mysql")]
        "mysql" | "mariadb" => {
            let config = leasehold_mysql::Config::from_url(url)?;
            Ok(Arc::new(leasehold_mysql::MySql::open(config, Env::system()).await?))
        }
        #[cfg(feature = "mysql")]
        "mysql+getlock" | "mariadb+getlock" => {
            let config = leasehold_mysql::getlock::Config::from_url(url)?;
            Ok(Arc::new(leasehold_mysql::getlock::GetLock::open(config, Env::system()).await?))
        }
        #[cfg(feature = "postgres")]
        "postgres" | "postgresql" => {
            let config = leasehold_postgres::Config::from_url(url)?;
            Ok(Arc::new(leasehold_postgres::Postgres::open(config, Env::system()).await?))
        }
        #[cfg(feature = "postgres")]
        "postgres+advisory" => {
            let config = leasehold_postgres::advisory::Config::from_url(url)?;
            Ok(Arc::new(leasehold_postgres::advisory::Advisory::open(config, Env::system()).await?))
        }
        #[cfg(feature = "quorum")]
        "quorum" => memory_quorum(url),
        #[cfg(feature = "redis")]
        "redis" | "rediss" | "redis+unix" | "redis+sentinel" | "redis+cluster" => {
            let config = leasehold_redis::Config::from_url(url)?;
            Ok(Arc::new(leasehold_redis::Redis::open(config, Env::system()).await?))
        }
        #[cfg(feature = "redlock")]
        "redlock" => crate::redlock::open(url).await,
        #[cfg(feature = "sqlite")]
        "sqlite" => {
            let config = leasehold_sqlite::Config::from_url(url)?;
            Ok(Arc::new(leasehold_sqlite::Sqlite::open(config, Env::system()).await?))
        }
        #[cfg(feature = "zookeeper")]
        "zookeeper" => {
            let config = leasehold_zookeeper::Config::from_url(url)?;
            Ok(Arc::new(leasehold_zookeeper::ZooKeeper::open(config, Env::system()).await?))
        }
        unknown => Err(Error::new(
            ErrorKind::InvalidInput,
            "engine URL",
            format!(
                "there is no engine `{unknown}:` in this build; {}",
                suggestion(unknown, SCHEMES.iter().copied(), "it has no engines")
            ),
        )),
    }
}

/// `quorum:5`: a quorum over so many memory engines. It shows how a quorum behaves and is not in [`SCHEMES`], for its
/// nodes all die together.
#[cfg(feature = "quorum")]
fn memory_quorum(url: EngineUrl) -> Result<Arc<dyn Engine>> {
    let count: usize = url.rest().parse().map_err(|_| {
        let message = format!("`quorum:{}` does not say how many nodes; write `quorum:5`", url.rest());
        Error::new(ErrorKind::InvalidInput, "engine URL", message)
    })?;
    url.done()?;
    let memory = |nth: usize| -> (String, Arc<dyn Engine>) {
        (format!("memory {nth}"), Arc::new(Memory::new(Env::system())))
    };
    let nodes = (1..=count).map(memory).collect();
    Ok(Arc::new(leasehold_quorum::Quorum::spawn(nodes, leasehold_quorum::Config::default(), Env::system())?))
}
