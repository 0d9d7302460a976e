//! Which servers a URL of ours names, for the bare client: it knows only those of a single one.

use std::fmt;
use std::time::Duration;

use leasehold_core::{Error, ErrorKind, Result};
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::{ClusterClient, ClusterConfig};
use redis::cluster_async::ClusterConnection;
use redis::sentinel::{Sentinel, SentinelNodeConnectionInfo};
use redis::{AsyncConnectionConfig, Client, IntoConnectionInfo, RedisResult};

use super::refused;

/// The port of a Sentinel, if none is named.
const SENTINEL_PORT: u16 = 26379;

/// What a URL names.
pub(crate) enum Servers {
    One(Client),
    Sentinel(Master),
    Cluster(Box<ClusterClient>),
    /// Independent ones.
    Many(Vec<Client>),
}

/// The server that Sentinels call the master.
#[derive(Clone)]
pub(crate) struct Master {
    sentinels: Vec<String>,
    name: String,
    node: SentinelNodeConnectionInfo,
}

impl fmt::Debug for Master {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Master").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Servers {
    /// The servers of this URL, without the options that only we have; `None` if it names no Redis.
    pub(crate) fn of(url: &str) -> Result<Option<Self>> {
        let (scheme, rest) = url.split_once(':').unwrap_or((url, ""));
        let (rest, options) = rest.split_once('?').unwrap_or((rest, ""));
        let servers = match scheme {
            "redis" | "rediss" => Client::open(format!("{scheme}:{rest}")).map(Self::One),
            "redis+unix" => {
                let options = options.replace("password=", "pass=");
                Client::open(format!("unix://{rest}?{options}")).map(Self::One)
            }
            "redis+sentinel" => Master::of(&Parts::of(rest)).map(Self::Sentinel),
            "redis+cluster" => {
                ClusterClient::new(Parts::of(rest).urls()).map(|client| Self::Cluster(Box::new(client)))
            }
            "redlock" => Parts::of(rest)
                .urls()
                .into_iter()
                .map(Client::open)
                .collect::<RedisResult<_>>()
                .map(Self::Many),
            _ => return Ok(None),
        };
        servers.map(Some).map_err(|e| {
            let message = "the bare client cannot read the servers' addresses";
            Error::new(ErrorKind::InvalidInput, "floor", message).with_source(e)
        })
    }
}

/// `//LOGIN@HOST,HOST/PATH` in its parts.
struct Parts<'a> {
    login: &'a str,
    hosts: Vec<&'a str>,
    path: &'a str,
}

impl<'a> Parts<'a> {
    fn of(rest: &'a str) -> Self {
        let rest = rest.strip_prefix("//").unwrap_or(rest);
        let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, hosts) = hosts.rsplit_once('@').unwrap_or(("", hosts));
        Self { login, hosts: hosts.split(',').collect(), path }
    }

    /// A URL for each host.
    fn urls(&self) -> Vec<String> {
        self.hosts.iter().map(|host| self.url(host, self.path)).collect()
    }

    fn url(&self, host: &str, path: &str) -> String {
        let at = if self.login.is_empty() { "" } else { "@" };
        format!("redis://{}{at}{host}/{path}", self.login)
    }
}

impl Master {
    fn of(parts: &Parts<'_>) -> RedisResult<Self> {
        let (name, db) = parts.path.split_once('/').unwrap_or((parts.path, ""));
        // The login and the database are the master's. The host is only there to be read.
        let settings = parts.url("master", db).into_connection_info()?;
        let node = SentinelNodeConnectionInfo::default()
            .set_redis_connection_info(settings.redis_settings().clone());
        let sentinel = |host: &&str| {
            let has_port = host.rsplit(']').next().is_some_and(|end| end.contains(':'));
            if has_port { format!("redis://{host}") } else { format!("redis://{host}:{SENTINEL_PORT}") }
        };
        let sentinels = parts.hosts.iter().map(sentinel).collect();
        Ok(Self { sentinels, name: name.to_owned(), node })
    }

    /// Who it is now.
    pub(crate) async fn find(&self) -> Result<Client> {
        let found = async {
            Sentinel::build(self.sentinels.clone())?.async_master_for(&self.name, Some(&self.node)).await
        };
        found.await.map_err(refused)
    }
}

/// What connections can be made to.
pub(crate) trait Connect: Clone + Send + Sync + 'static {
    /// For as many tasks as there are.
    type Connection: ConnectionLike + Clone + Send + Sync + 'static;

    /// A new connection, whose answers may take so long.
    fn connect(&self, patience: Duration) -> impl Future<Output = Result<Self::Connection>> + Send;
}

impl Connect for Client {
    type Connection = MultiplexedConnection;

    async fn connect(&self, patience: Duration) -> Result<MultiplexedConnection> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(super::PATIENCE))
            .set_response_timeout(Some(patience));
        self.get_multiplexed_async_connection_with_config(&config).await.map_err(refused)
    }
}

impl Connect for Master {
    type Connection = MultiplexedConnection;

    async fn connect(&self, patience: Duration) -> Result<MultiplexedConnection> {
        self.find().await?.connect(patience).await
    }
}

impl Connect for ClusterClient {
    type Connection = ClusterConnection;

    async fn connect(&self, patience: Duration) -> Result<ClusterConnection> {
        let config =
            ClusterConfig::new().set_connection_timeout(super::PATIENCE).set_response_timeout(patience);
        self.get_async_connection_with_config(config).await.map_err(refused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(url: &str) -> Vec<String> {
        let Some(Servers::Many(nodes)) = Servers::of(url).unwrap() else { panic!("{url} is about several") };
        nodes.iter().map(|node| node.get_connection_info().addr().to_string()).collect()
    }

    #[test]
    fn what_urls_name() {
        assert!(Servers::of("sqlite:/a").unwrap().is_none());
        assert_eq!(addresses("redlock://a:1,b,[::1]:3?timeout=1s"), ["a:1", "b:6379", "::1:3"]);
        let Some(Servers::Sentinel(master)) = Servers::of("redis+sentinel://me:x@a,b:2/main/3").unwrap()
        else {
            panic!("that is about Sentinels")
        };
        assert_eq!(
            (master.name.as_str(), &master.sentinels[..]),
            ("main", &["redis://a:26379".to_owned(), "redis://b:2".to_owned()][..])
        );
        assert!(Servers::of("redis://a:many").is_err());
    }
}
