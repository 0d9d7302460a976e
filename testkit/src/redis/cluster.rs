//! Three masters with a replica each, and the moving of slots between them.

use std::io;
use std::net::SocketAddr;

use super::network::{self, Network};
use super::{Builder, Redis};
use crate::wait::until;

const MASTERS: usize = 3;
const SLOTS: usize = 16_384;

/// How many keys move in one step.
const KEYS_A_STEP: &str = "100";

/// Three masters and three replicas. A node that does not answer for two seconds counts as failed.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Redis>,
    network: Network,
}

/// What one node says about another.
struct Seen {
    port: u16,
    master: bool,
    failed: bool,
    slots: Vec<(u16, u16)>,
}

impl Cluster {
    /// Starts all, and returns when every node sees the whole cluster as well.
    ///
    /// # Errors
    /// If one does not come up, or they do not find together.
    pub fn start() -> io::Result<Self> {
        Self::start_with(&Redis::builder())
    }

    /// The same with nodes of this kind, without passwords.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_with(kind: &Builder) -> io::Result<Self> {
        let nodes = clustered(kind).start_many(2 * MASTERS)?;
        Self::form(nodes, Network::default())
    }

    /// The same, and all call each other, and are called by clients, through a network that can be disturbed.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_divisible(kind: &Builder, seed: u64) -> io::Result<Self> {
        let mut network = Network::new(seed, 0);
        let mut nodes = Vec::new();
        for nth in 0..2 * MASTERS {
            let node = network::calls_from_its_own(&clustered(kind), nth).start()?;
            let port = network.add(node.addr())?.port().to_string();
            let bus =
                network.add_bus(SocketAddr::new(node.addr().ip(), node.second_port()))?.port().to_string();
            node.command(["CONFIG", "SET", "cluster-announce-ip", "127.0.0.1"])?;
            node.command(["CONFIG", "SET", "cluster-announce-port", &port])?;
            node.command(["CONFIG", "SET", "cluster-announce-bus-port", &bus])?;
            nodes.push(node);
        }
        Self::form(nodes, network)
    }

    fn form(nodes: Vec<Redis>, network: Network) -> io::Result<Self> {
        let cluster = Self { nodes, network };
        cluster.share_slots()?;
        cluster.introduce()?;
        for (index, replica) in cluster.nodes.iter().enumerate().skip(MASTERS) {
            let master = cluster.id(&cluster.nodes[index - MASTERS])?;
            until("a replica knew its master", || replica.command(["CLUSTER", "REPLICATE", &master]))?;
            replica.await_in_sync()?;
        }
        cluster.await_settled("the cluster was complete", |seen| {
            seen.iter().filter(|node| node.master).count() == MASTERS
        })?;
        Ok(cluster)
    }

    fn share_slots(&self) -> io::Result<()> {
        for (index, node) in self.nodes.iter().enumerate() {
            node.command(["CLUSTER", "SET-CONFIG-EPOCH", &(index + 1).to_string()])?;
            if index < MASTERS {
                let (first, last) = (index * SLOTS / MASTERS, (index + 1) * SLOTS / MASTERS - 1);
                node.command(["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &last.to_string()])?;
            }
        }
        Ok(())
    }

    /// Each to each: what they tell each other by themselves takes seconds.
    fn introduce(&self) -> io::Result<()> {
        for index in 0..self.nodes.len() {
            for other in index + 1..self.nodes.len() {
                let port = self.port_of(other).to_string();
                let bus = self.network.bus_of(other, &self.nodes[other]).to_string();
                self.nodes[index].command(["CLUSTER", "MEET", "127.0.0.1", &port, &bus])?;
            }
        }
        self.await_settled("all nodes knew each other", |_| true)
    }

    /// The URL for clients: all nodes as seeds.
    pub fn url(&self) -> String {
        let all: Vec<_> =
            (0..self.nodes.len()).map(|nth| format!("127.0.0.1:{}", self.port_of(nth))).collect();
        format!("redis+cluster://{}", all.join(","))
    }

    /// What they call each other through, if they were started so.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The port at which a node is called.
    fn port_of(&self, nth: usize) -> u16 {
        self.network.port_of(nth, &self.nodes[nth])
    }

    /// The node that is called at one of these ports.
    fn at(&self, port: impl Fn(u16) -> bool) -> Option<&Redis> {
        (0..self.nodes.len()).find(|&nth| port(self.port_of(nth))).map(|nth| &self.nodes[nth])
    }

    /// The port at which this node is called.
    fn port(&self, node: &Redis) -> u16 {
        let nth = self.nodes.iter().position(|other| other.port() == node.port());
        nth.map_or(node.port(), |nth| self.port_of(nth))
    }

    /// The six nodes, whatever their roles.
    pub fn nodes(&self) -> &[Redis] {
        &self.nodes
    }

    /// The slot of a key.
    ///
    /// # Errors
    /// If no node answers.
    pub fn slot_of(&self, key: &str) -> io::Result<u16> {
        let slot = self.running()?.command(["CLUSTER", "KEYSLOT", key])?.int();
        u16::try_from(slot).map_err(io::Error::other)
    }

    /// The master that serves this slot.
    ///
    /// # Errors
    /// If no node answers, or there is none.
    pub fn master_of(&self, slot: u16) -> io::Result<&Redis> {
        let seen = self.seen_by(self.running()?)?;
        let serves = |node: &&Seen| node.slots.iter().any(|&(first, last)| (first..=last).contains(&slot));
        let master = seen.iter().find(serves).map(|node| node.port);
        self.at(|port| Some(port) == master)
            .ok_or_else(|| io::Error::other(format!("no node serves slot {slot}")))
    }

    /// A master that does not serve this slot, to [move](Self::begin_move) it to.
    ///
    /// # Errors
    /// If no node answers, or there is none.
    pub fn other_master(&self, slot: u16) -> io::Result<&Redis> {
        let (seen, not_this) = (self.seen_by(self.running()?)?, self.port(self.master_of(slot)?));
        let is_other =
            |seen: &Seen| seen.master && !seen.slots.is_empty() && !seen.failed && seen.port != not_this;
        self.at(|port| seen.iter().any(|seen| seen.port == port && is_other(seen)))
            .ok_or_else(|| io::Error::other("there is no other master"))
    }

    /// Kills the master of a slot and tells which it was.
    ///
    /// # Errors
    /// If there is none, or it cannot be killed.
    pub fn kill_master(&self, slot: u16) -> io::Result<&Redis> {
        let master = self.master_of(slot)?;
        master.kill()?;
        Ok(master)
    }

    /// Returns the new master of a slot when all that run and are not cut off see one that is not `old`, and
    /// the cluster as well.
    ///
    /// # Errors
    /// If that does not come to be.
    pub fn await_takeover(&self, slot: u16, old: &Redis) -> io::Result<&Redis> {
        let old = self.port(old);
        self.await_settled("a replica took over", |seen| {
            seen.iter().any(|node| {
                let serves = node.slots.iter().any(|&(first, last)| (first..=last).contains(&slot));
                serves && node.port != old
            })
        })?;
        self.master_of(slot)
    }

    /// Begins to move a slot: from now on its master sends those away (ASK) who ask for a key that it has not.
    ///
    /// # Errors
    /// If the nodes refuse.
    pub fn begin_move(&self, slot: u16, to: &Redis) -> io::Result<()> {
        let from = self.master_of(slot)?;
        let (number, from_id, to_id) = (slot.to_string(), self.id(from)?, self.id(to)?);
        to.command(["CLUSTER", "SETSLOT", &number, "IMPORTING", &from_id])?;
        from.command(["CLUSTER", "SETSLOT", &number, "MIGRATING", &to_id]).map(drop)
    }

    /// Moves the keys of a slot whose move has begun.
    ///
    /// # Errors
    /// If the nodes refuse.
    pub fn move_keys(&self, slot: u16, to: &Redis) -> io::Result<()> {
        let from = self.master_of(slot)?;
        loop {
            let keys = from.command(["CLUSTER", "GETKEYSINSLOT", &slot.to_string(), KEYS_A_STEP])?;
            if keys.list().is_empty() {
                return Ok(());
            }
            let port = to.port().to_string();
            let words = ["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "KEYS"];
            from.command(words.into_iter().chain(keys.list().iter().map(|key| key.text())))?;
        }
    }

    /// Ends the move of a slot: returns when all running nodes see it at its new master (MOVED).
    ///
    /// # Errors
    /// If the nodes refuse, or keys of the slot are left behind.
    pub fn end_move(&self, slot: u16, to: &Redis) -> io::Result<()> {
        let (from, id) = (self.master_of(slot)?, self.id(to)?);
        // The new master first: were it the old one, for a moment each would send askers to the other.
        for node in [to, from] {
            node.command(["CLUSTER", "SETSLOT", &slot.to_string(), "NODE", &id])?;
        }
        self.await_takeover(slot, from).map(drop)
    }

    /// Moves a slot with all its keys.
    ///
    /// # Errors
    /// If the nodes refuse.
    pub fn move_slot(&self, slot: u16, to: &Redis) -> io::Result<()> {
        self.begin_move(slot, to)?;
        self.move_keys(slot, to)?;
        self.end_move(slot, to)
    }

    fn running(&self) -> io::Result<&Redis> {
        self.well().next().ok_or_else(|| io::Error::other("no node is running"))
    }

    fn id(&self, node: &Redis) -> io::Result<String> {
        Ok(node.command(["CLUSTER", "MYID"])?.text().to_owned())
    }

    /// The nodes that run and are not taken away from the others.
    fn well(&self) -> impl Iterator<Item = &Redis> {
        let well = |(nth, node): &(usize, &Redis)| node.pid().is_some() && !self.network.is_cut_off(*nth);
        self.nodes.iter().enumerate().filter(well).map(|(_, node)| node)
    }

    /// Returns when every such node says that the cluster is well, knows all others, and sees what is expected.
    fn await_settled(&self, what: &str, expected: impl Fn(&[Seen]) -> bool) -> io::Result<()> {
        for node in self.well() {
            until(what, || {
                let seen = self.seen_by(node)?;
                let known =
                    (0..self.nodes.len()).all(|nth| seen.iter().any(|seen| seen.port == self.port_of(nth)));
                let info = node.command(["CLUSTER", "INFO"])?;
                if known && info.text().contains("cluster_state:ok") && expected(&seen) {
                    return Ok(());
                }
                let view = node.command(["CLUSTER", "NODES"])?;
                Err(io::Error::other(format!("{} sees\n{info}{view}", **node)))
            })?;
        }
        Ok(())
    }

    /// All nodes that this one knows, but for those it has not yet shaken hands with.
    fn seen_by(&self, node: &Redis) -> io::Result<Vec<Seen>> {
        let lines = node.command(["CLUSTER", "NODES"])?;
        let seen = lines.text().lines().filter(|line| !line.contains("handshake")).map(|line| {
            Seen::parse(line).ok_or_else(|| io::Error::other(format!("{} says of a node: {line}", **node)))
        });
        seen.collect()
    }
}

fn clustered(kind: &Builder) -> Builder {
    kind.clone().option("cluster-enabled", "yes").option("cluster-node-timeout", "2000")
}

impl Seen {
    /// `id ip:port@bus,host flags master ping pong epoch link slot first-last [slot->-id] ...`
    fn parse(line: &str) -> Option<Self> {
        let words: Vec<_> = line.split(' ').collect();
        let (&[_, addr, flags], rest) = words.split_first_chunk()?;
        let port = addr.split('@').next()?.rsplit(':').next()?.parse().ok()?;
        let has = |flag: &str| flags.split(',').any(|word| word == flag);
        let mut slots = Vec::new();
        // What is in brackets is on its way.
        for word in rest.get(5..)?.iter().filter(|word| !word.starts_with('[')) {
            let (first, last) = word.split_once('-').unwrap_or((word, word));
            slots.push((first.parse().ok()?, last.parse().ok()?));
        }
        Some(Self { port, master: has("master"), failed: has("fail"), slots })
    }
}
