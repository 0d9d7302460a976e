//! A master, two replicas and the three Sentinels that watch them.

use std::io;

use super::network::{self, Network};
use super::{Builder, Redis, url_of};
use crate::wait::until;

/// The name under which the Sentinels know the master.
const MASTER_NAME: &str = "leasehold";

const SERVERS: usize = 3;
const SENTINELS: usize = 3;

/// A master, two replicas, and three Sentinels with a quorum of two, who count a master as down after a second
/// without an answer.
#[derive(Debug)]
pub struct Sentinels {
    // First, so that they are gone before the ports of those whom they order about can be others'.
    sentinels: Vec<Redis>,
    servers: Vec<Redis>,
    network: Network,
}

impl Sentinels {
    /// Starts all, and returns when the Sentinels know of each other and the replicas are in sync.
    ///
    /// # Errors
    /// If one does not come up, or they do not find together.
    pub fn start() -> io::Result<Self> {
        Self::start_with(&Redis::builder())
    }

    /// The same with servers of this kind, without passwords.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_with(kind: &Builder) -> io::Result<Self> {
        let master = kind.start()?;
        let replicas = kind.clone().replica_of(&master).start_many(2)?;
        let servers = std::iter::once(master).chain(replicas).collect();
        Self::watch(kind, servers, Network::default())
    }

    /// The same, and all call each other, and are called by clients, through a network that can be disturbed. Only the
    /// Sentinels are called directly.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_divisible(kind: &Builder, seed: u64) -> io::Result<Self> {
        let mut network = Network::new(seed, SENTINELS);
        let mut servers: Vec<Redis> = Vec::new();
        for nth in 0..SERVERS {
            let one = network::calls_from_its_own(kind, nth);
            let server = match servers.first() {
                None => one.start()?,
                Some(master) => one.replica_at(master, network.port_of(0, master)).start()?,
            };
            let port = network.add(server.addr())?.port().to_string();
            let announce =
                ["CONFIG", "SET", "replica-announce-ip", "127.0.0.1", "replica-announce-port", &port];
            server.command(announce)?;
            if nth > 0 {
                // It tells its master when it calls it again.
                server.command(["CLIENT", "KILL", "TYPE", "master"])?;
                server.await_in_sync()?;
            }
            servers.push(server);
        }
        Self::watch(kind, servers, network)
    }

    /// Starts the Sentinels.
    fn watch(kind: &Builder, servers: Vec<Redis>, network: Network) -> io::Result<Self> {
        let watch = format!(
            "sentinel monitor {MASTER_NAME} 127.0.0.1 {} 2\n\
             sentinel down-after-milliseconds {MASTER_NAME} 1000\n\
             sentinel failover-timeout {MASTER_NAME} 5000\n\
             sentinel parallel-syncs {MASTER_NAME} 1\n",
            network.port_of(0, &servers[0])
        );
        let start = |nth| kind.start_sentinel(&format!("{}{watch}", network.sentinel_lines(nth)));
        let sentinels = (0..SENTINELS).map(start).collect::<io::Result<_>>()?;
        let all = Self { sentinels, servers, network };
        for sentinel in &all.sentinels {
            until(format_args!("{} knew all others", **sentinel), || all.knows_all(sentinel))?;
        }
        Ok(all)
    }

    /// The URL for clients that ask the Sentinels.
    pub fn url(&self) -> String {
        format!("{}/{MASTER_NAME}", url_of("redis+sentinel", &self.sentinels))
    }

    /// The name under which the Sentinels know the master.
    pub fn master_name(&self) -> &'static str {
        MASTER_NAME
    }

    /// The three Sentinels.
    pub fn sentinels(&self) -> &[Redis] {
        &self.sentinels
    }

    /// The three servers, whatever their roles.
    pub fn servers(&self) -> &[Redis] {
        &self.servers
    }

    /// What they call each other through, if they were started so.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Whom the first Sentinel that answers announces as the master.
    ///
    /// # Errors
    /// If none of them answers.
    pub fn master(&self) -> io::Result<&Redis> {
        let mut last = io::Error::other("no Sentinel is running");
        for sentinel in self.sentinels.iter().filter(|sentinel| sentinel.pid().is_some()) {
            match self.announced_by(sentinel) {
                Ok(master) => return Ok(master),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// All but the master.
    ///
    /// # Errors
    /// As [`master`](Self::master).
    pub fn replicas(&self) -> io::Result<Vec<&Redis>> {
        let master = self.master()?.port();
        Ok(self.servers.iter().filter(|server| server.port() != master).collect())
    }

    /// Kills the master and tells which it was. [`await_new_master`](Self::await_new_master) tells the next.
    ///
    /// # Errors
    /// If there is none, or it cannot be killed.
    pub fn kill_master(&self) -> io::Result<&Redis> {
        let master = self.master()?;
        master.kill()?;
        Ok(master)
    }

    /// Orders a fail-over while all are well, and returns the new master when all running Sentinels announce it.
    ///
    /// # Errors
    /// If the Sentinels refuse or do not agree.
    pub fn fail_over(&self) -> io::Result<&Redis> {
        let old = self.master()?;
        until("a Sentinel took the order", || {
            self.sentinels[0].command(["SENTINEL", "FAILOVER", MASTER_NAME])
        })?;
        self.await_new_master(old)
    }

    /// Returns the new master when all running Sentinels announce the same one, it is not `old`, and it says itself
    /// that it is.
    ///
    /// # Errors
    /// If that does not come to be.
    pub fn await_new_master(&self, old: &Redis) -> io::Result<&Redis> {
        until("all Sentinels announced a new master", || {
            let new = self.master()?;
            for sentinel in self.sentinels.iter().filter(|sentinel| sentinel.pid().is_some()) {
                let announced = self.announced_by(sentinel)?.port();
                if announced == old.port() || announced != new.port() {
                    return Err(io::Error::other(format!("{} announces port {announced}", **sentinel)));
                }
            }
            let role = new.command(["ROLE"])?;
            if role.list()[0].text() == "master" { Ok(new) } else { Err(io::Error::other(role.to_string())) }
        })
    }

    fn announced_by(&self, sentinel: &Redis) -> io::Result<&Redis> {
        let reply = sentinel.command(["SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER_NAME])?;
        let port = reply.list()[1].int();
        let announced =
            |(nth, server): &(usize, &Redis)| i64::from(self.network.port_of(*nth, server)) == port;
        self.servers
            .iter()
            .enumerate()
            .find(announced)
            .map(|(_, server)| server)
            .ok_or_else(|| io::Error::other(format!("{} announces a stranger: {reply}", **sentinel)))
    }

    fn knows_all(&self, sentinel: &Redis) -> io::Result<()> {
        sentinel.command(["SENTINEL", "CKQUORUM", MASTER_NAME])?;
        for (whom, expected) in
            [("REPLICAS", self.servers.len() - 1), ("SENTINELS", self.sentinels.len() - 1)]
        {
            let known = sentinel.command(["SENTINEL", whom, MASTER_NAME])?.list().len();
            if known != expected {
                return Err(io::Error::other(format!("it knows {known} {whom} of {expected}")));
            }
        }
        Ok(())
    }
}
