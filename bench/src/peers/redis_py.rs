//! redis-py's Lock. Whoever finds a lock held sleeps 100 ms and tries again.

use leasehold_core::Result;
use redis::{Client, ConnectionAddr};
use serde_json::json;

use super::python::Library;
use crate::entrant::{Entrant, Role};
use crate::floor::redis::servers::{Master, Servers};
use crate::site::Site;

const NAME: &str = "redis-py";

/// `None` where redis-py has no lock for such servers, or is not installed; the latter is said.
pub(super) fn entrant(servers: &Servers, site: &Site<'_>) -> Option<Entrant> {
    let server = match servers {
        Servers::One(client) => Server::Known(client.clone()),
        Servers::Sentinel(master) => Server::Master(master.clone()),
        Servers::Cluster(_) | Servers::Many(_) => return None,
    };
    let library = Library::find(NAME, include_str!("redis_py.py"))?;
    let prefix = site.prefix();
    Some(Entrant::new(NAME, Role::Peer, move |load| {
        let (server, library, prefix) = (server.clone(), library.clone(), prefix.clone());
        Box::pin(async move { library.run(&server.find(&library).await?, &prefix, load).await })
    }))
}

/// A single server, or how to find it.
#[derive(Clone)]
enum Server {
    Known(Client),
    Master(Master),
}

impl Server {
    /// How redis-py is told of it.
    async fn find(&self, library: &Library) -> Result<String> {
        let client = match self {
            Self::Known(client) => client.clone(),
            Self::Master(master) => master.find().await?,
        };
        let info = client.get_connection_info();
        let mut server = match info.addr() {
            ConnectionAddr::Tcp(host, port) => json!({ "host": host, "port": port }),
            ConnectionAddr::TcpTls { host, port, .. } => json!({ "host": host, "port": port, "ssl": true }),
            ConnectionAddr::Unix(path) => json!({ "unix_socket_path": path }),
            other => return Err(library.failed(format!("cannot be told of {other}"))),
        };
        let settings = info.redis_settings();
        server["db"] = json!(settings.db());
        server["username"] = json!(settings.username());
        server["password"] = json!(settings.password());
        Ok(server.to_string())
    }
}
