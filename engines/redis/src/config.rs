//! Which server, as whom, and how a URL says so.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use leasehold_core::url::{EngineUrl, decode, parse_duration};
use leasehold_core::{Error, ErrorKind, Result};

/// The port of Redis, if none is named.
const PORT: u16 = 6379;
/// The port of Sentinel, if none is named.
const SENTINEL_PORT: u16 = 26379;
/// How long an answer may take before its outcome is unknown and the connection is made anew, unless the URL says
/// otherwise.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(2);
/// What stands before a lock's name in its key, unless the URL says otherwise: as redis-py users commonly write it.
const PREFIX_DEFAULT: &str = "lock:";

/// Where the locks are kept.
#[derive(Clone)]
#[non_exhaustive]
pub struct Config {
    /// The server, or how to find it.
    pub target: Target,
    /// User, password, database, encryption.
    pub access: Access,
    /// What stands before a lock's name in its key; may be empty.
    pub prefix: String,
    /// How long an answer may take before its outcome is unknown and the connection is made anew.
    pub timeout: Duration,
    /// How many replicas must have a grant before it counts; 0 for none.
    pub wait_replicas: u32,
}

/// A host and a port.
#[derive(Clone, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub struct Address {
    /// Its name or its address.
    pub host: String,
    /// Its port.
    pub port: u16,
}

/// Which server.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Target {
    /// This one.
    Server(Address),
    /// The one that listens on this socket.
    Socket(PathBuf),
    /// The one that the Sentinels call the master of this name.
    Sentinel {
        /// Where Sentinels are.
        sentinels: Vec<Address>,
        /// The name of the master.
        master: String,
    },
    /// A cluster of which these are known.
    Cluster(Vec<Address>),
}

/// As whom, and how.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct Access {
    /// The ACL user.
    pub user: Option<String>,
    /// The password.
    pub password: Option<String>,
    /// The number of the database.
    pub db: i64,
    /// Encryption, if any.
    pub tls: Option<Tls>,
    /// The user and the password that the Sentinels want, which are not those of the server.
    pub sentinel: Option<(Option<String>, String)>,
}

/// Encryption.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Tls {
    /// The authority that signed the server's certificate, in PEM; by default those that the system trusts.
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
            .field("target", &self.target)
            .field("db", &self.access.db)
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

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server(address) => address.fmt(f),
            Self::Socket(path) => path.display().fmt(f),
            Self::Sentinel { sentinels, master } => write!(f, "{master} of {}", list(sentinels)),
            Self::Cluster(seeds) => f.write_str(&list(seeds)),
        }
    }
}

fn list(addresses: &[Address]) -> String {
    addresses.iter().map(Address::to_string).collect::<Vec<_>>().join(",")
}

impl Config {
    /// Locks on this server, with the defaults.
    pub fn new(target: Target) -> Self {
        Self {
            target,
            access: Access::default(),
            prefix: PREFIX_DEFAULT.to_owned(),
            timeout: TIMEOUT_DEFAULT,
            wait_replicas: 0,
        }
    }

    /// `redis://[USER:PASSWORD@]HOST[:PORT][/DB]`, `rediss://…` with encryption, `redis+unix:PATH`,
    /// `redis+sentinel://HOST[:PORT],…/MASTER[/DB]` and `redis+cluster://HOST[:PORT],…`. Options: `prefix`,
    /// `timeout`; `ca`, `cert` and `key` with encryption; `tls=true` for Sentinel and Cluster; `wait_replicas`
    /// where there are replicas; `sentinel_user` and `sentinel_password`; `db`, `user` and `password` for a socket.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for whatever does not fit, and what would.
    pub fn from_url(mut url: EngineUrl) -> Result<Self> {
        let scheme = url.scheme().to_owned();
        let mut config = match scheme.as_str() {
            "redis+unix" => socket(&mut url)?,
            _ => hosts(&scheme, &mut url)?,
        };
        config.take_options(&mut url)?;
        if matches!(config.target, Target::Sentinel { .. }) {
            let user = url.take("sentinel_user");
            config.access.sentinel = url.take("sentinel_password").map(|password| (user, password));
        }
        if matches!(config.target, Target::Server(_) | Target::Sentinel { .. })
            && let Some(count) = url.take("wait_replicas")
        {
            config.wait_replicas =
                count.parse().map_err(|_| refuse(format!("`wait_replicas={count}` is not a number")))?;
        }
        url.done()?;
        Ok(config)
    }

