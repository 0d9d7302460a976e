//! All that can be started, by one name.

use std::io;

use super::{Builder, Cluster, Redis, Sentinels, url_of};

/// How servers stand to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// There is one.
    One,
    /// There are five that know nothing of each other, for Redlock.
    Five,
    /// A master, two replicas and three Sentinels.
    Sentinels,
    /// Three masters and three replicas.
    Cluster,
}

/// Servers of some kind, until this is dropped.
#[derive(Debug)]
pub enum Servers {
    /// One or several that know nothing of each other, and the scheme of their URL.
    Alone(&'static str, Vec<Redis>),
    /// A master, two replicas and three Sentinels.
    Sentinels(Sentinels),
    /// Three masters and three replicas.
    Cluster(Cluster),
}

impl Servers {
    /// Starts them; they are ready then.
    ///
    /// # Errors
    /// If one does not come up, or they do not find together.
    pub fn start(kind: Kind, each: &Builder) -> io::Result<Self> {
        Ok(match kind {
            Kind::One => Self::Alone("redis", each.start_many(1)?),
            Kind::Five => Self::Alone("redlock", each.start_many(5)?),
            Kind::Sentinels => Self::Sentinels(Sentinels::start_with(each)?),
            Kind::Cluster => Self::Cluster(Cluster::start_with(each)?),
        })
    }

    /// The URL of the engine that they make.
    pub fn url(&self) -> String {
        match self {
            Self::Alone(scheme, nodes) => url_of(scheme, nodes),
            Self::Sentinels(sentinels) => sentinels.url(),
            Self::Cluster(cluster) => cluster.url(),
        }
    }

    /// All that keep data.
    pub fn all(&self) -> &[Redis] {
        match self {
            Self::Alone(_, nodes) => nodes,
            Self::Sentinels(sentinels) => sentinels.servers(),
            Self::Cluster(cluster) => cluster.nodes(),
        }
    }
}
