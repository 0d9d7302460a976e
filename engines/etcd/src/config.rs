//! Which servers, as whom, and how a URL says so.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use leasehold_core::url::{EngineUrl, decode, parse_duration};
use leasehold_core::{Error, ErrorKind, Result};

/// The port of etcd, if none is named.
const PORT: u16 = 2379;
/// How long an answer may take before its outcome is unknown and another member is asked, unless the URL says
/// otherwise.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(2);
/// What stands before a lock's name in its keys, unless the URL says otherwise.
const PREFIX_DEFAULT: &str = "lock/";
const EXAMPLE: &str = "etcd://a:2379,b:2379,c:2379";

/// Where the locks are kept.
#[derive(Clone)]
#[non_exhaustive]
pub struct Config {
    /// The members, as `HOST:PORT`. The first that answers is used until it fails, then the next.
    pub members: Vec<String>,
    /// The user and the password.
    pub login: Option<(String, String)>,
    /// Encryption, if any.
    pub tls: Option<Tls>,
    /// What stands before a lock's name in its keys; may be empty.
    pub prefix: String,
    /// How long an answer may take before its outcome is unknown and another member is asked.
    pub timeout: Duration,
}

/// Encryption.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Tls {
    /// The authority that signed the servers' certificates, in PEM; by default those that the system trusts.
    pub ca: Option<PathBuf>,
    /// Our own certificate and its key, in PEM, where the servers ask for one.
    pub identity: Option<(PathBuf, PathBuf)>,
}

fn refuse(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidInput, "engine URL", message)
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("members", &self.members)
            .field("user", &self.login.as_ref().map(|(user, _)| user))
            .field("tls", &self.tls)
            .field("prefix", &self.prefix)
            .field("timeout", &self.timeout)
            .finish()
    }
}

impl Config {
    /// Locks on these members, with the defaults.
    pub fn new(members: Vec<String>) -> Self {
        Self { members, login: None, tls: None, prefix: PREFIX_DEFAULT.to_owned(), timeout: TIMEOUT_DEFAULT }
    }

    /// `etcd://[USER:PASSWORD@]HOST[:PORT],…` and `etcds://…` with encryption. Options: `prefix`, `timeout`; `ca`, `cert`
    /// and `key` with encryption.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for whatever does not fit, and what would.
    pub fn from_url(mut url: EngineUrl) -> Result<Self> {
        let (scheme, raw) = (url.scheme(), url.raw());
        let encrypted = scheme == "etcds";
        let rest = raw
            .strip_prefix("//")
            .ok_or_else(|| refuse(format!("`{scheme}:{raw}` names no host; write `{EXAMPLE}`")))?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (login, hosts) =
            rest.rsplit_once('@').map_or((None, rest), |(login, hosts)| (Some(login), hosts));
        let mut config = Self::new(hosts.split(',').map(member).collect::<Result<_>>()?);
        config.login = login.map(user_and_password).transpose()?;
        if let Some(prefix) = url.take("prefix") {
            config.prefix = prefix;
        }
        if let Some(timeout) = url.take("timeout") {
            config.timeout = parse_duration(&timeout)?;
            if config.timeout.is_zero() {
                return Err(refuse("a `timeout` of zero leaves no time for an answer; write `timeout=2s`"));
            }
        }
        if encrypted {
            config.tls = Some(tls(&mut url)?);
        }
        url.done()?;
        Ok(config)
    }
}

fn user_and_password(login: &str) -> Result<(String, String)> {
    let (user, password) = login
        .split_once(':')
        .filter(|(user, _)| !user.is_empty())
        .ok_or_else(|| refuse("etcd wants a user and a password; write `USER:PASSWORD@` before the hosts"))?;
    Ok((decode(user)?, decode(password)?))
}

/// `HOST`, `HOST:PORT`, `[IPv6]` or `[IPv6]:PORT`, with its port.
fn member(text: &str) -> Result<String> {
    let bad = || refuse(format!("`{text}` is not a host with a port; write `{EXAMPLE}`"));
    let end = text.strip_prefix('[').map_or(Some(0), |_| text.find(']')).ok_or_else(bad)?;
    let (host, port) = match text[end..].split_once(':') {
        Some((rest, port)) => (&text[..end + rest.len()], port.parse().map_err(|_| bad())?),
        None => (text, PORT),
    };
    if host.is_empty() || host.contains('/') {
        return Err(bad());
    }
    Ok(format!("{host}:{port}"))
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
        let config = parse("etcd://me:p%40s%3As@a,b:1,[::1],[::2]:3/?prefix=&timeout=500ms").unwrap();
        assert_eq!(config.members, ["a:2379", "b:1", "[::1]:2379", "[::2]:3"]);
        assert_eq!(config.login, Some(("me".to_owned(), "p@s:s".to_owned())));
        assert_eq!((config.prefix.as_str(), config.timeout), ("", Duration::from_millis(500)));
        assert!(!format!("{config:?}").contains("p@s"), "passwords are not printed");
        let config = parse("etcds://h?ca=ca.pem&cert=c.pem&key=k.pem").unwrap();
        let tls = config.tls.unwrap();
        assert_eq!((tls.ca, tls.identity), (Some("ca.pem".into()), Some(("c.pem".into(), "k.pem".into()))));
        assert_eq!(config.prefix, "lock/");
    }

    #[test]
    fn bad_urls_say_what_to_do() {
        let said: Vec<String> = [
            "etcd:localhost",
            "etcd://",
            "etcd://h:port",
            "etcd://a,,b",
            "etcd://h/path",
            "etcd://[::1",
            "etcd://me@h",
            "etcd://:secret@h",
            "etcd://h?prefxi=a",
            "etcd://h?timeout=0s",
            "etcd://h?ca=a.pem",
            "etcds://h?cert=a.pem",
        ]
        .iter()
        .map(|url| format!("{url}: {}", parse(url).unwrap_err()))
        .collect();
        insta::assert_debug_snapshot!(said);
    }
}
