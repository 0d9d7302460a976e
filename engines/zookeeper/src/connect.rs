//! How sessions are opened, and what is found out about the servers when the first one is.

use std::time::Duration;

use leasehold_core::{Env, Error, ErrorKind, Result};
use zookeeper_client::{Client, Connector, Error as Cause};

use crate::config::Config;
use crate::failure;

/// More than any server allows.
const TOO_LONG: Duration = Duration::from_millis(i32::MAX as u64);
/// A server whose shortest session is shorter than this is not asked for less.
const SHORTEST: Duration = Duration::from_millis(200);

/// What was found out about the servers.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// The shortest and the longest session that they allow.
    pub(crate) bounds: (Duration, Duration),
    /// How many of them agree on everything; `None` if they do not say.
    pub(crate) voters: Option<usize>,
}

/// The least and the longest time after which a silent server is given up for another.
const SILENCE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5));

/// How to get a session.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    pub(crate) config: Config,
    connector: Connector,
    /// All servers, as the library wants them.
    servers: String,
    env: Env,
}

impl Door {
    pub(crate) fn new(config: Config, env: Env) -> Result<Self> {
        let mut connector = Client::connector();
        if let Some((user, password)) = &config.login {
            connector = connector.with_auth("digest", format!("{user}:{password}").as_bytes());
        }
        connector = encrypt(connector, &config)?;
        let scheme = if config.tls.is_some() { "tcp+tls" } else { "tcp" };
        let servers: Vec<_> = config.servers.iter().map(|server| format!("{scheme}://{server}")).collect();
        Ok(Self { servers: servers.join(","), connector, config, env })
    }

    /// Opens a session of this length.
    pub(crate) async fn open(&self, timeout: Duration) -> Result<Client> {
        let connector = self.connector.clone().with_session_timeout(timeout);
        let connector = connector.with_connection_timeout(silence(timeout));
        let opened = connector.connect(&self.servers).await;
        opened.map_err(|cause| failure::connect(&self.config, Some(cause)))
    }

    /// Opens the first session, as long as there may be, and finds out about the servers.
    pub(crate) async fn look_around(&self) -> Result<(Client, Found)> {
        let looking = async {
            let longest = self
                .connector
                .clone()
                .with_session_timeout(TOO_LONG)
                .with_connection_timeout(self.config.timeout / 2)
                .connect(&self.servers)
                .await?;
            let shortest = self.shortest().await?;
            let voters = longest.get_config().await.ok().map(|(config, _)| voters(&config));
            let bounds = (shortest, longest.session_timeout());
            Ok((longest, Found { bounds, voters }))
        };
        let outcome = tokio::select! {
            biased;
            outcome = looking => outcome,
            () = self.env.clock.sleep_until(self.env.now() + self.config.timeout) => Err(None),
        };
        outcome.map_err(|cause: Option<Cause>| failure::connect(&self.config, cause))
    }

    /// The shortest session that a server allows, as far as that can be told: the library gives up on a session that
    /// does not come about within its own length, so the first may have been too short for the way.
    async fn shortest(&self) -> Result<Duration, Cause> {
        let mut asked = SHORTEST;
        loop {
            match self.connector.clone().with_session_timeout(asked).connect(&self.servers).await {
                Ok(client) => return Ok(client.session_timeout()),
                Err(Cause::Timeout) => asked *= 2,
                Err(cause) => return Err(cause),
            }
        }
    }
}

/// How long a server may be silent until the library asks another, which may be silent too: a session of this length
/// must outlast several of them.
pub(crate) fn silence(timeout: Duration) -> Duration {
    (timeout / 5).clamp(SILENCE.0, SILENCE.1).min(timeout * 2 / 5)
}

/// How many servers vote, as the node says in which an ensemble keeps that; a single server keeps nothing there.
fn voters(config: &[u8]) -> usize {
    let text = String::from_utf8_lossy(config);
    text.lines().filter(|line| line.starts_with("server.") && !line.contains(":observer")).count().max(1)
}

#[cfg(feature = "tls")]
fn encrypt(connector: Connector, config: &Config) -> Result<Connector> {
    use zookeeper_client::TlsOptions;
    let Some(tls) = &config.tls else { return Ok(connector) };
    // The library uses the process's own, and there may be two to choose from. Whoever has chosen keeps that.
    drop(rustls::crypto::ring::default_provider().install_default());
    let read = |path: &std::path::Path| {
        std::fs::read_to_string(path).map_err(|error| {
            let message = format!("cannot read `{}`: {error}", path.display());
            Error::new(ErrorKind::InvalidInput, "connect", message).with_source(error)
        })
    };
    let bad = |what: &str, cause: Cause| {
        let message = format!("{what} cannot be used: {cause}");
        Error::new(ErrorKind::InvalidInput, "connect", message).with_source(cause)
    };
    let mut options = TlsOptions::new()
        .with_pem_ca(&read(&tls.ca)?)
        .map_err(|cause| bad("the authority in `ca`", cause))?;
    if let Some((certificate, key)) = &tls.identity {
        options = options
            .with_pem_identity(&read(certificate)?, &read(key)?)
            .map_err(|cause| bad("our certificate in `cert` and `key`", cause))?;
    }
    Ok(connector.with_tls(options))
}

#[cfg(not(feature = "tls"))]
fn encrypt(connector: Connector, config: &Config) -> Result<Connector> {
    match config.tls {
        None => Ok(connector),
        Some(_) => Err(Error::new(
            ErrorKind::Unsupported,
            "connect",
            "this build does not encrypt for ZooKeeper; build it with the feature `zookeeper-tls`",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn voters_are_counted() {
        let three =
            b"server.1=a:1:2:participant\nserver.2=b:1:2:participant\nserver.3=c:1:2:observer\nversion=0";
        assert_eq!((voters(three), voters(b"")), (2, 1));
    }
}
