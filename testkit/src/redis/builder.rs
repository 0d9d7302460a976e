//! How a server is to be started.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;

use super::{Certificates, Connection, Flavour, Login, Redis, log_in, ready};
use crate::port::Port;
use crate::server::{Recipe, Server};

/// The unix socket of a server, in its folder.
pub(super) const SOCKET: &str = "redis.sock";

/// The user that the testkit is where there are others; may do everything.
const ADMINISTRATOR: &str = "testkit";

/// What a server is to be like. By default: of the [chosen](Flavour::chosen) flavour, without password, TLS or faked
/// clock, and writing nothing to disk.
#[derive(Debug, Clone, Default)]
pub struct Builder {
    flavour: Option<Flavour>,
    options: Vec<(String, String)>,
    password: Option<String>,
    users: Vec<String>,
    tls: bool,
    fake_clock: bool,
    replica: bool,
}

impl Builder {
    /// Of this flavour, whatever the environment says.
    #[must_use]
    pub fn flavour(mut self, flavour: Flavour) -> Self {
        self.flavour = Some(flavour);
        self
    }

    /// With this line in its configuration file: `option("save", "3600 1")`, `option("maxmemory", "2mb")`,
    /// `option("notify-keyspace-events", "Kgx")`. What is not one word must be quoted as it would be there. A later
    /// one wins.
    #[must_use]
    pub fn option(mut self, name: &str, value: &str) -> Self {
        self.options.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With every write in a file before it is answered, so that a killed server comes back with its data.
    #[must_use]
    pub fn durable(self) -> Self {
        self.option("appendonly", "yes").option("appendfsync", "always")
    }

    /// With a password for the default user: letters and digits.
    #[must_use]
    pub fn password(mut self, password: &str) -> Self {
        self.password = Some(password.to_owned());
        self
    }

    /// With a user, as `ACL SETUSER` has it: `user("alice", "on >secret ~lock:* &* +@all")`,
    /// `user("default", "off")`.
    #[must_use]
    pub fn user(mut self, name: &str, rules: &str) -> Self {
        self.users.push(format!("user {name} {rules}"));
        self
    }

    /// With TLS on a second port, by certificates made for it: [`Redis::tls_url`], [`Redis::certificates`].
    #[must_use]
    pub fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// With a wall clock that can be shifted and stopped while it runs: [`Server::shift_clock`],
    /// [`Server::stop_clock_at`].
    #[must_use]
    pub fn fake_clock(mut self) -> Self {
        self.fake_clock = true;
        self
    }

    /// As a replica of this one. Started means: in sync with it.
    #[must_use]
    pub fn replica_of(self, master: &Redis) -> Self {
        self.replica_at(master, master.port())
    }

    /// The same of one that is called at this port.
    pub(super) fn replica_at(mut self, master: &Redis, port: u16) -> Self {
        self.replica = true;
        if let Some(login) = &master.login {
            self = self.option("masterauth", &login.password);
            if let Some(user) = &login.user {
                self = self.option("masteruser", user);
            }
        }
        self.option("replicaof", &format!("127.0.0.1 {port}"))
    }

    /// Starts it, and returns when it takes requests.
    ///
    /// # Errors
    /// If it does not come up; the error ends with the end of its log.
    pub fn start(&self) -> io::Result<Redis> {
        let login = self.login();
        let server = Server::start(|port, folder| {
            fs::write(folder.join("redis.conf"), self.configuration(port)?)?;
            self.recipe(port, folder, "redis.conf", &[])
        })?;
        let certificates = self.tls.then(|| Certificates::of(server.folder()));
        let redis = Redis { server, login, certificates };
        if self.replica {
            redis.await_in_sync()?;
        }
        Ok(redis)
    }

    /// Starts so many that know nothing of each other, as Redlock wants them.
    ///
    /// # Errors
    /// If one does not come up.
    pub fn start_many(&self, count: usize) -> io::Result<Vec<Redis>> {
        (0..count).map(|_| self.start()).collect()
    }

    /// Starts one as a Sentinel, with this configuration after the port.
    pub(super) fn start_sentinel(&self, configuration: &str) -> io::Result<Redis> {
        let server = Server::start(|port, folder| {
            // The server writes into this file what it learns.
            let whole = format!("port {}\nbind 127.0.0.1\n{configuration}", port.number());
            fs::write(folder.join("sentinel.conf"), whole)?;
            self.recipe(port, folder, "sentinel.conf", &["--sentinel"])
        })?;
        Ok(Redis { server, login: None, certificates: None })
    }

    fn recipe(&self, port: &Port, folder: &Path, file: &str, more: &[&str]) -> io::Result<Recipe> {
        let flavour = self.flavour.map_or_else(Flavour::chosen, Ok)?;
        if !self.users.is_empty() {
            let users = format!("{}\nuser {ADMINISTRATOR} on nopass ~* &* +@all\n", self.users.join("\n"));
            fs::write(folder.join("users.acl"), users)?;
        }
        if self.tls {
            Certificates::of(folder).make()?;
        }
        let (addr, login) = (port.addr(), self.login());
        Ok(Recipe {
            name: flavour.name(),
            program: flavour.program()?,
            arguments: [file].iter().chain(more).map(|&word| word.to_owned()).collect(),
            fake_clock: self.fake_clock,
            ready: Box::new(move |pid| {
                let mut connection = Connection::open(addr)?;
                log_in(&mut connection, login.as_ref())?;
                ready(&mut connection, pid)
            }),
        })
    }

    fn login(&self) -> Option<Login> {
        if self.users.is_empty() {
            self.password.clone().map(|password| Login { user: None, password })
        } else {
            Some(Login { user: Some(ADMINISTRATOR.to_owned()), password: "any".to_owned() })
        }
    }

    fn configuration(&self, port: &Port) -> io::Result<String> {
        if self.password.is_some() && !self.users.is_empty() {
            return Err(io::Error::other(
                "a server has either a password or users: give the password to a user",
            ));
        }
        let number = port.number();
        // A replica need not wait 5 s for others to sync with.
        let mut text = format!(
            "port {number}\nbind 127.0.0.1\nunixsocket {SOCKET}\nsave \"\"\nappendonly no\nrepl-diskless-sync-delay 0\n"
        );
        if let Some(password) = &self.password {
            writeln!(text, "requirepass {password}").expect("a string takes everything");
        }
        if !self.users.is_empty() {
            text.push_str("aclfile users.acl\n");
        }
        if self.tls {
            let port = port.companion();
            writeln!(text, "tls-port {port}\ntls-auth-clients optional").expect("a string takes everything");
            text.push_str("tls-ca-cert-file ca.pem\ntls-cert-file server.pem\ntls-key-file server.key\n");
        }
        for (name, value) in &self.options {
            writeln!(text, "{name} {value}").expect("a string takes everything");
        }
        Ok(text)
    }
}
