//! Three servers, of which one leads.

use std::io;

use super::{Builder, Consul};
use crate::port::Port;
use crate::server::Server;
use crate::wait::until;

/// Three servers. One that is not heard of for a second is replaced as the leader.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Consul>,
}

impl Cluster {
    /// Starts all, and returns when all take requests.
    ///
    /// # Errors
    /// If one does not come up.
    pub fn start() -> io::Result<Self> {
        Consul::builder().start_cluster()
    }

    pub(super) fn start_with(kind: &Builder) -> io::Result<Self> {
        let gossip = [Port::reserve()?, Port::reserve()?, Port::reserve()?];
        let mut flags: Vec<String> =
            ["-server", "-bootstrap-expect", "3", "-data-dir", "data"].map(str::to_owned).into();
        for port in &gossip {
            flags.extend(["-retry-join".to_owned(), port.addr().to_string()]);
        }
        flags.extend(
            ["-retry-interval", "1s", "-hcl", "performance { raft_multiplier = 1 }"].map(str::to_owned),
        );
        let mut nodes = Vec::new();
        for gossip in gossip {
            let server = Server::at(Port::reserve()?, |port, folder| {
                kind.recipe(port, &gossip, folder, flags.clone())
            })?;
            nodes.push(kind.consul(server, gossip));
        }
        nodes.iter().try_for_each(|node| node.launch())?;
        nodes.iter().try_for_each(|node| node.await_ready())?;
        Ok(Self { nodes })
    }

    /// Its URL: all servers.
    pub fn url(&self) -> String {
        let rest = self.nodes[1..].iter().map(|node| format!(",{}", node.addr()));
        self.nodes[0].url() + &rest.collect::<String>()
    }

    /// The servers, whatever their roles.
    pub fn nodes(&self) -> &[Consul] {
        &self.nodes
    }

    /// The leader, once a majority that runs has one.
    ///
    /// # Errors
    /// If that does not come to be.
    pub fn leader(&self) -> io::Result<&Consul> {
        self.leader_but(|_| false)
    }

    /// The leader that has taken the place of this one.
    ///
    /// # Errors
    /// If that does not come to be.
    pub fn leader_after(&self, old: &Consul) -> io::Result<&Consul> {
        self.leader_but(|node| node.port() == old.port())
    }

    fn leader_but(&self, not: impl Fn(&Consul) -> bool) -> io::Result<&Consul> {
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
    pub fn followers(&self) -> io::Result<Vec<&Consul>> {
        let leader = self.leader()?.port();
        Ok(self.nodes.iter().filter(|node| node.port() != leader).collect())
    }
}
