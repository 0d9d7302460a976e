//! Which servers, as whom, and how a URL says so.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use leasehold_core::url::{EngineUrl, decode, parse_duration};
use leasehold_core::{Error, ErrorKind, Result};

/// The port of ZooKeeper, if none is named.
const PORT: u16 = 2181;
/// How long the servers may take until one of them lets us in, unless the URL says otherwise.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
const EXAMPLE: &str = "zookeeper://zk1:2181,zk2:2181,zk3:2181/locks";

/// Where the locks are kept.
#[derive(Clone)]
#[non_exhaustive]
pub struct Config {
    /// The servers of one ensemble, any of which will do.
    pub servers: Vec<Address>,
    /// The path under which everything is: empty, or a `/` and a name, as often as need be.
    pub chroot: String,
    /// User and password for the scheme `digest`.
    pub login: Option<(String, String)>,
    /// Encryption, if any.
    pub tls: Option<Tls>,
    /// Whom the nodes that we make are for.
    pub acl: Acl,
    /// How long the servers may take until one of them lets us in.
    pub timeout: Duration,
    /// The servers' unit of time, if it is not half of the shortest session that they allow.
    pub tick: Option<Duration>,
}

/// A host and a port.
#[derive(Clone, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub struct Address {
    /// Its name or its address.
    pub host: String,
    /// Its port.
    pub port: u16,
}

/// Whom nodes are for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Acl {
    /// Everybody who can reach the servers.
    Open,
    /// Whoever is known to the servers as the one who made them.
    Creator,
}

/// Encryption.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Tls {
    /// The authority that signed the servers' certificates, in PEM.
    pub ca: PathBuf,
    /// Our own certificate and its key, in PEM, where the servers ask for one.
    pub identity: Option<(PathBuf, PathBuf)>,
}

fn refuse(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidInput, "engine URL", message)
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("servers", &self.servers)
            .field("chroot", &self.chroot)
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
            chroot: String::new(),
            login: None,
            tls: None,
            acl: Acl::Open,
            timeout: TIMEOUT_DEFAULT,
            tick: None,
        }
    }

    /// `zookeeper://[USER:PASSWORD@]HOST[:PORT],…[/CHROOT]`. Options: `acl` (`open` or `creator`), `timeout`, `tick`,
    /// and `tls=true` with `ca`, `cert` and `key`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for whatever does not fit, and what would.
    pub fn from_url(mut url: EngineUrl) -> Result<Self> {
        let mut config = hosts(&url)?;
        config.acl = match url.take("acl").as_deref() {
            None if config.login.is_some() => Acl::Creator,
            None | Some("open") => Acl::Open,
            Some("creator") => Acl::Creator,
            Some(other) => {
                return Err(refuse(format!(
                    "`acl={other}` is neither `acl=open` (nodes for everybody) nor `acl=creator` (for us)"
                )));
            }
        };
        if let Some(timeout) = url.take("timeout") {
            config.timeout = positive("timeout", &timeout)?;
        }
        config.tick = url.take("tick").map(|tick| positive("tick", &tick)).transpose()?;
        if url.take("tls").is_some_and(|tls| tls == "true") {
            config.tls = Some(tls(&mut url)?);
        }
        url.done()?;
        if config.acl == Acl::Creator && config.login.is_none() && config.tls.is_none() {
            return Err(refuse(
                "`acl=creator` makes nodes for whoever we are, and the URL does not say who: write `USER:PASSWORD@` \
                 before the hosts, or use TLS with a certificate of ours",
            ));
        }
        Ok(config)
    }

    /// The servers in one text, for errors.
    pub(crate) fn servers(&self) -> String {
        self.servers.iter().map(Address::to_string).collect::<Vec<_>>().join(",")
    }
}

fn positive(option: &str, text: &str) -> Result<Duration> {
    match parse_duration(text)? {
        Duration::ZERO => Err(refuse(format!("a `{option}` of zero cannot be; write `{option}=2s`"))),
        span => Ok(span),
    }
}

