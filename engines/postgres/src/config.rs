//! Which database, as whom, and how a URL says so.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use leasehold_core::url::{EngineUrl, parse_duration};
use leasehold_core::{Error, ErrorKind, Result};
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};

/// How long a request may take, if nothing is said.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Which database, and how to use it.
#[derive(Clone)]
#[non_exhaustive]
pub struct Config {
    /// The servers, the user, the password and the database.
    pub server: tokio_postgres::Config,
    /// Encryption, and whom to trust; `None` for none.
    pub tls: Option<Tls>,
    /// How long a request may take before its outcome counts as unknown.
    pub timeout: Duration,
    /// Whether those who wait are told by `LISTEN`. Without it they look, every half second.
    pub listen: bool,
}

/// Encryption, and whom to trust.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// The authority that signed the server's certificate, in PEM; without it, those of the system.
    pub ca: Option<PathBuf>,
    /// Our own certificate and its key, in PEM, where the server asks for one.
    pub identity: Option<(PathBuf, PathBuf)>,
}

fn refuse(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidInput, "engine URL", message)
}

impl Config {
    /// Locks in this database, with the defaults.
    pub fn new(server: tokio_postgres::Config) -> Self {
        Self { server, tls: None, timeout: TIMEOUT, listen: true }
    }

    /// `postgres://USER:PASSWORD@HOST:PORT/DATABASE`; several hosts with commas between them are one database and its
    /// standbys. The options are `sslmode`, `ca`, `cert`, `key`, `timeout`, `listen` and `application_name`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for what is not such a URL.
    pub fn from_url(mut url: EngineUrl) -> Result<Self> {
        let example = format!("{}://USER:PASSWORD@HOST:5432/DATABASE", url.scheme());
        let Some(rest) = url.raw().strip_prefix("//").filter(|rest| !rest.is_empty()) else {
            return Err(refuse(format!("the URL does not say which server; write `{example}`")));
        };
        // The library's own words may show the password.
        let mut server = tokio_postgres::Config::from_str(&format!("postgres://{rest}")).map_err(|_| {
            refuse(format!("the URL is not that of a PostgreSQL database; write `{example}`"))
        })?;
        if server.get_hosts().is_empty() {
            return Err(refuse(format!("the URL does not say which server; write `{example}`")));
        }
        if server.get_user().is_none() {
            return Err(refuse(format!("the URL does not say as which user; write `{example}`")));
        }
        if server.get_hosts().len() > 1 {
            server.target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
        server.application_name(url.take("application_name").unwrap_or_else(|| "leasehold".to_owned()));
        let mut config = Self::new(server);
        config.tls = tls(&mut url)?;
        if let Some(timeout) = url.take("timeout") {
            config.timeout = parse_duration(&timeout)?;
            if config.timeout.is_zero() {
                return Err(refuse(
                    "a `timeout` of zero leaves no time for an answer; leave it out, or write `5s`",
                ));
            }
        }
        config.listen = match url.take("listen").as_deref() {
            None | Some("on") => true,
            Some("off") => false,
            Some(other) => {
                return Err(refuse(format!("`listen={other}` is neither `listen=on` nor `listen=off`")));
            }
        };
        url.done()?;
        Ok(config)
    }

    /// The servers, for messages.
    pub(crate) fn place(&self) -> String {
        let ports = self.server.get_ports();
        let hosts = self.server.get_hosts().iter().enumerate().map(|(nth, host)| {
            let port = ports.get(nth).or(ports.first()).copied().unwrap_or(5432);
            match host {
                Host::Tcp(name) if name.contains(':') => format!("[{name}]:{port}"),
                Host::Tcp(name) => format!("{name}:{port}"),
                Host::Unix(folder) => format!("{}:{port}", folder.display()),
            }
        });
        hosts.collect::<Vec<_>>().join(",")
    }
}

/// Encryption always comes with looking whose certificate that is: what does neither protect nor fail is not offered.
fn tls(url: &mut EngineUrl) -> Result<Option<Tls>> {
    let ca = url.take("ca").map(PathBuf::from);
    let identity = match (url.take("cert"), url.take("key")) {
        (Some(cert), Some(key)) => Some((cert.into(), key.into())),
        (None, None) => None,
        _ => return Err(refuse("`cert` and `key` go together: our certificate and its key, both in PEM")),
    };
    match url.take("sslmode").as_deref() {
        Some("require" | "verify-ca" | "verify-full") => Ok(Some(Tls { ca, identity })),
        None | Some("disable") if ca.is_some() || identity.is_some() => {
            Err(refuse("`ca`, `cert` and `key` are for TLS; add `sslmode=verify-full`"))
        }
        None | Some("disable") => Ok(None),
        Some(other) => Err(refuse(format!(
            "`sslmode={other}` would not be safe; write `sslmode=verify-full`, or `sslmode=disable` to do without TLS"
        ))),
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("server", &self.place())
            .field("user", &self.server.get_user())
            .field("database", &self.server.get_dbname())
            .field("tls", &self.tls)
            .field("timeout", &self.timeout)
            .field("listen", &self.listen)
            .finish_non_exhaustive()
    }
}

/// Whether the library has to ask for encryption.
pub(crate) fn ssl_mode(tls: Option<&Tls>) -> SslMode {
    if tls.is_some() { SslMode::Require } else { SslMode::Disable }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Config> {
        Config::from_url(EngineUrl::parse(url).unwrap())
    }

    #[test]
    fn urls() {
        let config = parse("postgres://me:p%40ss@a:7,b/locks?timeout=500ms&listen=off").unwrap();
        assert_eq!(config.server.get_password(), Some(&b"p@ss"[..]));
        assert_eq!((config.place().as_str(), config.server.get_dbname()), ("a:7,b:5432", Some("locks")));
        assert_eq!((config.timeout, config.listen), (Duration::from_millis(500), false));
        assert!(!format!("{config:?}").contains("p@ss"), "passwords are not printed");
        let config = parse("postgres://me@h/?sslmode=require&ca=/ca.pem").unwrap();
        assert_eq!(config.tls.unwrap().ca.as_deref(), Some(std::path::Path::new("/ca.pem")));
        assert_eq!(parse("postgres://me@%2Frun%2Fpostgresql/db").unwrap().place(), "/run/postgresql:5432");
    }

    #[test]
    fn bad_urls_say_what_to_do() {
        let said: Vec<String> = [
            "postgres:localhost",
            "postgres://",
            "postgres://h/db",
            "postgres://me:secret@h:port/db",
            "postgres://me@h?timeuot=1s",
            "postgres://me@h?timeout=0s",
            "postgres://me@h?listen=maybe",
            "postgres://me@h?sslmode=prefer",
            "postgres://me@h?ca=a.pem",
            "postgres://me@h?sslmode=require&cert=a.pem",
        ]
        .iter()
        .map(|url| format!("{url}: {}", parse(url).unwrap_err()))
        .collect();
        insta::assert_debug_snapshot!(said);
    }
}