    /// The nodes of `redlock://[USER:PASSWORD@]HOST[:PORT],HOST[:PORT],…[/DB]`, in order, and what else is in the URL
    /// for whoever makes a quorum of them. Options for each: `prefix`, `timeout`, `tls`, `ca`, `cert`, `key`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for whatever does not fit, and what would.
    pub fn nodes_from_url(url: &mut EngineUrl) -> Result<Vec<Self>> {
        let Parts { addresses, path, access } = parts(url, "redlock://a:6379,b:6379,c:6379", PORT)?;
        let mut common = Self::new(Target::Cluster(Vec::new()));
        common.access = access;
        if !path.is_empty() {
            common.access.db = number_of_db(&path)?;
        }
        if url.take("tls").is_some_and(|tls| tls == "true") {
            common.access.tls = Some(Tls::default());
        }
        common.take_options(url)?;
        let nodes = addresses.into_iter().map(|node| Self { target: Target::Server(node), ..common.clone() });
        Ok(nodes.collect())
    }

    /// Takes the options that every URL may have.
    fn take_options(&mut self, url: &mut EngineUrl) -> Result<()> {
        if let Some(prefix) = url.take("prefix") {
            self.prefix = prefix;
        }
        if let Some(timeout) = url.take("timeout") {
            self.timeout = parse_duration(&timeout)?;
            if self.timeout.is_zero() {
                return Err(refuse("a `timeout` of zero leaves no time for an answer; write `timeout=2s`"));
            }
        }
        if self.access.tls.is_some() {
            self.access.tls = Some(tls(url)?);
        }
        Ok(())
    }

    /// How users call it.
    pub(crate) fn engine(&self) -> &'static str {
        match self.target {
            Target::Server(_) | Target::Socket(_) => "redis",
            Target::Sentinel { .. } => "redis+sentinel",
            Target::Cluster(_) => "redis+cluster",
        }
    }
}

/// `redis+unix:PATH`.
fn socket(url: &mut EngineUrl) -> Result<Config> {
    let path = PathBuf::from(url.rest());
    if !path.is_absolute() {
        return Err(refuse(format!(
            "`{}` is not the absolute path of a socket; write `redis+unix:/run/redis/redis.sock`",
            path.display()
        )));
    }
    let mut config = Config::new(Target::Socket(path));
    config.access.user = url.take("user");
    config.access.password = url.take("password");
    if let Some(db) = url.take("db") {
        config.access.db = number_of_db(&db)?;
    }
    Ok(config)
}

/// What is between `//` and the options.
struct Parts {
    addresses: Vec<Address>,
    /// What follows the first `/`, not decoded.
    path: String,
    access: Access,
}

/// Takes `//[USER:PASSWORD@]HOST[:PORT],…[/PATH]` apart.
fn parts(url: &EngineUrl, example: &str, port: u16) -> Result<Parts> {
    let (scheme, raw) = (url.scheme(), url.raw());
    let rest = raw
        .strip_prefix("//")
        .ok_or_else(|| refuse(format!("`{scheme}:{raw}` names no host; write `{example}`")))?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (login, hosts) = match authority.rsplit_once('@') {
        Some((login, hosts)) => (Some(login), hosts),
        None => (None, authority),
    };
    let addresses = hosts.split(',').map(|host| address(host, port, example)).collect::<Result<Vec<_>>>()?;
    let mut access = Access::default();
    if let Some(login) = login {
        let (user, password) = login.split_once(':').map_or((login, None), |(u, p)| (u, Some(p)));
        access.user = Some(decode(user)?).filter(|user| !user.is_empty());
        access.password = password.map(decode).transpose()?;
    }
    Ok(Parts { addresses, path: path.to_owned(), access })
}