/// Takes `//[USER:PASSWORD@]HOST[:PORT],…[/CHROOT]` apart.
fn hosts(url: &EngineUrl) -> Result<Config> {
    let rest = url
        .raw()
        .strip_prefix("//")
        .ok_or_else(|| refuse(format!("`zookeeper:{}` names no host; write `{EXAMPLE}`", url.raw())))?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (login, hosts) = match authority.rsplit_once('@') {
        Some((login, hosts)) => (Some(login), hosts),
        None => (None, authority),
    };
    let mut config = Config::new(hosts.split(',').map(address).collect::<Result<_>>()?);
    if let Some(login) = login {
        let (user, password) = login.split_once(':').ok_or_else(|| {
            refuse("there is a user and no password before the hosts; write `USER:PASSWORD@`")
        })?;
        config.login = Some((decode(user)?, decode(password)?));
    }
    config.chroot = chroot(&decode(path)?)?;
    Ok(config)
}

fn chroot(path: &str) -> Result<String> {
    let path = path.trim_end_matches('/');
    if path.is_empty() {
        return Ok(String::new());
    }
    let bad = |part: &str| matches!(part, "" | "." | "..") || part.chars().any(char::is_control);
    if let Some(part) = path.split('/').find(|part| bad(part)) {
        return Err(refuse(format!(
            "`/{path}` is not a path in ZooKeeper, for `{part}` cannot be the name of a node; write `{EXAMPLE}`"
        )));
    }
    Ok(format!("/{path}"))
}

fn address(text: &str) -> Result<Address> {
    let bad = || refuse(format!("`{text}` is not a host with a port; write `{EXAMPLE}`"));
    let (host, port) = match text.strip_prefix('[') {
        // An IPv6 address.
        Some(rest) => {
            let (host, rest) = rest.split_once(']').ok_or_else(bad)?;
            (host, rest.strip_prefix(':').or(rest.is_empty().then_some("")).ok_or_else(bad)?)
        }
        None => text.split_once(':').unwrap_or((text, "")),
    };
    let port = if port.is_empty() { PORT } else { port.parse().map_err(|_| bad())? };
    if host.is_empty() || port == 0 {
        return Err(bad());
    }
    Ok(Address { host: host.to_owned(), port })
}

fn tls(url: &mut EngineUrl) -> Result<Tls> {
    let ca = url.take("ca").ok_or_else(|| {
        refuse("TLS needs the authority that signed the servers' certificates; name its file in PEM by `ca=`")
    })?;
    let identity = match (url.take("cert"), url.take("key")) {
        (Some(cert), Some(key)) => Some((cert.into(), key.into())),
        (None, None) => None,
        _ => return Err(refuse("`cert` and `key` go together: our certificate and its key, both in PEM")),
    };
    Ok(Tls { ca: ca.into(), identity })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Config> {
        Config::from_url(EngineUrl::parse(url).unwrap())
    }

    #[test]
    fn urls() {
        let config = parse("zookeeper://me:p%40ss@a,b:7,[::1]:2/x/y/?timeout=500ms&tick=1s").unwrap();
        assert_eq!(config.servers(), "a:2181,b:7,[::1]:2");
        assert_eq!(config.login, Some(("me".into(), "p@ss".into())));
        assert_eq!((config.chroot.as_str(), config.acl), ("/x/y", Acl::Creator));
        assert_eq!((config.timeout, config.tick), (Duration::from_millis(500), Some(Duration::from_secs(1))));
        assert!(!format!("{config:?}").contains("p@ss"), "passwords are not printed");
        let config = parse("zookeeper://a?tls=true&ca=a.pem&cert=c.pem&key=k.pem").unwrap();
        assert_eq!((config.chroot.as_str(), config.acl), ("", Acl::Open));
        assert!(config.tls.unwrap().identity.is_some());
        assert_eq!(parse("zookeeper://u:p@a?acl=open").unwrap().acl, Acl::Open);
    }

    #[test]
    fn bad_urls_say_what_to_do() {
        let said: Vec<String> = [
            "zookeeper:localhost",
            "zookeeper://",
            "zookeeper://h:port",
            "zookeeper://a,,b",
            "zookeeper://[::1",
            "zookeeper://me@h",
            "zookeeper://h/a//b",
            "zookeeper://h/a/../b",
            "zookeeper://h?acl=mine",
            "zookeeper://h?acl=creator",
            "zookeeper://h?timeout=0s",
            "zookeeper://h?timeuot=1s",
            "zookeeper://h?tls=true",
            "zookeeper://h?tls=true&ca=a.pem&cert=a.pem",
            "zookeeper://h?ca=a.pem",
        ]
        .iter()
        .map(|url| format!("{url}: {}", parse(url).unwrap_err()))
        .collect();
        insta::assert_debug_snapshot!(said);
    }
}
