//! Which database, as whom, and how a URL says so.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use leasehold_core::url::{EngineUrl, decode, parse_duration};
use leasehold_core::{Error, ErrorKind, Result};
use mysql_async::{ClientIdentity, Opts, OptsBuilder, SslOpts};

/// How long a request may take, if nothing is said.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How soon a connection is asked whether it is still one, when nothing comes over it.
const KEEPALIVE: Duration = Duration::from_secs(10);
const PORT: u16 = 3306;

const EXAMPLE: &str = "mysql://USER:PASSWORD@HOST:3306/DATABASE";

/// Which database, and how to use it.
#[derive(Clone)]
#[non_exhaustive]
pub struct Config {
    /// The server's name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Its socket; with one, host and port are not used.
    pub socket: Option<String>,
    /// As whom.
    pub user: String,
    /// The user's password.
    pub password: Option<String>,
    /// The database of the tables.
    pub database: String,
    /// Encryption, and whom to trust; `None` for none.
    pub tls: Option<Tls>,
    /// How long a request may take before its outcome counts as unknown.
    pub timeout: Duration,
    /// Whether those who wait are told by a connection that listens. Without it they look, every half second.
    pub listen: bool,
}

/// Encryption, and whom to trust.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// The authority that signed the server's certificate, in PEM; without it, those of Mozilla's list.
    pub ca: Option<PathBuf>,
    /// Our own certificate and its key, in PEM, where the server asks for one.
    pub identity: Option<(PathBuf, PathBuf)>,
}

impl Tls {
    fn opts(&self) -> Result<SslOpts> {
        // The library takes the provider that the process has, and panics where a build has two and none is chosen. Is one
        // chosen already, it stays.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let roots: Vec<_> = self.ca.iter().map(|file| read(file).map(Into::into)).collect::<Result<_>>()?;
        let identity = match &self.identity {
            Some((cert, key)) => Some(ClientIdentity::new(read(cert)?.into(), read(key)?.into())),
            None => None,
        };
        Ok(SslOpts::default()
            .with_disable_built_in_roots(!roots.is_empty())
            .with_root_certs(roots)
            .with_client_identity(identity))
    }
}

fn read(file: &Path) -> Result<Vec<u8>> {
    std::fs::read(file).map_err(|e| {
        Error::new(ErrorKind::InvalidInput, "connect", format!("cannot read `{}`: {e}", file.display()))
    })
}

fn refuse(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidInput, "engine URL", message)
}

impl Config {
    /// Locks in this database of this server on its usual port, as this user, with the defaults.
    pub fn new(host: &str, user: &str, database: &str) -> Self {
        Self {
            host: host.to_owned(),
            port: PORT,
            socket: None,
            user: user.to_owned(),
            password: None,
            database: database.to_owned(),
            tls: None,
            timeout: TIMEOUT,
            listen: true,
        }
    }

