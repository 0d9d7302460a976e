//! Consul: a single server and a [`Cluster`] of three.

mod api;
mod builder;
mod cluster;

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::ops::Deref;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

pub use api::Answer;
pub use builder::Builder;
pub use cluster::Cluster;

use crate::certificates::Certificates;
use crate::port::Port;
use crate::server::Server;
use crate::tools;

/// The token that the testkit has where there are any; may do everything.
const MANAGEMENT: &str = "5f0c1a1e-0000-4000-8000-7e57c1700001";

/// A server that runs: all that [`Server`] can, and to be talked to.
pub struct Consul {
    server: Server,
    /// Where the servers gossip, and beside it encryption.
    gossip: Port,
    token: Option<&'static str>,
    certificates: Option<Certificates>,
}

impl Consul {
    /// Starts one that keeps everything in memory.
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

    /// Its URL: `consul://`, with the token that may do everything if there are tokens.
    pub fn url(&self) -> String {
        match self.token {
            Some(token) => format!("consul://:{token}@{}", self.addr()),
            None => format!("consul://{}", self.addr()),
        }
    }

    /// Its URL with TLS, which listens on a port of its own: `consuls://`, with all that it asks for.
    ///
    /// # Panics
    /// If it was not started with TLS.
    pub fn tls_url(&self) -> String {
        let certificates = self.certificates.as_ref().expect("it was started with TLS");
        let (cert, key) = certificates.client();
        format!(
            "consuls://{}?ca={}&cert={}&key={}",
            self.tls_addr(),
            certificates.authority().display(),
            cert.display(),
            key.display()
        )
    }

    /// Where it listens for TLS, if it was started with it.
    pub fn tls_addr(&self) -> String {
        format!("127.0.0.1:{}", self.gossip.companion())
    }

    /// The certificates it was started with.
    pub fn certificates(&self) -> Option<&Certificates> {
        self.certificates.as_ref()
    }

    /// Its own command line tool, for this server, that has still to be told what to do.
    ///
    /// # Errors
    /// If it is not installed; says how to.
    pub fn ctl_command(&self) -> io::Result<Command> {
        let mut command = Command::new(program()?);
        command.env("CONSUL_HTTP_ADDR", self.addr().to_string());
        if let Some(token) = self.token {
            command.env("CONSUL_HTTP_TOKEN", token);
        }
        Ok(command)
    }

    /// What its command line tool prints.
    ///
    /// # Errors
    /// Its own words if it fails.
    pub fn ctl<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> io::Result<String> {
        let output = self.ctl_command()?.args(words).output()?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
    }

    /// What its HTTP API answers, whatever it is: `api("PUT", "/v1/kv/key", "value")`.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn api(&self, method: &str, path: &str, body: &str) -> io::Result<Answer> {
        api::ask(self.addr(), self.token, method, path, body)
    }

    /// The keys that begin with this, in order.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn keys(&self, prefix: &str) -> io::Result<Vec<String>> {
        let answer = self.api("GET", &format!("/v1/kv/{prefix}?keys"), "")?;
        match answer.status {
            404 => Ok(Vec::new()),
            _ => serde_json::from_str(&answer.ok()?).map_err(io::Error::other),
        }
    }

    /// What is known of a key; `None` if it is not there.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn key(&self, key: &str) -> io::Result<Option<Value>> {
        let answer = self.api("GET", &format!("/v1/kv/{key}"), "")?;
        match answer.status {
            404 => Ok(None),
            _ => Ok(Some(serde_json::from_str::<Value>(&answer.ok()?)?[0].take())),
        }
    }

    /// A session of this time to live, in seconds, which ends without any lock-delay and gives up its locks.
    ///
    /// # Errors
    /// If it is refused.
    pub fn session(&self, ttl: u32) -> io::Result<String> {
        let session = json!({"TTL": format!("{ttl}s"), "LockDelay": "0s", "Checks": [], "NodeChecks": []});
        let made = self.api("PUT", "/v1/session/create", &session.to_string())?.ok()?;
        let made: Value = serde_json::from_str(&made)?;
        Ok(made["ID"].as_str().unwrap_or_default().to_owned())
    }

    /// The ids of all sessions.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn sessions(&self) -> io::Result<Vec<String>> {
        let sessions: Value = serde_json::from_str(&self.api("GET", "/v1/session/list", "")?.ok()?)?;
        let ids = sessions.as_array().into_iter().flatten();
        Ok(ids.filter_map(|session| session["ID"].as_str().map(str::to_owned)).collect())
    }

    /// Makes a token with these rules: `key_prefix "a/" { policy = "write" }`.
    ///
    /// # Errors
    /// If it is refused, as where there are no tokens.
    pub fn token(&self, rules: &str) -> io::Result<String> {
        let name = format!("rules-{}", self.policies()?);
        let policy = json!({"Name": name, "Rules": rules}).to_string();
        self.api("PUT", "/v1/acl/policy", &policy)?.ok()?;
        let token = json!({"Policies": [{"Name": name}]}).to_string();
        let made: Value = serde_json::from_str(&self.api("PUT", "/v1/acl/token", &token)?.ok()?)?;
        Ok(made["SecretID"].as_str().unwrap_or_default().to_owned())
    }

    fn policies(&self) -> io::Result<usize> {
        let policies: Value = serde_json::from_str(&self.api("GET", "/v1/acl/policies", "")?.ok()?)?;
        Ok(policies.as_array().map_or(0, Vec::len))
    }

    /// How many requests of this method, whose path begins so, it has logged as done. It must have been started to
    /// [log them](Builder::log_requests).
    pub fn requests(&self, method: &str, path: &str) -> usize {
        let wanted = format!("Request finished: method={method} url={path}");
        self.log().lines().filter(|line| line.contains(&wanted)).count()
    }

    /// Whether it holds itself for the leader.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn is_leader(&self) -> io::Result<bool> {
        let myself: Value = serde_json::from_str(&self.api("GET", "/v1/agent/self", "")?.ok()?)?;
        Ok(myself["Stats"]["consul"]["leader"] == "true")
    }
}

fn program() -> io::Result<PathBuf> {
    tools::program("consul")
}

impl fmt::Debug for Consul {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consul").field("server", &self.server).finish_non_exhaustive()
    }
}

/// All that a server can.
impl Deref for Consul {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}
