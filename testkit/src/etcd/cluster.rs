//! Three members, of which one leads.

use std::ffi::OsStr;
use std::io;

use super::builder::Place;
use super::network::Network;
use super::{Builder, Etcd, keys, run};
use crate::port::Port;
use crate::server::Server;
use crate::wait::until;

const NAMES: [&str; 3] = ["one", "two", "three"];

/// Three members. One that is not heard of for a second is replaced as the leader.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Etcd>,
    network: Option<Network>,
}

impl Cluster {
    /// Starts all, and returns when all take requests.
    ///
    /// # Errors
    /// If one does not come up.
    pub fn start() -> io::Result<Self> {
        Etcd::builder().start_cluster()
    }

    pub(super) fn start_with(kind: &Builder) -> io::Result<Self> {
        let ports = NAMES.map(|_| Port::reserve());
        let [one, two, three] = ports;
        let ports = [one?, two?, three?];
        let companions: Vec<u16> = ports.iter().map(Port::companion).collect();
        let network = kind.is_divisible().then(|| Network::before(&companions)).transpose()?;
        let callable = network.as_ref().map_or(companions, Network::ports);
        let members: Vec<String> = NAMES
            .iter()
            .zip(&callable)
            .map(|(name, port)| format!("{name}=http://127.0.0.1:{port}"))
            .collect();
        let cluster = members.join(",");
        let mut nodes = Vec::new();
        for ((name, port), peer_port) in NAMES.into_iter().zip(ports).zip(callable) {
            let metrics = Port::reserve()?;
            let place = Place { name, peer_port, cluster: &cluster };
            let server = Server::at(port, |port, folder| kind.recipe(port, &metrics, folder, &place))?;
            nodes.push(kind.node(server, metrics));
        }
        nodes.iter().try_for_each(|node| node.launch())?;
        nodes.iter().try_for_each(|node| node.await_ready())?;
        kind.guard(|words| nodes[0].ctl(words))?;
        Ok(Self { nodes: nodes.into_iter().map(|node| kind.as_root(node)).collect(), network })
    }

    /// Its URL: all members.
    pub fn url(&self) -> String {
        self.nodes[0].access.url(&self.join(|node| node.addr().to_string()))
    }

    /// The members, whatever their roles.
    pub fn nodes(&self) -> &[Etcd] {
        &self.nodes
    }

    /// What `etcdctl` prints that knows all members.
    ///
    /// # Errors
    /// Its own words if it fails.
    pub fn ctl<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> io::Result<String> {
        run(self.nodes[0].access.ctl(&self.join(Etcd::endpoint))?, words)
    }

    /// The keys that begin with this, in order.
    ///
    /// # Errors
    /// As [`ctl`](Self::ctl).
    pub fn keys(&self, prefix: &str) -> io::Result<Vec<String>> {
        keys(&self.ctl(["get", "--prefix", "--keys-only", prefix])?)
    }

    /// The leader, once a majority that runs has one.
    ///
    /// # Errors
    /// If that does not come to be.
    pub fn leader(&self) -> io::Result<&Etcd> {
        self.leader_but(|_| false)
    }

    /// The leader that has taken the place of this one.
    ///
    /// # Errors
    /// If that does not come to be.
    pub fn leader_after(&self, old: &Etcd) -> io::Result<&Etcd> {
        self.leader_but(|node| node.port() == old.port())
    }

    fn leader_but(&self, not: impl Fn(&Etcd) -> bool) -> io::Result<&Etcd> {
        until("the cluster had a leader", || {
            let mut running = self.nodes.iter().filter(|node| node.pid().is_some() && !not(node));
            let leader = running.find(|node| node.is_leader().unwrap_or(false));
            leader.ok_or_else(|| io::Error::other("nobody says that it leads"))
        })
    }

    /// Two that do not lead.
    ///
    /// # Errors
    /// As [`leader`](Self::leader).
    pub fn followers(&self) -> io::Result<Vec<&Etcd>> {
        let leader = self.leader()?.port();
        Ok(self.nodes.iter().filter(|node| node.port() != leader).collect())
    }

    /// Takes a member of a [divisible](Builder::divisible) cluster away from the others: what they send each other
    /// vanishes. Clients reach it as before.
    ///
    /// # Errors
    /// If the cluster is not divisible, or the member does not run.
    pub fn cut_off(&self, node: &Etcd) -> io::Result<()> {
        let member = self.nodes.iter().position(|one| one.port() == node.port());
        match (&self.network, member, node.pid()) {
            (Some(network), Some(member), Some(pid)) => {
                network.cut_off(member, pid);
                Ok(())
            }
            _ => Err(io::Error::other(
                "only a member that runs, of a cluster that is divisible, can be cut off",
            )),
        }
    }

    /// Brings everybody together again.
    pub fn heal(&self) {
        if let Some(network) = &self.network {
            network.heal();
        }
    }

    fn join(&self, part: impl Fn(&Etcd) -> String) -> String {
        self.nodes.iter().map(part).collect::<Vec<_>>().join(",")
    }
}
