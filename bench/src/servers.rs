//! Servers for a run that has none at hand. They end with it.

use std::io;

use leasehold_core::{Error, ErrorKind, Result};
use leasehold_testkit::redis::{Cluster, Flavour, Redis, Sentinels, url_of};

use crate::args::Start;

/// Servers that run until this is dropped.
#[derive(Debug)]
pub(crate) enum Servers {
    /// Some that know nothing of each other, or just one.
    Alone {
        scheme: &'static str,
        nodes: Vec<Redis>,
    },
    Sentinels(Sentinels),
    Cluster(Cluster),
}

impl Servers {
    /// Starts them; they are ready then.
    pub(crate) fn start(what: Start) -> Result<Self> {
        Self::of(what).map_err(|e| {
            Error::new(ErrorKind::Unexpected, "bench", "the servers did not start").with_source(e)
        })
    }

    fn of(what: Start) -> io::Result<Self> {
        let kind = Redis::builder().flavour(match what {
            Start::Valkey => Flavour::Valkey,
            _ => Flavour::Redis,
        });
        Ok(match what {
            Start::Redis | Start::Valkey => Self::Alone { scheme: "redis", nodes: kind.start_many(1)? },
            Start::Five => Self::Alone { scheme: "redlock", nodes: kind.start_many(5)? },
            Start::Sentinel => Self::Sentinels(Sentinels::start_with(&kind)?),
            Start::Cluster => Self::Cluster(Cluster::start_with(&kind)?),
        })
    }

    /// The engine that they make.
    pub(crate) fn url(&self) -> String {
        match self {
            Self::Alone { scheme, nodes } => url_of(scheme, nodes),
            Self::Sentinels(sentinels) => sentinels.url(),
            Self::Cluster(cluster) => cluster.url(),
        }
    }
}