/// The URLs of one server, of Sentinels and of a cluster.
fn hosts(scheme: &str, url: &mut EngineUrl) -> Result<Config> {
    let (example, port) = match scheme {
        "redis+sentinel" => ("redis+sentinel://s1:26379,s2:26379,s3:26379/mymaster", SENTINEL_PORT),
        "redis+cluster" => ("redis+cluster://node1:6379,node2:6379", PORT),
        "rediss" => ("rediss://localhost:6379", PORT),
        _ => ("redis://localhost:6379", PORT),
    };
    let Parts { mut addresses, path, access } = parts(url, example, port)?;
    let (target, db) = match scheme {
        "redis+sentinel" => {
            let (master, db) = path.split_once('/').unwrap_or((&path, ""));
            if master.is_empty() {
                return Err(refuse(format!("the URL does not say which master; write `{example}`")));
            }
            (Target::Sentinel { sentinels: addresses, master: decode(master)? }, db)
        }
        "redis+cluster" => {
            if !matches!(path.as_str(), "" | "0") {
                return Err(refuse(format!(
                    "a cluster has no database `{path}`, only one; write `{example}`"
                )));
            }
            (Target::Cluster(addresses), "")
        }
        _ if addresses.len() > 1 => {
            return Err(refuse(format!(
                "`{scheme}://` is one server; for several write `redis+cluster://`, `redis+sentinel://` or `redlock://`"
            )));
        }
        _ => (Target::Server(addresses.remove(0)), path.as_str()),
    };
    let mut config = Config::new(target);
    config.access = access;
    if !db.is_empty() {
        config.access.db = number_of_db(db)?;
    }
    let wants_tls = match scheme {
        "rediss" => true,
        "redis" => false,
        _ => url.take("tls").is_some_and(|tls| tls == "true"),
    };
    config.access.tls = wants_tls.then(Tls::default);
    Ok(config)
}

fn number_of_db(text: &str) -> Result<i64> {
    text.parse()
        .ok()
        .filter(|db| *db >= 0)
        .ok_or_else(|| refuse(format!("`{text}` is not the number of a database; write `/0`, or nothing")))
}

fn address(text: &str, port: u16, example: &str) -> Result<Address> {
    let bad = || refuse(format!("`{text}` is not a host with a port; write `{example}`"));
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
    if host.is_empty() {
        return Err(bad());
    }
    Ok(Address { host: host.to_owned(), port })
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
        let config = parse("redis://me:p%40ss@h:7/3?prefix=&timeout=500ms").unwrap();
        assert_eq!(config.target, Target::Server(Address { host: "h".into(), port: 7 }));
        assert_eq!(config.access.user.as_deref(), Some("me"));
        assert_eq!(config.access.password.as_deref(), Some("p@ss"));
        assert_eq!((config.access.db, config.prefix.as_str()), (3, ""));
        assert_eq!(config.timeout, Duration::from_millis(500));
        let config = parse("redis+sentinel://a,b:1,[::1]:2/main/4?wait_replicas=1&tls=true").unwrap();
        assert_eq!(config.target.to_string(), "main of a:26379,b:1,[::1]:2");
        assert_eq!((config.access.db, config.wait_replicas), (4, 1));
        assert!(config.access.tls.is_some());
        let config = parse("redis+unix:/run/r.sock?db=1&password=sesame").unwrap();
        assert_eq!(config.target.to_string(), "/run/r.sock");
        assert!(!format!("{config:?}").contains("sesame"), "passwords are not printed");
    }

    #[test]
    fn bad_urls_say_what_to_do() {
        let said: Vec<String> = [
            "redis:localhost",
            "redis://",
            "redis://h:port",
            "redis://a,b",
            "redis://h/x",
            "redis://h?prefxi=a",
            "redis://h?timeout=0s",
            "redis+sentinel://s1",
            "redis+cluster://h/3",
            "redis+cluster://h?wait_replicas=1",
            "redis+unix:r.sock",
            "rediss://h?cert=a.pem",
            "redis://h?ca=a.pem",
        ]
        .iter()
        .map(|url| format!("{url}: {}", parse(url).unwrap_err()))
        .collect();
        insta::assert_debug_snapshot!(said);
    }
}
