//! How a connection is made, and what is found out about the server behind it.

use std::path::Path;
use std::sync::Arc;

use leasehold_core::{Error, ErrorKind, Result};
use redis::aio::AsyncPushSender;
use redis::cluster::ClusterClient;
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, IntoConnectionInfo,
    ProtocolVersion, RedisConnectionInfo, TlsCertificates, Value, cmd,
};

use crate::config::{Access, Address, Config, Target, Tls};
use crate::failure;
use crate::link::Shared;
use crate::sentinel::{self, Master};
use crate::session::{self, Patient, Session, Wire};
use crate::wire::InboxName;

/// The pauses before the library sends a request again within a cluster. By its own measure the first would be longer
/// than most answers may take.
const RETRY_MILLIS: (u64, u64) = (5, 250);

/// A connection, and where it leads.
pub(crate) struct Made {
    pub(crate) wire: Wire,
    /// A second one to the same server, for `WAIT`, which blocks the connection that it comes over.
    pub(crate) patient: Option<Patient>,
    pub(crate) master: Option<Master>,
}

/// Who hears what the server tells without being asked.
pub(crate) type Hook = Arc<dyn AsyncPushSender>;

/// What was found out about the server.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// What its set-up puts at risk.
    pub(crate) warnings: Vec<String>,
    /// Whether it tells when a key of another client goes.
    pub(crate) keyspace_events: bool,
    /// What the server calls this run of itself.
    pub(crate) run_id: Option<String>,
}

/// Connects and subscribes the inbox.
pub(crate) async fn connect(shared: &Shared, hook: Hook) -> Result<Made> {
    let (config, inbox) = (&shared.config, &shared.inbox_name);
    let server = config.target.to_string();
    let failed = |error| failure::request("connect", &server, error);
    match &config.target {
        Target::Cluster(seeds) => {
            let nodes = seeds
                .iter()
                .map(|seed| info(config, address_of(seed, config.access.tls.is_some()), config.access.db))
                .collect::<Vec<_>>();
            let mut builder = ClusterClient::builder(nodes)
                .use_protocol(ProtocolVersion::RESP3)
                .connection_timeout(config.timeout)
                .response_timeout(config.timeout)
                .min_retry_wait(RETRY_MILLIS.0)
                .max_retry_wait(RETRY_MILLIS.1)
                .push_sender(hook);
            if let Some(user) = &config.access.user {
                builder = builder.username(user);
            }
            if let Some(password) = &config.access.password {
                builder = builder.password(password);
            }
            if let Some(tls) = &config.access.tls {
                builder = builder.tls(redis::cluster::TlsMode::Secure).certs(certificates(tls)?);
            }
            let client = builder.build().map_err(failed)?;
            let wire = Wire::Cluster(client.get_async_connection().await.map_err(failed)?);
            Ok(Made { wire, patient: None, master: None })
        }
        Target::Server(address) => {
            let address = address_of(address, config.access.tls.is_some());
            one(config, address, inbox, hook).await
        }
        Target::Socket(path) => one(config, ConnectionAddr::Unix(path.clone()), inbox, hook).await,
        Target::Sentinel { sentinels, master } => {
            let master = sentinel::master(config, sentinels, master).await?;
            shared.announce(master.clone());
            let address = &master.address;
            let mut made = one(config, address_of(address, config.access.tls.is_some()), inbox, hook).await?;
            let Wire::One(connection) = &mut made.wire else { unreachable!("one server is not a cluster") };
            // A Sentinel may not have heard of a switch yet, nor the old master that it is none any more.
            let role = connection.send_packed_command(&cmd("ROLE")).await.map_err(failed)?;
            if !matches!(&role, Value::Array(parts) if parts.first() == Some(&Value::BulkString(b"master".to_vec())))
            {
                let message = format!("the Sentinels name {address}, which is not a master yet");
                return Err(Error::new(ErrorKind::Unavailable, "connect", message).with("server", server));
            }
            made.master = Some(master);
            Ok(made)
        }
    }
}

/// One server.
async fn one(config: &Config, address: ConnectionAddr, inbox: &InboxName, hook: Hook) -> Result<Made> {
    let server = config.target.to_string();
    let failed = |error| failure::request("connect", &server, error);
    let client = client(config, address, config.access.db).map_err(failed)?;
    let settings = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(config.timeout))
        .set_response_timeout(Some(config.timeout))
        .set_push_sender(hook);
    let mut connection =
        client.get_multiplexed_async_connection_with_config(&settings).await.map_err(failed)?;
    let channel = [b"leasehold:inbox:", &inbox[..]].concat();
    connection.subscribe(channel).await.map_err(failed)?;
    let patient = match config.wait_replicas {
        0 => None,
        replicas => {
            let settings = AsyncConnectionConfig::new()
                .set_connection_timeout(Some(config.timeout))
                .set_response_timeout(Some(config.timeout));
            let connection =
                client.get_multiplexed_async_connection_with_config(&settings).await.map_err(failed)?;
            Some(session::patient(connection, replicas, config.timeout / 2))
        }
    };
    Ok(Made { wire: Wire::One(connection), patient, master: None })
}

