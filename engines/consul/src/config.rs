//! Which servers, as whom, and how a URL says so.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use leasehold_core::url::{EngineUrl, decode, parse_duration};
use leasehold_core::{Error, ErrorKind, Result};

use crate::names::OURS;

/// The port of Consul's HTTP API, and of the same with encryption.
const PORTS: (u16, u16) = (8500, 8501);
/// How long an answer may take before its outcome is unknown and another server is asked, unless the URL says
/// otherwise. A session of ten seconds survives two servers that do not answer.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(3);
/// What follows a lock's name in its key, unless the URL says otherwise: as `consul lock` has it.
const SUFFIX_DEFAULT: &str = "/.lock";
/// How long Consul keeps a lock from everybody after its session has ended without releasing it, unless the session
/// says otherwise; and the longest that it can be.
const LOCK_DELAY: (Duration, Duration) = (Duration::from_secs(15), Duration::from_secs(60));

/// Where the locks are kept.
#[derive(Clone)]
#[non_exhaustive]
pub struct Config {
    /// The servers, or agents of clients; whichever answers.
    pub servers: Vec<Address>,
    /// The ACL token.
    pub token: Option<String>,
    /// The datacenter, if not that of the server.
    pub dc: Option<String>,
    /// The namespace, where there is one (Consul Enterprise).
    pub ns: Option<String>,
    /// What stands before a lock's name in its key; may be empty.
    pub prefix: String,
    /// What follows a lock's name in its key; may be empty.
    pub suffix: String,
    /// How long Consul keeps a lock from everybody after its session has ended without releasing it.
    pub lock_delay: Duration,
    /// How long an answer may take before its outcome is unknown and another server is asked.
    pub timeout: Duration,
    /// Encryption, if any.
    pub tls: Option<Tls>,
}

/// A host and a port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Address {
    /// Its name or its address.
    pub host: String,
    /// Its port.
    pub port: u16,
}

/// Encryption.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Tls {
    /// The authority that signed the servers' certificates, in PEM; by default those that the system trusts.
    pub ca: Option<PathBuf>,
    /// Our own certificate and its key, in PEM, where the server asks for one.
    pub identity: Option<(PathBuf, PathBuf)>,
}

fn refuse(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidInput, "engine URL", message)
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("servers", &self.servers)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl Config {
    /// Locks on these servers, with the defaults.
    pub fn new(servers: Vec<Address>) -> Self {
        Self {
            servers,
            token: None,
            dc: None,
            ns: None,
            prefix: String::new(),
            suffix: SUFFIX_DEFAULT.to_owned(),
            lock_delay: LOCK_DELAY.0,
            timeout: TIMEOUT_DEFAULT,
            tls: None,
        }
    }

    /// `consul://[:TOKEN@]HOST[:PORT],…` and `consuls://…` with encryption. Options: `token`, `dc`, `ns`, `prefix`,
    /// `suffix`, `lock_delay`, `timeout`; `ca`, `cert` and `key` with encryption.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for whatever does not fit, and what would.
    pub fn from_url(mut url: EngineUrl) -> Result<Self> {
        let encrypted = url.scheme() == "consuls";
        let (servers, token) = parts(&url, if encrypted { PORTS.1 } else { PORTS.0 })?;
        let mut config = Self::new(servers);
        config.token = url.take("token").or(token).filter(|token| !token.is_empty());
        config.dc = url.take("dc");
        config.ns = url.take("ns");
        if let Some(prefix) = url.take("prefix") {
            config.prefix = part_of_key("prefix", prefix)?;
        }
        if let Some(suffix) = url.take("suffix") {
            config.suffix = part_of_key("suffix", suffix)?;
        }
        if let Some(delay) = url.take("lock_delay") {
            config.lock_delay = parse_duration(&delay)?;
            if config.lock_delay > LOCK_DELAY.1 {
                return Err(refuse(format!(
                    "Consul keeps a lock no longer than 60 s from others, not `lock_delay={delay}`"
                )));
            }
        }
        if let Some(timeout) = url.take("timeout") {
            config.timeout = parse_duration(&timeout)?;
            if config.timeout.is_zero() {
                return Err(refuse("a `timeout` of zero leaves no time for an answer; write `timeout=3s`"));
            }
        }
        let tls = tls(&mut url)?;
        if encrypted {
            config.tls = Some(tls);
        } else if tls != Tls::default() {
            return Err(refuse("`ca`, `cert` and `key` are for encryption; write `consuls://` for that"));
        }
        url.done()?;
        Ok(config)
    }

    /// The servers, for errors.
    pub(crate) fn servers(&self) -> String {
        self.servers.iter().map(Address::to_string).collect::<Vec<_>>().join(",")
    }
}