    /// `mysql://USER:PASSWORD@HOST:PORT/DATABASE`, or `mariadb:` in its place. The options are `socket`, `sslmode`, `ca`,
    /// `cert`, `key`, `timeout` and `listen`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for what is not such a URL.
    pub fn from_url(mut url: EngineUrl) -> Result<Self> {
        let socket = url.take("socket");
        let Some(rest) = url.raw().strip_prefix("//").filter(|rest| !rest.is_empty()) else {
            return Err(refuse(format!("the URL does not say which server; write `{EXAMPLE}`")));
        };
        let (server, database) = rest.split_once('/').unwrap_or((rest, ""));
        let (who, place) = server.rsplit_once('@').unwrap_or(("", server));
        let (user, password) = match who.split_once(':') {
            Some((user, password)) => (user, Some(password)),
            None => (who, None),
        };
        let (host, port) = host_and_port(place)?;
        if host.is_empty() && socket.is_none() {
            return Err(refuse(format!("the URL does not say which server; write `{EXAMPLE}`")));
        }
        if user.is_empty() {
            return Err(refuse(format!("the URL does not say as which user; write `{EXAMPLE}`")));
        }
        if database.is_empty() || database.contains('/') {
            return Err(refuse(format!("the URL does not say which database; write `{EXAMPLE}`")));
        }
        let mut config = Self::new(&decode(host)?, &decode(user)?, &decode(database)?);
        config.port = port;
        config.socket = socket;
        config.password = password.map(decode).transpose()?;
        config.tls = tls(&mut url)?;
        if config.tls.is_some() && config.socket.is_some() {
            return Err(refuse("a socket is not encrypted; leave out `socket`, or `sslmode`"));
        }
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

    /// The server, for messages.
    pub(crate) fn place(&self) -> String {
        match &self.socket {
            Some(socket) => socket.clone(),
            None if self.host.contains(':') => format!("[{}]:{}", self.host, self.port),
            None => format!("{}:{}", self.host, self.port),
        }
    }

    /// The same for the library.
    pub(crate) fn opts(&self) -> Result<Opts> {
        let ssl = self.tls.as_ref().map(Tls::opts).transpose()?;
        let opts = OptsBuilder::default()
            .ip_or_hostname(&self.host)
            .tcp_port(self.port)
            .socket(self.socket.clone())
            // The server's own word of where its socket is may be another machine's.
            .prefer_socket(false)
            .user(Some(&self.user))
            .pass(self.password.as_ref())
            .db_name(Some(&self.database))
            .tcp_keepalive(Some(KEEPALIVE))
            .ssl_opts(ssl);
        Ok(opts.into())
    }
}

fn host_and_port(place: &str) -> Result<(&str, u16)> {
    let bad = || refuse(format!("`{place}` is not a host with a port; write `{EXAMPLE}`"));
    let (host, port) = match place.strip_prefix('[') {
        Some(rest) => rest.split_once(']').ok_or_else(bad)?,
        None => place.find(':').map_or((place, ""), |at| place.split_at(at)),
    };
    match port.strip_prefix(':') {
        Some(port) => Ok((host, port.parse().map_err(|_| bad())?)),
        None if port.is_empty() => Ok((host, PORT)),
        None => Err(bad()),
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
            .field("user", &self.user)
            .field("database", &self.database)
            .field("tls", &self.tls)
            .field("timeout", &self.timeout)
            .field("listen", &self.listen)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Config> {
        Config::from_url(EngineUrl::parse(url).unwrap())
    }

    #[test]
    fn urls() {
        let config = parse("mysql://me:p%40s%3As@a:7/locks?timeout=500ms&listen=off").unwrap();
        assert_eq!((config.user.as_str(), config.password.as_deref()), ("me", Some("p@s:s")));
        assert_eq!((config.place().as_str(), config.database.as_str()), ("a:7", "locks"));
        assert_eq!((config.timeout, config.listen), (Duration::from_millis(500), false));
        assert!(!format!("{config:?}").contains("p@s"), "passwords are not printed");
        assert_eq!(parse("mariadb://me@h/db").unwrap().place(), "h:3306");
        assert_eq!(parse("mysql://me@[::1]:9/db").unwrap().place(), "[::1]:9");
        assert_eq!(parse("mysql://me@/db?socket=/run/mysqld.sock").unwrap().place(), "/run/mysqld.sock");
        let config = parse("mysql://me@h/db?sslmode=require&ca=/ca.pem").unwrap();
        assert_eq!(config.tls.unwrap().ca.as_deref(), Some(std::path::Path::new("/ca.pem")));
    }

    #[test]
    fn bad_urls_say_what_to_do() {
        let said: Vec<String> = [
            "mysql:localhost",
            "mysql://",
            "mysql://h/db",
            "mysql://me@/db",
            "mysql://me:secret@h",
            "mysql://me:secret@h:port/db",
            "mysql://me@[::1/db",
            "mysql://me@h/db?timeuot=1s",
            "mysql://me@h/db?timeout=0s",
            "mysql://me@h/db?listen=maybe",
            "mysql://me@h/db?sslmode=prefer",
            "mysql://me@h/db?ca=a.pem",
            "mysql://me@h/db?sslmode=require&cert=a.pem",
            "mysql://me@/db?socket=/s&sslmode=require",
        ]
        .iter()
        .map(|url| format!("{url}: {}", parse(url).unwrap_err()))
        .collect();
        insta::assert_debug_snapshot!(said);
    }
}
