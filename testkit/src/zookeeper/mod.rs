//! ZooKeeper: a single server, an [`Ensemble`] of three, and the Java that speaks to them.

mod builder;
mod ensemble;
mod java;

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::Deref;
use std::time::Duration;

pub use builder::Builder;
pub use ensemble::{Ensemble, Partition};
pub use java::Java;

use crate::certificates::Certificates;
use crate::server::Server;

/// The unit of time of all servers here, in milliseconds: sessions last 2 to 20 of them.
pub const TICK: Duration = Duration::from_millis(500);

/// A server that says nothing for so long is paused or hangs; the test must not.
const PATIENCE: Duration = Duration::from_secs(5);

/// One that is about to start may take a question and forget it: ask again.
const PATIENCE_AT_START: Duration = Duration::from_millis(200);

/// What a server is to the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// There are no others.
    Standalone,
    /// The others follow it.
    Leader,
    /// It follows the leader.
    Follower,
    /// There is no majority, and it answers those who only want to read.
    ReadOnly,
}

/// A server that runs: all that [`Server`] can, and to be asked about itself.
#[derive(Debug)]
pub struct ZooKeeper {
    server: Server,
    certificates: Option<Certificates>,
}

impl ZooKeeper {
    /// Starts one as it comes.
    ///
    /// # Errors
    /// If it does not come up.
    pub fn start() -> io::Result<Self> {
        Self::builder().start()
    }

    /// One to be described.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("zookeeper://{}", self.addr())
    }

    /// Its URL with TLS, which listens on a port of its own, and with the certificates of a client.
    ///
    /// # Panics
    /// If it was not started with TLS.
    pub fn tls_url(&self) -> String {
        let certificates = self.certificates.as_ref().expect("it was started without TLS");
        let (certificate, key) = certificates.client();
        format!(
            "zookeeper://{}:{}?tls=true&ca={}&cert={}&key={}",
            self.addr().ip(),
            self.second_port(),
            certificates.authority().display(),
            certificate.display(),
            key.display()
        )
    }

    /// The certificates it was started with.
    pub fn certificates(&self) -> Option<&Certificates> {
        self.certificates.as_ref()
    }

    /// Its answer to one of the words of four letters: `srvr`, `cons`, `wchs`, `dump`.
    ///
    /// # Errors
    /// If it does not listen, or says nothing.
    pub fn ask(&self, word: &str) -> io::Result<String> {
        ask(self.addr(), word, PATIENCE)
    }

    /// What it is now.
    ///
    /// # Errors
    /// If it does not answer, or serves nobody for want of a majority.
    pub fn mode(&self) -> io::Result<Mode> {
        mode(self.addr(), PATIENCE)
    }

    /// How many packets it has had from clients since it was started.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn packets_received(&self) -> io::Result<u64> {
        field(&self.ask("srvr")?, "Received: ").and_then(|count| count.parse().map_err(io::Error::other))
    }
}

/// All that a server can.
impl Deref for ZooKeeper {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

fn ask(addr: SocketAddr, word: &str, patience: Duration) -> io::Result<String> {
    let mut stream = TcpStream::connect(addr)?;
    stream.set_read_timeout(Some(patience))?;
    stream.write_all(word.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn mode(addr: SocketAddr, patience: Duration) -> io::Result<Mode> {
    let answer = ask(addr, "srvr", patience)?;
    Ok(match field(&answer, "Mode: ")? {
        "standalone" => Mode::Standalone,
        "leader" => Mode::Leader,
        "follower" => Mode::Follower,
        "read-only" => Mode::ReadOnly,
        other => return Err(io::Error::other(format!("its mode is `{other}`"))),
    })
}

fn field<'a>(answer: &'a str, name: &str) -> io::Result<&'a str> {
    answer
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .ok_or_else(|| io::Error::other(format!("it says: {}", answer.trim())))
}