/// Takes `//[:TOKEN@]HOST[:PORT],…` apart.
fn parts(url: &EngineUrl, port: u16) -> Result<(Vec<Address>, Option<String>)> {
    let (scheme, raw) = (url.scheme(), url.raw());
    let rest = raw.strip_prefix("//").ok_or_else(|| {
        refuse(format!("`{scheme}:{raw}` names no host; write `{scheme}://localhost:{port}`"))
    })?;
    let (login, hosts) = match rest.rsplit_once('@') {
        Some((login, hosts)) => (Some(login), hosts),
        None => (None, rest),
    };
    let hosts = match hosts.split_once('/') {
        None | Some((_, "")) => hosts.trim_end_matches('/'),
        Some((_, path)) => {
            return Err(refuse(format!(
                "a Consul URL ends with its hosts, not with `/{path}`; for a part of the keys write `?prefix={path}/`"
            )));
        }
    };
    let token = match login.map(|login| login.split_once(':')) {
        None => None,
        Some(Some(("", token))) => Some(decode(token)?),
        Some(_) => {
            return Err(refuse(
                "Consul knows tokens, not users; write `:TOKEN@` before its address, or `?token=…`",
            ));
        }
    };
    let addresses = hosts.split(',').map(|host| address(host, port, scheme)).collect::<Result<_>>()?;
    Ok((addresses, token))
}

fn address(text: &str, port: u16, scheme: &str) -> Result<Address> {
    let bad = || refuse(format!("`{text}` is not a host with a port; write `{scheme}://localhost:{port}`"));
    let (host, port) = match text.strip_prefix('[') {
        // An IPv6 address.
        Some(rest) => {
            let (host, rest) = rest.split_once(']').ok_or_else(bad)?;
            let port = match rest.strip_prefix(':') {
                Some(port) => port.parse().map_err(|_| bad())?,
                None if rest.is_empty() => port,
                None => return Err(bad()),
            };
            (host, port)
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, port.parse().map_err(|_| bad())?),
            None => (text, port),
        },
    };
    // What cannot stand in the address of a request.
    if host.is_empty() || host.contains(|c: char| c.is_whitespace() || c.is_control() || "/?#@%".contains(c))
    {
        return Err(bad());
    }
    Ok(Address { host: host.to_owned(), port })
}

/// What stands around a name in its key must leave it where it is, and out of our own way.
fn part_of_key(option: &str, value: String) -> Result<String> {
    let bad = |why: &str| Err(refuse(format!("`{option}={value}` {why}")));
    if value.starts_with('/') && option == "prefix" {
        return bad("begins with a slash, and no key of Consul does; leave it out");
    }
    if value.contains("//") {
        return bad("has two slashes side by side; write one");
    }
    if value.ends_with('/') && option == "suffix" {
        return bad("ends with a slash, and so would be a folder, not a lock; leave it out");
    }
    if value.contains(OURS) {
        return bad("is where leasehold keeps who waits; choose another");
    }
    if value.chars().any(char::is_control) {
        return bad("has control characters; use printable ones");
    }
    Ok(value)
}

fn tls(url: &mut EngineUrl) -> Result<Tls> {
    let ca = url.take("ca").map(PathBuf::from);
    let identity = match (url.take("cert"), url.take("key")) {
        (Some(cert), Some(key)) => Some((cert.into(), key.into())),
        (None, None) => None,
        _ => return Err(refuse("`cert` and `key` go together: our certificate and its key, both in PEM")),
    };
    Ok(Tls { ca, identity })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Config> {
        Config::from_url(EngineUrl::parse(url).unwrap())
    }

    #[test]
    fn urls() {
        let config =
            parse("consul://:s%40me@a,b:1,[::1]:2/?prefix=locks/&timeout=500ms&lock_delay=0s").unwrap();
        assert_eq!(config.servers(), "a:8500,b:1,[::1]:2");
        assert_eq!(config.token.as_deref(), Some("s@me"));
        assert_eq!((config.prefix.as_str(), config.suffix.as_str()), ("locks/", "/.lock"));
        assert_eq!((config.timeout, config.lock_delay), (Duration::from_millis(500), Duration::ZERO));
        assert!(!format!("{config:?}").contains("s@me"), "tokens are not printed");
        let config = parse("consuls://h?token=sesame&dc=east&ns=team&suffix=&ca=ca.pem").unwrap();
        assert_eq!(config.servers(), "h:8501");
        assert_eq!((config.dc.as_deref(), config.ns.as_deref()), (Some("east"), Some("team")));
        assert_eq!((config.token.as_deref(), config.suffix.as_str()), (Some("sesame"), ""));
        assert!(config.tls.is_some());
    }

    #[test]
    fn bad_urls_say_what_to_do() {
        let said: Vec<String> = [
            "consul:localhost",
            "consul://",
            "consul://h:port",
            "consul://h/some/path",
            "consul://me:secret@h",
            "consul://h?prefxi=a",
            "consul://h?prefix=/a",
            "consul://h?prefix=a//b",
            "consul://h?prefix=.leasehold/",
            "consul://h?suffix=/",
            "consul://h?timeout=0s",
            "consul://h?lock_delay=2m",
            "consul://h?ca=a.pem",
            "consuls://h?cert=a.pem",
        ]
        .iter()
        .map(|url| format!("{url}: {}", parse(url).unwrap_err()))
        .collect();
        insta::assert_debug_snapshot!(said);
    }
}
