//! How a server is to be started.

use std::io;
use std::net::SocketAddr;
use std::path::Path;

use super::{Cluster, Consul, MANAGEMENT, api, program};
use crate::certificates::Certificates;
use crate::port::Port;
use crate::server::{Recipe, Server};

/// A key that is deleted, though it was never there, to see whether writes are taken.
const READY_KEY: &str = "/v1/kv/leasehold-testkit/ready";
/// A session that is opened to see the same of them, and may be left behind for a moment.
const READY_SESSION: &str =
    r#"{"TTL":"10s","LockDelay":"0s","Behavior":"delete","Checks":[],"NodeChecks":[]}"#;

/// What a server is to be like. By default: in memory, without tokens or TLS, and with room for the connections of many
/// clients, all of which come from one address here.
#[derive(Debug, Clone, Default)]
pub struct Builder {
    options: Vec<String>,
    durable: bool,
    tokens: bool,
    tls: bool,
    log_requests: bool,
}

impl Builder {
    /// With this piece of configuration in HCL: `option("limits { http_max_conns_per_client = 200 }")`. A later one
    /// wins.
    #[must_use]
    pub fn option(mut self, hcl: &str) -> Self {
        self.options.push(hcl.to_owned());
        self
    }

    /// With everything on the disk, so that a killed server comes back with its data.
    #[must_use]
    pub fn durable(mut self) -> Self {
        self.durable = true;
        self
    }

    /// With tokens; whoever has none may do nothing: [`Consul::token`].
    #[must_use]
    pub fn tokens(mut self) -> Self {
        self.tokens = true;
        self
    }

    /// With TLS on a second port, where clients have to show a certificate: [`Consul::tls_url`],
    /// [`Consul::certificates`].
    #[must_use]
    pub fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// With every request in its log: [`Consul::requests`].
    #[must_use]
    pub fn log_requests(mut self) -> Self {
        self.log_requests = true;
        self
    }

    /// Starts one alone, and returns when it takes requests.
    ///
    /// # Errors
    /// If it does not come up; the error ends with the end of its log.
    pub fn start(&self) -> io::Result<Consul> {
        let gossip = Port::reserve()?;
        let server = Server::start(|port, folder| {
            let mut flags = match self.durable {
                false => vec!["-dev".to_owned()],
                true => words(&["-server", "-bootstrap-expect", "1", "-data-dir", "data"]),
            };
            if self.durable {
                flags.extend(words(&["-hcl", "performance { raft_multiplier = 1 }"]));
            }
            self.recipe(port, &gossip, folder, flags)
        })?;
        Ok(self.consul(server, gossip))
    }

    /// Starts three that make a cluster, all with their data on the disk, and returns when all take requests.
    ///
    /// # Errors
    /// If one does not come up.
    pub fn start_cluster(&self) -> io::Result<Cluster> {
        Cluster::start_with(self)
    }

    pub(super) fn consul(&self, server: Server, gossip: Port) -> Consul {
        let certificates = self.tls.then(|| Certificates::of(server.folder()));
        Consul { server, gossip, token: self.token(), certificates }
    }

    fn token(&self) -> Option<&'static str> {
        self.tokens.then_some(MANAGEMENT)
    }

    pub(super) fn recipe(
        &self,
        port: &Port,
        gossip: &Port,
        folder: &Path,
        flags: Vec<String>,
    ) -> io::Result<Recipe> {
        let mut arguments = words(&["agent", "-bind", "127.0.0.1", "-client", "127.0.0.1"]);
        arguments.extend(flags);
        let mut flag = |name: &str, value: String| arguments.extend([format!("-{name}"), value]);
        flag("node", format!("node-{}", port.number()));
        flag("http-port", port.number().to_string());
        flag("server-port", port.companion().to_string());
        flag("serf-lan-port", gossip.number().to_string());
        for unused in ["serf-wan-port", "dns-port", "grpc-port"] {
            flag(unused, "-1".to_owned());
        }
        flag("log-level", if self.log_requests { "debug" } else { "warn" }.to_owned());
        flag("hcl", "disable_update_check = true".to_owned());
        flag("hcl", "limits { http_max_conns_per_client = 4000 }".to_owned());
        if self.tokens {
            flag(
                "hcl",
                format!(
                    r#"acl {{ enabled = true, default_policy = "deny", tokens {{ master = "{MANAGEMENT}", agent = "{MANAGEMENT}" }} }}"#
                ),
            );
        }
        if self.tls {
            Certificates::of(folder).make()?;
            flag("hcl", format!("ports {{ https = {} }}", gossip.companion()));
            flag("hcl", r#"ca_file = "ca.pem", cert_file = "server.pem", key_file = "server.key", verify_incoming_https = true"#.to_owned());
        }
        for option in &self.options {
            flag("hcl", option.clone());
        }
        let (addr, token) = (port.addr(), self.token());
        Ok(Recipe {
            name: "consul",
            program: program()?,
            arguments,
            fake_clock: false,
            ready: Box::new(move |_| ready(addr, token)),
        })
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

/// Whether writes are taken, and sessions: both come a little after there is a leader.
fn ready(addr: SocketAddr, token: Option<&str>) -> io::Result<()> {
    let ask = |method, path: &str, body| api::ask(addr, token, method, path, body)?.ok();
    ask("DELETE", READY_KEY, "")?;
    let made: serde_json::Value = serde_json::from_str(&ask("PUT", "/v1/session/create", READY_SESSION)?)?;
    let id = made["ID"].as_str().unwrap_or_default();
    ask("PUT", &format!("/v1/session/destroy/{id}"), "").map(drop)
}
