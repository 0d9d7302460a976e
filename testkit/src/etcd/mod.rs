//! etcd: a single node and a [`Cluster`] of three.

mod bare;
mod builder;
mod cluster;
mod messages;
mod network;

use std::ffi::OsStr;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::Deref;
use std::process::Command;
use std::time::Duration;

pub use bare::Bare;
pub use builder::Builder;
pub use cluster::Cluster;

use crate::certificates::Certificates;
use crate::port::Port;
use crate::server::Server;
use crate::tools;

/// How long a node may take to say how it is; one that is paused takes longer.
const PATIENCE: Duration = Duration::from_secs(2);

/// How to get in: as root, whatever passwords and certificates there are.
#[derive(Debug, Default)]
struct Access {
    password: Option<String>,
    certificates: Option<Certificates>,
}

impl Access {
    fn scheme(&self) -> &'static str {
        if self.certificates.is_some() { "https" } else { "http" }
    }

    /// Our URL for these addresses.
    fn url(&self, addresses: &str) -> String {
        let login = self.password.as_ref().map_or(String::new(), |password| format!("root:{password}@"));
        let Some(certificates) = &self.certificates else { return format!("etcd://{login}{addresses}") };
        let (cert, key) = certificates.client();
        let ca = certificates.authority();
        format!(
            "etcds://{login}{addresses}?ca={}&cert={}&key={}",
            ca.display(),
            cert.display(),
            key.display()
        )
    }

    /// `etcdctl` for these endpoints.
    fn ctl(&self, endpoints: &str) -> io::Result<Command> {
        let mut command = Command::new(tools::program("etcdctl")?);
        command.env("ETCDCTL_API", "3").env("ETCDCTL_ENDPOINTS", endpoints);
        if let Some(password) = &self.password {
            command.env("ETCDCTL_USER", format!("root:{password}"));
        }
        if let Some(certificates) = &self.certificates {
            let (cert, key) = certificates.client();
            command.env("ETCDCTL_CACERT", certificates.authority());
            command.env("ETCDCTL_CERT", cert).env("ETCDCTL_KEY", key);
        }
        Ok(command)
    }
}

/// A node that runs: all that [`Server`] can, and to be talked to.
pub struct Etcd {
    server: Server,
    /// Where it answers, without encryption, to who asks how it is.
    metrics: Port,
    access: Access,
}

impl Etcd {
    /// Starts one as it comes, but for not waiting for its disk.
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

    /// Its URL: `etcd://` or `etcds://`, as root if there are passwords.
    pub fn url(&self) -> String {
        self.access.url(&self.addr().to_string())
    }

    /// The certificates it was started with.
    pub fn certificates(&self) -> Option<&Certificates> {
        self.access.certificates.as_ref()
    }

    /// How the API's own clients call it: `http://127.0.0.1:12345`.
    pub fn endpoint(&self) -> String {
        format!("{}://{}", self.access.scheme(), self.addr())
    }

    /// An `etcdctl` for this node, as root, that has still to be told what to do.
    ///
    /// # Errors
    /// If it is not installed; says how to.
    pub fn ctl_command(&self) -> io::Result<Command> {
        self.access.ctl(&self.endpoint())
    }

    /// What `etcdctl` prints.
    ///
    /// # Errors
    /// Its own words if it fails.
    pub fn ctl<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> io::Result<String> {
        run(self.ctl_command()?, words)
    }

    /// The keys that begin with this, in order.
    ///
    /// # Errors
    /// As [`ctl`](Self::ctl).
    pub fn keys(&self, prefix: &str) -> io::Result<Vec<String>> {
        keys(&self.ctl(["get", "--prefix", "--keys-only", prefix])?)
    }

    /// The sum of what it counts under this name, of those whose labels hold this text.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn metric(&self, name: &str, label: &str) -> io::Result<f64> {
        let text = self.ask("/metrics")?;
        let values = text.lines().filter_map(|line| {
            let (key, value) = line.rsplit_once(' ')?;
            let (plain, labels) = key.split_once('{').unwrap_or((key, ""));
            (plain == name && labels.contains(label)).then(|| value.parse::<f64>().ok())?
        });
        Ok(values.sum())
    }

    /// Whether it holds itself for the leader.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn is_leader(&self) -> io::Result<bool> {
        Ok(self.metric("etcd_server_is_leader", "")? > 0.0)
    }

    fn ask(&self, path: &str) -> io::Result<String> {
        ask(self.metrics.addr(), path)
    }
}

impl fmt::Debug for Etcd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Etcd").field("server", &self.server).finish_non_exhaustive()
    }
}

/// All that a server can.
impl Deref for Etcd {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

fn run<S: AsRef<OsStr>>(mut command: Command, words: impl IntoIterator<Item = S>) -> io::Result<String> {
    let output = command.args(words).output()?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}

fn keys(printed: &str) -> io::Result<Vec<String>> {
    Ok(printed.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect())
}

/// What is at this path, by the simplest of clients.
fn ask(addr: SocketAddr, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&addr, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    if head.split(' ').nth(1) != Some("200") {
        return Err(io::Error::other(format!("{path} says: {}", answer.trim())));
    }
    Ok(body.to_owned())
}
