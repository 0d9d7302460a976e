//! How a member is reached.

use std::path::Path;
use std::time::Duration;

use leasehold_core::{Error, ErrorKind, Result};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::config::{Config, Tls};
use crate::failure;

/// How often a connection is asked whether it is still one. etcd cuts off who asks more often than every 5 s.
const PING: Duration = Duration::from_secs(10);

/// The members, as the library wants them.
pub(crate) fn endpoints(config: &Config) -> Result<Vec<Endpoint>> {
    let tls = config.tls.as_ref().map(credentials).transpose()?;
    config.members.iter().map(|member| endpoint(config, member, tls.as_ref())).collect()
}

fn endpoint(config: &Config, member: &str, tls: Option<&ClientTlsConfig>) -> Result<Endpoint> {
    let scheme = if tls.is_some() { "https" } else { "http" };
    let refuse = |e| {
        Error::new(ErrorKind::InvalidInput, "engine URL", format!("`{member}` is not a host with a port"))
            .with_source(e)
    };
    let endpoint = Endpoint::from_shared(format!("{scheme}://{member}"))
        .map_err(refuse)?
        .http2_keep_alive_interval(PING)
        .keep_alive_timeout(config.timeout)
        .keep_alive_while_idle(true);
    match tls {
        Some(tls) => endpoint.tls_config(tls.clone()).map_err(|e| {
            let message =
                "the certificates cannot be used: `ca`, `cert` and `key` must be PEM files that fit together";
            Error::new(ErrorKind::InvalidInput, "connect", message).with_source(e)
        }),
        None => Ok(endpoint),
    }
}

fn credentials(tls: &Tls) -> Result<ClientTlsConfig> {
    let read = |path: &Path| {
        std::fs::read(path).map_err(|e| {
            Error::new(ErrorKind::InvalidInput, "connect", format!("cannot read `{}`: {e}", path.display()))
        })
    };
    let config = match &tls.ca {
        Some(ca) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(ca)?)),
        None => ClientTlsConfig::new().with_native_roots(),
    };
    Ok(match &tls.identity {
        Some((cert, key)) => config.identity(Identity::from_pem(read(cert)?, read(key)?)),
        None => config,
    })
}

/// One try.
pub(crate) async fn channel(endpoint: &Endpoint, member: &str, tls: Option<&Tls>) -> Result<Channel> {
    endpoint.connect().await.map_err(|e| failure::not_reached(member, tls, &e))
}
