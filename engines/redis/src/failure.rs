//! What goes wrong with servers, in the words of our users.

use crate::config::Config;
use leasehold_core::{Error, ErrorKind, Outcome};
use redis::{RedisError, ServerErrorKind};

/// An error of a request.
pub(crate) fn request(operation: &'static str, server: &str, cause: RedisError) -> Error {
    use redis::ErrorKind as K;
    let detail = cause.detail().unwrap_or_default().to_owned();
    let applied_not = |kind, message: String| Error::new(kind, operation, message);
    let unavailable = |message: &str| applied_not(ErrorKind::Unavailable, message.to_owned());
    let error = match cause.kind() {
        K::Server(ServerErrorKind::ReadOnly) => {
            unavailable("the server is a read-only replica now; the next request looks for the master")
        }
        K::Server(ServerErrorKind::BusyLoading) => unavailable("the server is loading its data; wait for it"),
        K::Server(ServerErrorKind::MasterDown | ServerErrorKind::ClusterDown | ServerErrorKind::TryAgain) => {
            applied_not(ErrorKind::Unavailable, format!("the servers are not ready: {detail}"))
        }
        // The library has followed the slot for as long as it would.
        K::Server(ServerErrorKind::Moved | ServerErrorKind::Ask) => {
            unavailable("the lock's slot is being moved to another node; it can be had when that is done")
        }
        K::Server(ServerErrorKind::NoPerm) => applied_not(
            ErrorKind::Denied,
            format!(
                "this user may not do that ({detail}); the locks' user needs the keys of the prefix and \
                 `leasehold:*`, the channels `leasehold:*`, and the commands that docs.md lists"
            ),
        ),
        K::AuthenticationFailed => applied_not(
            ErrorKind::Denied,
            format!("the server does not take this user and password ({})", said(&cause)),
        ),
        K::RESP3NotSupported => applied_not(
            ErrorKind::Unsupported,
            "the server is too old: leasehold needs Redis 6 or later, or Valkey".to_owned(),
        ),
        K::InvalidClientConfig | K::Client => {
            applied_not(ErrorKind::InvalidInput, format!("cannot use this configuration: {}", said(&cause)))
        }
        K::Io | K::ClusterConnectionNotFound if operation == "connect" => not_reached(&cause),
        K::Io | K::ClusterConnectionNotFound if cause.is_timeout() => {
            unavailable("the server did not answer in time").with_outcome(Outcome::Unknown)
        }
        K::Io | K::ClusterConnectionNotFound => {
            let message = format!("the connection to the server is lost ({})", said(&cause));
            applied_not(ErrorKind::Unavailable, message).with_outcome(Outcome::Unknown)
        }
        _ => by_code(operation, &cause),
    };
    error.with("server", server).with_source(cause)
}

/// No connection came about, so nothing was sent.
fn not_reached(cause: &RedisError) -> Error {
    let said = if cause.is_timeout() { "no answer in time".to_owned() } else { said(cause) };
    let (kind, hint) = if said.contains("certificate") {
        (ErrorKind::InvalidInput, "name the authority that signed the server's certificate by `ca=`")
    } else if said.contains("CertificateRequired") {
        (ErrorKind::InvalidInput, "the server asks for a certificate of ours; name it by `cert=` and `key=`")
    } else if cause.is_connection_refusal() {
        (ErrorKind::Unavailable, "is it up, and is this where it listens?")
    } else {
        (ErrorKind::Unavailable, "is it up, and does it speak TLS if and only if the URL says so?")
    };
    Error::new(kind, "connect", format!("cannot connect to the server: {said}; {hint}"))
}

/// Errors that the library has no kind for.
fn by_code(operation: &'static str, cause: &RedisError) -> Error {
    let detail = cause.detail().unwrap_or_default();
    let (kind, message) = match cause.code().unwrap_or_default() {
        "OOM" => (
            ErrorKind::Unavailable,
            "the server is out of memory and evicts nothing; make room or raise `maxmemory`".to_owned(),
        ),
        "BUSY" => (ErrorKind::Unavailable, "the server is busy with somebody's script".to_owned()),
        "NOAUTH" => (
            ErrorKind::Denied,
            "the server asks who we are; write `USER:PASSWORD@` before its address, or `:PASSWORD@`"
                .to_owned(),
        ),
        "WRONGPASS" => {
            (ErrorKind::Denied, format!("the server does not take this user and password ({detail})"))
        }
        "MISCONF" | "NOREPLICAS" | "UNBLOCKED" => {
            (ErrorKind::Unavailable, format!("the server takes no writes now: {detail}"))
        }
        // The server adds which script it was, and where.
        "LEASEHOLD" => (ErrorKind::Corrupt, detail.split(" script: ").next().unwrap_or_default().to_owned()),
        _ if detail.contains("non local key") => (
            ErrorKind::Unavailable,
            "the lock's slot is being moved to another node; it can be had when that is done".to_owned(),
        ),
        _ if detail.contains("DB index") || detail.contains("invalid DB") => {
            (ErrorKind::InvalidInput, format!("the server has no database of this number ({detail})"))
        }
        _ => {
            return Error::new(ErrorKind::Unexpected, operation, format!("the server says: {}", said(cause)))
                .with_outcome(Outcome::Unknown);
        }
    };
    Error::new(kind, operation, message)
}

/// The library's own words.
fn said(cause: &RedisError) -> String {
    match cause.detail() {
        Some(detail) if !detail.is_empty() => detail.to_owned(),
        _ => cause.to_string(),
    }
}

/// The key of a lock holds something that is no lock. Nothing has been touched.
pub(crate) fn wrong_type(operation: &'static str, server: &str, key: &str, kind: &str) -> Error {
    let whose = match kind {
        "hash" => " (as a lock of Redisson is)",
        _ => "",
    };
    Error::new(
        ErrorKind::Refused,
        operation,
        format!(
            "the key `{key}` is a {kind}{whose}, not a lock, and was left as it is; choose another name, or another \
             `prefix` in the engine URL"
        ),
    )
    .with("server", server)
}

/// The master has granted it, but it might forget it. Asking again is harmless: it may be there by then.
pub(crate) fn too_few_replicas(operation: &'static str, config: &Config, short: u32) -> Error {
    let wanted = config.wait_replicas;
    Error::new(
        ErrorKind::Unavailable,
        operation,
        format!(
            "the master has it, but of the {wanted} replicas that `wait_replicas` asks for only {} do",
            wanted - short
        ),
    )
    .with_outcome(Outcome::Unknown)
    .with("server", &config.target)
}

/// No connection, and so nothing was sent.
pub(crate) fn not_connected(server: &str, why: Option<&Error>) -> Error {
    let message = match why {
        Some(why) => format!("there is no connection to the server: {why}"),
        None => "there is no connection to the server yet".to_owned(),
    };
    Error::new(ErrorKind::Unavailable, "connect", message).with("server", server)
}
