//! Servers for a run that has none at hand. They end with it.

use std::any::Any;
use std::io;

use leasehold_core::{Error, ErrorKind, Result};
use leasehold_testkit::consul::{self, Consul};
use leasehold_testkit::etcd::{self, Etcd};
use leasehold_testkit::mariadb::MariaDb;
use leasehold_testkit::postgres::Postgres;
use leasehold_testkit::redis::{self, Flavour, Kind, Redis};
use leasehold_testkit::zookeeper::{Ensemble, ZooKeeper};

use crate::args::Start;

/// Servers that run until this is dropped.
pub(crate) struct Servers {
    /// The URL of the engine that they make.
    pub(crate) url: String,
    _running: Box<dyn Any>,
}

impl Servers {
    /// Starts them; they are ready then.
    pub(crate) fn start(what: Start) -> Result<Self> {
        Self::of(what).map_err(|e| {
            Error::new(ErrorKind::Unexpected, "bench", "the servers did not start").with_source(e)
        })
    }

    fn of(what: Start) -> io::Result<Self> {
        match what {
            Start::Redis => Self::redis(Kind::One, Flavour::Redis),
            Start::Valkey => Self::redis(Kind::One, Flavour::Valkey),
            Start::Five => Self::redis(Kind::Five, Flavour::Redis),
            Start::Sentinel => Self::redis(Kind::Sentinels, Flavour::Redis),
            Start::Cluster => Self::redis(Kind::Cluster, Flavour::Redis),
            Start::Zookeeper => Ok(Self::running(zookeeper().start()?, ZooKeeper::url)),
            Start::Zookeeper3 => Ok(Self::running(Ensemble::start_with(&zookeeper())?, Ensemble::url)),
            Start::Etcd => Ok(Self::running(Etcd::builder().durable().start()?, Etcd::url)),
            Start::Etcd3 => Ok(Self::running(Etcd::builder().durable().start_cluster()?, etcd::Cluster::url)),
            Start::Consul => Ok(Self::running(Consul::start()?, Consul::url)),
            Start::Consul3 => Ok(Self::running(consul::Cluster::start()?, consul::Cluster::url)),
            Start::Mariadb => Ok(Self::running(MariaDb::builder().durable().start()?, MariaDb::url)),
            Start::Advisory => Ok(Self::running(Postgres::builder().start()?, |server| {
                server.url().replacen("postgres:", "postgres+advisory:", 1)
            })),
            Start::Getlock => Ok(Self::running(MariaDb::start()?, |server: &MariaDb| {
                server.url().replacen("mysql:", "mysql+getlock:", 1)
            })),
            Start::Postgres => Ok(Self::running(Postgres::builder().durable().start()?, Postgres::url)),
        }
    }

    fn redis(kind: Kind, flavour: Flavour) -> io::Result<Self> {
        let servers = redis::Servers::start(kind, &Redis::builder().flavour(flavour))?;
        Ok(Self::running(servers, redis::Servers::url))
    }

    fn running<S: 'static>(servers: S, url: impl FnOnce(&S) -> String) -> Self {
        Self { url: url(&servers), _running: Box::new(servers) }
    }
}

/// With its usual unit of time, sessions may last as long as our usual TTL.
fn zookeeper() -> leasehold_testkit::zookeeper::Builder {
    ZooKeeper::builder().fast().option("tickTime", "2000")
}
