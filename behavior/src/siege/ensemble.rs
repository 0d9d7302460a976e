//! What is besieged: three servers that agree, of any kind.

use std::io;
use std::sync::Arc;

use leasehold_testkit::{Server, consul, etcd, zookeeper};

/// Three servers that agree. All methods block.
pub(crate) trait Ensemble: Send + Sync {
    /// The engine's URL.
    fn url(&self) -> String;

    /// The members.
    fn members(&self) -> Vec<&Server>;

    /// Which of the members leads, once one does.
    fn leader(&self) -> io::Result<usize>;

    /// Takes a member away from the others; `false` if that cannot be done here.
    fn cut_off(&self, member: usize) -> io::Result<bool>;

    /// Brings it together with the others again.
    fn join_again(&self, member: usize) -> io::Result<()>;
}

/// What can be besieged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// Three servers of Consul. They are not cut off.
    Consul,
    /// Three members of etcd.
    Etcd,
    /// Three servers of ZooKeeper.
    Zookeeper,
}

impl Kind {
    /// Starts one.
    pub(crate) fn start(self) -> io::Result<Arc<dyn Ensemble>> {
        Ok(match self {
            Self::Consul => Arc::new(consul::Cluster::start()?),
            Self::Etcd => Arc::new(etcd::Etcd::builder().divisible().start_cluster()?),
            Self::Zookeeper => Arc::new(zookeeper::Ensemble::start_partitionable()?),
        })
    }
}

impl Ensemble for etcd::Cluster {
    fn url(&self) -> String {
        self.url()
    }

    fn members(&self) -> Vec<&Server> {
        self.nodes().iter().map(|node| &**node).collect()
    }

    fn leader(&self) -> io::Result<usize> {
        let leader = self.leader()?.port();
        Ok(self.nodes().iter().position(|node| node.port() == leader).expect("the leader is a member"))
    }

    fn cut_off(&self, member: usize) -> io::Result<bool> {
        self.cut_off(&self.nodes()[member])?;
        Ok(true)
    }

    fn join_again(&self, _member: usize) -> io::Result<()> {
        self.heal();
        Ok(())
    }
}

impl Ensemble for consul::Cluster {
    fn url(&self) -> String {
        self.url()
    }

    fn members(&self) -> Vec<&Server> {
        self.nodes().iter().map(|node| &**node).collect()
    }

    fn leader(&self) -> io::Result<usize> {
        let leader = self.leader()?.port();
        Ok(self.nodes().iter().position(|node| node.port() == leader).expect("the leader is a member"))
    }

    fn cut_off(&self, _member: usize) -> io::Result<bool> {
        Ok(false)
    }

    fn join_again(&self, _member: usize) -> io::Result<()> {
        Ok(())
    }
}

impl Ensemble for (zookeeper::Ensemble, zookeeper::Partition) {
    fn url(&self) -> String {
        self.0.url()
    }

    fn members(&self) -> Vec<&Server> {
        self.0.members().iter().map(|member| &**member).collect()
    }

    fn leader(&self) -> io::Result<usize> {
        Ok(self.0.leader()?.0)
    }

    fn cut_off(&self, member: usize) -> io::Result<bool> {
        self.1.cut_off(member)?;
        Ok(true)
    }

    fn join_again(&self, member: usize) -> io::Result<()> {
        self.1.heal(member)
    }
}
