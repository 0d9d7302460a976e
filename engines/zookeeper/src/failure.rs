//! What goes wrong with servers, in the words of our users.

use leasehold_core::{Error, ErrorKind, Outcome};
use zookeeper_client::Error as Cause;

use crate::config::Config;

/// A request that has failed, and where.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'a> {
    pub(crate) operation: &'static str,
    pub(crate) path: &'a str,
}

/// Whether this tells that the session is over.
pub(crate) fn is_lost(cause: &Cause) -> bool {
    matches!(cause, Cause::SessionExpired | Cause::ClientClosed)
}

/// Whether this is a server's answer, and not the want of one.
pub(crate) fn is_answer(cause: &Cause) -> bool {
    matches!(
        cause,
        Cause::NoNode
            | Cause::NoAuth
            | Cause::BadVersion
            | Cause::NodeExists
            | Cause::NotEmpty
            | Cause::NoChildrenForEphemerals
            | Cause::InvalidAcl
            | Cause::QuotaExceeded
            | Cause::Unimplemented
    )
}

/// An error of a request.
pub(crate) fn request(request: Request<'_>, cause: Cause) -> Error {
    let Request { operation, path } = request;
    let not_applied = |kind, message: String| Error::new(kind, operation, message);
    let error = match &cause {
        _ if is_lost(&cause) => not_applied(ErrorKind::Lost, "the ZooKeeper session is over".to_owned()),
        Cause::NoAuth => not_applied(
            ErrorKind::Denied,
            format!(
                "the access list of `{path}` does not let us do this; whoever locks needs the rights to create, read, \
                 write and delete there, so check user and password in the engine URL (`zookeeper://USER:PASSWORD@…`), \
                 for ZooKeeper takes a wrong password for another user"
            ),
        ),
        Cause::AuthFailed => not_applied(
            ErrorKind::Denied,
            "the servers do not let us in as who we say we are; write `USER:PASSWORD@` before the hosts, as the \
             servers know them"
                .to_owned(),
        ),
        Cause::InvalidAcl => not_applied(
            ErrorKind::InvalidInput,
            "the servers do not know who we are, so no node can be made for us alone; write `acl=open`, or log in"
                .to_owned(),
        ),
        Cause::NoChildrenForEphemerals => not_a_lock(operation, path, "it is somebody's ephemeral node"),
        Cause::NotReadOnly => not_applied(
            ErrorKind::Unavailable,
            "the server has lost the majority and takes no writes".to_owned(),
        ),
        Cause::QuotaExceeded => not_applied(
            ErrorKind::Unavailable,
            format!("the quota of `{path}` is used up; raise it, or remove what is there"),
        ),
        Cause::Throttled | Cause::SessionMoved => {
            not_applied(ErrorKind::Unavailable, format!("the server has put this request off ({cause})"))
        }
        Cause::Unimplemented => not_applied(
            ErrorKind::Unsupported,
            "the server is too old: leasehold needs ZooKeeper 3.6 or later".to_owned(),
        ),
        Cause::NoNode | Cause::BadVersion | Cause::NodeExists | Cause::NotEmpty | Cause::BadArguments(_) => {
            not_applied(ErrorKind::Unexpected, format!("the server says of `{path}`: {cause}"))
        }
        Cause::UnmarshalError { .. } | Cause::MarshallingError | Cause::UnexpectedErrorCode(_) => {
            let message = format!("server and client do not understand each other: {cause}");
            not_applied(ErrorKind::Unexpected, message).with_outcome(Outcome::Unknown)
        }
        _ => {
            let message = format!("the connection to ZooKeeper is lost ({cause})");
            not_applied(ErrorKind::Unavailable, message).with_outcome(Outcome::Unknown)
        }
    };
    error.with_source(cause)
}

/// There is something else where the lock should be. Nothing has been touched.
pub(crate) fn not_a_lock(operation: &'static str, path: &str, why: &str) -> Error {
    let message = format!(
        "`{path}` is not a lock, for {why}; it was left as it is: choose another name, or another chroot in the engine URL"
    );
    Error::new(ErrorKind::Refused, operation, message)
}

/// No session came about, so nothing was sent.
pub(crate) fn connect(config: &Config, cause: Option<Cause>) -> Error {
    let servers = config.servers();
    let error = match cause {
        Some(cause @ (Cause::AuthFailed | Cause::BadArguments(_) | Cause::InvalidAcl)) => {
            return request(Request { operation: "connect", path: config.chroot.as_str() }, cause)
                .with("servers", servers);
        }
        Some(cause) => not_let_in(config).with_source(cause),
        None => not_let_in(config),
    };
    error.with("servers", servers)
}

fn not_let_in(config: &Config) -> Error {
    let tls = if config.tls.is_some() { "" } else { ", and do they want TLS (`tls=true`)" };
    Error::new(
        ErrorKind::Unavailable,
        "connect",
        format!(
            "no ZooKeeper server has let us in; are they up, does a majority of them agree on a leader{tls}?"
        ),
    )
}

/// The transactions of a server are counted in 64 bits, of which a token has 53.
pub(crate) fn out_of_tokens(path: &str) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        "lock",
        format!(
            "the transaction that made `{path}` has a number of 2^53 or more, which Lua and JSON round: after two \
             million elections an ensemble gives no tokens any more; begin with a new one"
        ),
    )
}
