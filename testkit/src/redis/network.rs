//! What servers and clients call each other through, so that they can be taken away from each other.
//!
//! All call one address of a server, that of a proxy. Every server calls from an address of its own, so the proxies
//! can tell who does.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Mutex, PoisonError};

use super::{Builder, Redis};
use crate::proxy::{Fate, Proxy, Rule, Way};

/// Where all clients call from.
pub const CLIENTS: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Where a server calls from.
fn source(nth: usize) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, 1, nth as u8 + 1))
}

/// Where a Sentinel calls from.
fn sentinel_source(nth: usize) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, 2, nth as u8 + 1))
}

/// One that calls from an address of its own.
pub(super) fn calls_from_its_own(kind: &Builder, nth: usize) -> Builder {
    kind.clone().option("bind-source-addr", &source(nth).to_string())
}

/// A proxy before each of some servers, and one before each one's bus if they make a cluster.
#[derive(Debug, Default)]
pub struct Network {
    seed: u64,
    proxies: Vec<Proxy>,
    buses: Vec<Proxy>,
    /// How many Sentinels call too.
    sentinels: usize,
    /// Which server is taken away from the others.
    cut: Mutex<Option<usize>>,
}

impl Network {
    pub(super) fn new(seed: u64, sentinels: usize) -> Self {
        Self { seed, sentinels, ..Self::default() }
    }

    /// The lines by which a Sentinel calls from an address of its own, and says that it listens where all do.
    pub(super) fn sentinel_lines(&self, nth: usize) -> String {
        if self.proxies.is_empty() {
            return String::new();
        }
        format!("bind-source-addr {}\nsentinel announce-ip 127.0.0.1\n", sentinel_source(nth))
    }

    /// The address at which a server is to be called from now on.
    pub(super) fn add(&mut self, server: SocketAddr) -> io::Result<SocketAddr> {
        let proxy = Proxy::before(server, self.seed.wrapping_add(self.proxies.len() as u64))?;
        let addr = proxy.addr();
        self.proxies.push(proxy);
        Ok(addr)
    }

    /// The same for its bus.
    pub(super) fn add_bus(&mut self, bus: SocketAddr) -> io::Result<SocketAddr> {
        let proxy = Proxy::before(bus, self.seed.wrapping_add(100 + self.buses.len() as u64))?;
        let addr = proxy.addr();
        self.buses.push(proxy);
        Ok(addr)
    }

    /// The port at which a server is called: its own, if there is no network.
    pub(super) fn port_of(&self, nth: usize, server: &Redis) -> u16 {
        self.proxies.get(nth).map_or(server.port(), |proxy| proxy.addr().port())
    }

    /// The same for its bus.
    pub(super) fn bus_of(&self, nth: usize, server: &Redis) -> u16 {
        self.buses.get(nth).map_or(server.second_port(), |proxy| proxy.addr().port())
    }

    /// The proxies, in the order of the servers. Rules for [`CLIENTS`] only do not concern the servers.
    pub fn proxies(&self) -> &[Proxy] {
        &self.proxies
    }

    /// Whether a server is taken away from the others.
    pub(super) fn is_cut_off(&self, server: usize) -> bool {
        *self.cut.lock().unwrap_or_else(PoisonError::into_inner) == Some(server)
    }

    fn note(&self, cut: Option<usize>) {
        *self.cut.lock().unwrap_or_else(PoisonError::into_inner) = cut;
    }

    /// Takes a server away from the other servers and from Sentinels: what they say to each other has this fate.
    /// Clients reach it as before.
    pub fn cut_off(&self, server: usize, fate: Fate) {
        self.note(Some(server));
        let others = (0..self.proxies.len()).filter(|&nth| nth != server).map(source);
        let others: Vec<IpAddr> = others.chain((0..self.sentinels).map(sentinel_source)).collect();
        for proxies in [&self.proxies, &self.buses] {
            for (nth, proxy) in proxies.iter().enumerate() {
                if nth == server {
                    proxy.only(&others);
                } else {
                    proxy.only(&[source(server)]);
                }
                for way in [Way::ToServer, Way::ToClient] {
                    proxy.set(way, Rule { fate, ..Rule::default() });
                }
            }
        }
    }

    /// All reach all again.
    ///
    /// # Errors
    /// If a proxy has failed.
    pub fn heal(&self) -> io::Result<()> {
        self.note(None);
        self.proxies.iter().chain(&self.buses).try_for_each(Proxy::heal)
    }
}
