//! Redis and Valkey: a single server, several independent ones, replicas, [`Sentinels`] and a [`Cluster`].

mod builder;
mod cluster;
mod network;
mod sentinels;
mod servers;
mod wire;

use std::env;
use std::io;
use std::ops::Deref;
use std::path::PathBuf;

use nix::unistd::Pid;

pub use builder::Builder;
pub use cluster::Cluster;
pub use network::{CLIENTS, Network};
pub use sentinels::Sentinels;
pub use servers::{Kind, Servers};
pub use wire::{Connection, Reply};

use crate::certificates::Certificates;
use crate::server::Server;
use crate::tools;
use crate::wait::until;

/// Which program to test with, if the test does not say: `redis` or `valkey`.
const FLAVOUR_VARIABLE: &str = "LEASEHOLD_REDIS_SERVER";

/// Which of the two servers that speak the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// `redis-server`.
    Redis,
    /// `valkey-server`.
    Valkey,
}

impl Flavour {
    /// The one that the environment variable `LEASEHOLD_REDIS_SERVER` names; Redis if it is not set.
    ///
    /// # Errors
    /// If it names neither.
    pub fn chosen() -> io::Result<Self> {
        match env::var(FLAVOUR_VARIABLE).as_deref() {
            Err(env::VarError::NotPresent) | Ok("redis") => Ok(Self::Redis),
            Ok("valkey") => Ok(Self::Valkey),
            other => {
                Err(io::Error::other(format!("{FLAVOUR_VARIABLE} must be redis or valkey, and is {other:?}")))
            }
        }
    }

    /// All that a test can run with: Redis, and Valkey where it is installed. Says so if it is not.
    ///
    /// # Errors
    /// If Redis is not installed; says how to.
    #[expect(clippy::print_stderr, reason = "who reads a test's output must see what was not tested")]
    pub fn installed() -> io::Result<Vec<Self>> {
        Self::Redis.program()?;
        Ok(match Self::Valkey.program() {
            Ok(_) => vec![Self::Redis, Self::Valkey],
            Err(why) => {
                eprintln!("skipped for Valkey: {why}");
                vec![Self::Redis]
            }
        })
    }

    /// The path of its program.
    ///
    /// # Errors
    /// If it is not installed; says how to. Only for Valkey may a test then be skipped, and must say so.
    pub fn program(self) -> io::Result<PathBuf> {
        tools::program(self.name())
    }

    fn name(self) -> &'static str {
        match self {
            Self::Redis => "redis-server",
            Self::Valkey => "valkey-server",
        }
    }
}

/// Who to be for a server that asks.
#[derive(Debug, Clone)]
struct Login {
    /// None: the default user.
    user: Option<String>,
    password: String,
}

/// A server that runs: all that [`Server`] can, and to be talked to.
#[derive(Debug)]
pub struct Redis {
    server: Server,
    login: Option<Login>,
    certificates: Option<Certificates>,
}

impl Redis {
    /// Starts one as it comes, but for writing nothing to disk.
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

    /// Its URL, with the password that was set by [`Builder::password`].
    pub fn url(&self) -> String {
        match &self.login {
            Some(Login { user: None, password }) => format!("redis://:{password}@{}", self.addr()),
            _ => format!("redis://{}", self.addr()),
        }
    }

    /// Its URL with TLS, which listens on a port of its own.
    ///
    /// # Panics
    /// If it was not started with TLS.
    pub fn tls_url(&self) -> String {
        assert!(self.certificates.is_some(), "{} was started without TLS", self.server);
        format!("rediss://{}:{}", self.addr().ip(), self.second_port())
    }

    /// The certificates it was started with.
    pub fn certificates(&self) -> Option<&Certificates> {
        self.certificates.as_ref()
    }

    /// The path of its unix socket; every server listens on one as well.
    pub fn socket(&self) -> PathBuf {
        self.folder().join(builder::SOCKET)
    }

    /// A connection of an administrator, whatever passwords and users there are.
    ///
    /// # Errors
    /// If it does not listen.
    pub fn connect(&self) -> io::Result<Connection> {
        let mut connection = Connection::open(self.addr())?;
        log_in(&mut connection, self.login.as_ref())?;
        Ok(connection)
    }

    /// Sends one command on a new connection of an administrator: `redis.command(["GET", "key"])`.
    ///
    /// # Errors
    /// The server's own words if it answers with an error; else whatever the connection came to.
    pub fn command<W: AsRef<[u8]>>(&self, words: impl IntoIterator<Item = W>) -> io::Result<Reply> {
        self.connect()?.command(words)
    }

    /// Returns when this replica has all that its master had.
    ///
    /// # Errors
    /// If that does not come to be.
    pub fn await_in_sync(&self) -> io::Result<()> {
        until(format_args!("{} was in sync with its master", self.server), || {
            let role = self.command(["ROLE"])?;
            match role.list() {
                [kind, _, _, state, ..] if kind.text() == "slave" && state.text() == "connected" => Ok(()),
                _ => Err(io::Error::other(format!("its role is {role}"))),
            }
        })
    }
}

/// All that a server can.
impl Deref for Redis {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

/// Several in one URL: `redlock://127.0.0.1:1,127.0.0.1:2`, with any scheme.
pub fn url_of<'a>(scheme: &str, servers: impl IntoIterator<Item = &'a Redis>) -> String {
    let addresses: Vec<_> = servers.into_iter().map(|server| server.addr().to_string()).collect();
    format!("{scheme}://{}", addresses.join(","))
}

fn log_in(connection: &mut Connection, login: Option<&Login>) -> io::Result<()> {
    match login {
        None => {}
        Some(Login { user: None, password }) => drop(connection.command(["AUTH", password])?),
        Some(Login { user: Some(user), password }) => drop(connection.command(["AUTH", user, password])?),
    }
    Ok(())
}

/// Whether the server on this connection takes requests and is the process that we started: another may have been
/// faster on the port.
fn ready(connection: &mut Connection, pid: Pid) -> io::Result<()> {
    let info = connection.command(["INFO", "server"])?;
    if !info.text().lines().any(|line| line == format!("process_id:{pid}")) {
        return Err(io::Error::other("another server answers on its port"));
    }
    connection.command(["PING"]).map(drop)
}