/// A client of the library for one server.
pub(crate) fn client(config: &Config, address: ConnectionAddr, db: i64) -> redis::RedisResult<Client> {
    let info = info(config, address, db);
    match &config.access.tls {
        Some(tls) if matches!(info.addr(), ConnectionAddr::TcpTls { .. }) => {
            let certificates = certificates(tls).map_err(|e| {
                redis::RedisError::from((redis::ErrorKind::InvalidClientConfig, "TLS", e.to_string()))
            })?;
            Client::build_with_tls(info, certificates)
        }
        _ => Client::open(info),
    }
}

fn info(config: &Config, address: ConnectionAddr, db: i64) -> ConnectionInfo {
    let Access { user, password, .. } = &config.access;
    let mut settings = RedisConnectionInfo::default()
        .set_protocol(ProtocolVersion::RESP3)
        .set_db(db)
        .set_skip_set_lib_name();
    if let Some(user) = user {
        settings = settings.set_username(user);
    }
    if let Some(password) = password {
        settings = settings.set_password(password);
    }
    let info = address.into_connection_info().expect("an address is a connection info");
    let tcp = redis::io::tcp::TcpSettings::default().set_nodelay(true);
    info.set_redis_settings(settings).set_tcp_settings(tcp)
}

pub(crate) fn address_of(address: &Address, tls: bool) -> ConnectionAddr {
    let Address { host, port } = address.clone();
    if tls {
        // One provider of cryptography for the process; whoever has chosen another keeps it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
    } else {
        ConnectionAddr::Tcp(host, port)
    }
}

fn certificates(tls: &Tls) -> Result<TlsCertificates> {
    let read = |path: &Path| {
        std::fs::read(path).map_err(|e| {
            Error::new(ErrorKind::InvalidInput, "connect", format!("cannot read `{}`: {e}", path.display()))
        })
    };
    let client_tls = match &tls.identity {
        Some((cert, key)) => Some(ClientTlsConfig { client_cert: read(cert)?, client_key: read(key)? }),
        None => None,
    };
    Ok(TlsCertificates { client_tls, root_cert: tls.ca.as_deref().map(read).transpose()? })
}

/// Looks a server over before it is used: what makes it useless is an error, what makes it doubtful a warning.
pub(crate) async fn look_over(config: &Config, session: &Session) -> Result<Found> {
    let mut found = Found::default();
    if matches!(session.wire, Wire::Cluster(_)) {
        return Ok(found);
    }
    let Some(info) = facts(session).await else {
        found
            .warnings
            .push("this user may not read `INFO`, so the server's set-up was not looked over".to_owned());
        return Ok(found);
    };
    let fact = |key: &str| {
        info.lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))
            .map(str::trim)
            .unwrap_or_default()
    };
    let server = config.target.to_string();
    if fact("role") == "slave" && fact("slave_read_only") == "1" {
        let (host, port) = (fact("master_host"), fact("master_port"));
        return Err(Error::new(
            ErrorKind::InvalidInput,
            "connect",
            format!(
                "the server is a read-only replica of {host}:{port}; name the master, or its Sentinels \
                 (`redis+sentinel://`)"
            ),
        )
        .with("server", server));
    }
    if fact("cluster_enabled") == "1" {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            "connect",
            "the server is part of a cluster; write `redis+cluster://`",
        )
        .with("server", server));
    }
    let policy = fact("maxmemory_policy");
    if !matches!(policy, "noeviction" | "") && !matches!(fact("maxmemory"), "0" | "") {
        found.warnings.push(format!(
            "the server evicts keys when its memory is full (maxmemory-policy {policy}), locks among them; set \
             `noeviction`"
        ));
    }
    let replicas: u32 = fact("connected_slaves").parse().unwrap_or(0);
    if replicas < config.wait_replicas {
        found.warnings.push(format!(
            "a grant waits for {} replicas, and the server has {replicas}: nothing is granted until more are there",
            config.wait_replicas
        ));
    }
    found.run_id = Some(fact("run_id").to_owned()).filter(|id| !id.is_empty());
    found.keyspace_events = keyspace_events(session).await;
    Ok(found)
}

/// What the server says of itself.
async fn facts(session: &Session) -> Option<String> {
    match session.send(&cmd("INFO")).await {
        Ok(Value::BulkString(bytes)) => String::from_utf8(bytes).ok(),
        Ok(Value::VerbatimString { text, .. }) => Some(text),
        _ => None,
    }
}

/// Whether the server tells when keys are deleted and when they expire.
async fn keyspace_events(session: &Session) -> bool {
    let answer = session.send(cmd("CONFIG").arg("GET").arg("notify-keyspace-events")).await;
    let flags = match answer {
        Ok(Value::Map(pairs)) => pairs.into_iter().next().map(|(_, flags)| flags),
        Ok(Value::Array(parts)) => parts.into_iter().nth(1),
        _ => None,
    };
    let Some(Value::BulkString(flags)) = flags else { return false };
    let has = |flag: u8| flags.contains(&flag);
    has(b'K') && (has(b'A') || (has(b'g') && has(b'x')))
}
