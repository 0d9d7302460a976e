//! A port of 127.0.0.1 that is free and stays ours.

use std::fs::{self, File};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::TcpSocket;

/// Below the ports that systems hand out to outgoing connections, so that none of those takes the port of a server
/// that is down for a moment.
const FIRST: u16 = 12_000;
const COUNT: u16 = 10_000;

/// A reserved port, and the one 10,000 above it (the cluster bus of Redis lies there). Between our own test
/// processes a locked file says who has it, also while nothing listens on it; the lock goes with the process.
#[derive(Debug)]
pub(crate) struct Port {
    number: u16,
    _reservation: File,
}

impl Port {
    /// Reserves one that nobody listens on.
    pub(crate) fn reserve() -> io::Result<Self> {
        let folder = std::env::temp_dir().join(format!("leasehold-ports-{}", nix::unistd::getuid()));
        fs::create_dir_all(&folder)?;
        let start = RandomState::new().hash_one(0);
        for step in 0..COUNT {
            let number = FIRST + ((start % u64::from(COUNT)) as u16 + step) % COUNT;
            let file = File::options().create(true).append(true).open(folder.join(number.to_string()))?;
            if file.try_lock().is_ok() && is_free(number) && is_free(number + COUNT) {
                return Ok(Self { number, _reservation: file });
            }
        }
        Err(io::Error::other(format!("no port from {FIRST} to {} is free", FIRST + COUNT - 1)))
    }

    /// Its number.
    pub(crate) fn number(&self) -> u16 {
        self.number
    }

    /// The second number that came with it.
    pub(crate) fn companion(&self) -> u16 {
        self.number + COUNT
    }

    /// Its address.
    pub(crate) fn addr(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.number).into()
    }
}

fn is_free(number: u16) -> bool {
    probe(number).is_ok()
}

/// Bound, never listening. A child that another thread forks meanwhile has our descriptors until it executes its
/// program: a listener would live on in there for a moment, and be in the way of who binds next.
fn probe(number: u16) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind((Ipv4Addr::LOCALHOST, number).into())?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_reserved_port_is_nobody_elses_although_nothing_listens() {
        let ports: Vec<_> = (0..200).map(|_| Port::reserve().unwrap()).collect();
        let mut numbers: Vec<_> = ports.iter().flat_map(|port| [port.number(), port.companion()]).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), 400);
    }

    #[test]
    fn a_port_that_somebody_listens_on_is_not_reserved() {
        let port = Port::reserve().unwrap();
        assert!(is_free(port.number()));
        let _listener = TcpListener::bind(port.addr()).unwrap();
        assert!(!is_free(port.number()));
    }

    #[test]
    fn a_probe_that_lives_on_in_a_child_is_in_nobodys_way() {
        let port = Port::reserve().unwrap();
        let _inherited = probe(port.number()).unwrap();
        TcpListener::bind(port.addr()).unwrap();
    }
}
