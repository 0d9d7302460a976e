//! How a node is to be started.

use std::io;
use std::path::Path;

use super::{Access, Cluster, Etcd, ask};
use crate::certificates::Certificates;
use crate::port::Port;
use crate::server::{Recipe, Server};
use crate::tools;

/// A node alone needs nobody's vote, and a lease of a second is long for it: both follow from these.
const ALONE: [(&str, &str); 2] = [("heartbeat-interval", "20"), ("election-timeout", "200")];

/// What a node is to be like. By default: without passwords or TLS, and not waiting for its disk: what it has written
/// survives a kill, but not a power cut.
#[derive(Debug, Clone, Default)]
pub struct Builder {
    options: Vec<(String, String)>,
    password: Option<String>,
    users: Vec<[String; 3]>,
    tls: bool,
    durable: bool,
    divisible: bool,
}

/// Where a member is for the others.
pub(super) struct Place<'a> {
    pub(super) name: &'a str,
    /// Where the others call it, which may lead through a network of ours.
    pub(super) peer_port: u16,
    pub(super) cluster: &'a str,
}

impl Builder {
    /// With this flag: `option("max-txn-ops", "16")`. A later one wins.
    #[must_use]
    pub fn option(mut self, name: &str, value: &str) -> Self {
        self.options.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With every write on the disk before it is answered.
    #[must_use]
    pub fn durable(mut self) -> Self {
        self.durable = true;
        self
    }

    /// With a password for root, so that everybody has to say who they are: letters and digits.
    #[must_use]
    pub fn password(mut self, password: &str) -> Self {
        self.password = Some(password.to_owned());
        self
    }

    /// With a user who may read and write the keys that begin with a prefix, where there is a
    /// [password](Self::password).
    #[must_use]
    pub fn user(mut self, name: &str, password: &str, prefix: &str) -> Self {
        self.users.push([name, password, prefix].map(str::to_owned));
        self
    }

    /// With TLS, where clients have to show a certificate: [`Etcd::certificates`].
    #[must_use]
    pub fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// With members that call each other through a network of ours: [`Cluster::cut_off`].
    #[must_use]
    pub fn divisible(mut self) -> Self {
        self.divisible = true;
        self
    }

    pub(super) fn is_divisible(&self) -> bool {
        self.divisible
    }

    /// Starts one alone, and returns when it takes requests.
    ///
    /// # Errors
    /// If it does not come up; the error ends with the end of its log.
    pub fn start(&self) -> io::Result<Etcd> {
        let metrics = Port::reserve()?;
        let mut alone = self.clone();
        alone.options.splice(0..0, ALONE.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let server = Server::start(|port, folder| {
            let cluster = format!("alone=http://127.0.0.1:{}", port.companion());
            let place = Place { name: "alone", peer_port: port.companion(), cluster: &cluster };
            alone.recipe(port, &metrics, folder, &place)
        })?;
        let etcd = self.node(server, metrics);
        self.guard(|words| etcd.ctl(words))?;
        Ok(self.as_root(etcd))
    }

    /// Starts three that make a cluster, and returns when all take requests.
    ///
    /// # Errors
    /// If one does not come up.
    pub fn start_cluster(&self) -> io::Result<Cluster> {
        Cluster::start_with(self)
    }

    pub(super) fn node(&self, server: Server, metrics: Port) -> Etcd {
        let certificates = self.tls.then(|| Certificates::of(server.folder()));
        Etcd { server, metrics, access: Access { password: None, certificates } }
    }

    /// Sets passwords and users, if there are to be any.
    pub(super) fn guard(&self, ctl: impl Fn(&[&str]) -> io::Result<String>) -> io::Result<()> {
        let Some(password) = &self.password else { return Ok(()) };
        for [name, password, prefix] in &self.users {
            ctl(&["user", "add", &format!("{name}:{password}")])?;
            ctl(&["role", "add", name])?;
            ctl(&["role", "grant-permission", name, "--prefix=true", "readwrite", prefix])?;
            ctl(&["user", "grant-role", name, name])?;
        }
        ctl(&["user", "add", &format!("root:{password}")])?;
        ctl(&["auth", "enable"]).map(drop)
    }

    pub(super) fn as_root(&self, mut etcd: Etcd) -> Etcd {
        etcd.access.password.clone_from(&self.password);
        etcd
    }

    pub(super) fn recipe(
        &self,
        port: &Port,
        metrics: &Port,
        folder: &Path,
        place: &Place<'_>,
    ) -> io::Result<Recipe> {
        let scheme = if self.tls { "https" } else { "http" };
        let clients = format!("{scheme}://{}", port.addr());
        let mut flags = vec![
            ("name", place.name.to_owned()),
            ("data-dir", "data".to_owned()),
            ("listen-client-urls", clients.clone()),
            ("advertise-client-urls", clients),
            ("listen-peer-urls", format!("http://127.0.0.1:{}", port.companion())),
            ("initial-advertise-peer-urls", format!("http://127.0.0.1:{}", place.peer_port)),
            ("initial-cluster", place.cluster.to_owned()),
            ("listen-metrics-urls", format!("http://{}", metrics.addr())),
            ("logger", "zap".to_owned()),
            ("log-outputs", "stderr".to_owned()),
            ("log-level", "warn".to_owned()),
        ];
        if self.tls {
            Certificates::of(folder).make()?;
            flags.push(("client-cert-auth", "true".to_owned()));
            flags.push(("trusted-ca-file", "ca.pem".to_owned()));
            flags.push(("cert-file", "server.pem".to_owned()));
            flags.push(("key-file", "server.key".to_owned()));
        }
        if !self.durable {
            flags.push(("unsafe-no-fsync", "true".to_owned()));
        }
        let ours = flags.iter().map(|(name, value)| format!("--{name}={value}"));
        let theirs = self.options.iter().map(|(name, value)| format!("--{name}={value}"));
        let asked = metrics.addr();
        Ok(Recipe {
            name: "etcd",
            program: tools::program("etcd")?,
            arguments: ours.chain(theirs).collect(),
            fake_clock: false,
            ready: Box::new(move |_| ask(asked, "/health").map(drop)),
        })
    }
}
