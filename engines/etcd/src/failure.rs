//! What goes wrong with etcd, in the words of our users.

use std::time::Duration;

use leasehold_core::{Error, ErrorKind, Outcome};
use tonic::{Code, Status};

use crate::config::Tls;

/// What an answer of the server that is not what was asked for means to the connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Cure {
    /// Nothing helps but what the error says.
    None,
    /// A new token of authentication.
    Login,
    /// Another member.
    Move,
}

/// The server's own words, without what comes before them.
fn said(status: &Status) -> &str {
    status.message().strip_prefix("etcdserver: ").unwrap_or(status.message())
}

/// Whether the server itself says so, and not what is between it and us.
fn is_servers(status: &Status) -> bool {
    status.message().starts_with("etcdserver: ")
}

/// What helps.
pub(crate) fn cure(status: &Status) -> Cure {
    match (status.code(), said(status)) {
        (_, "invalid auth token" | "revision of auth store is old") => Cure::Login,
        (Code::Unavailable, _) => Cure::Move,
        _ if is_servers(status) => Cure::None,
        (Code::Unknown | Code::Internal | Code::Cancelled | Code::DeadlineExceeded, _) => Cure::Move,
        _ => Cure::None,
    }
}

/// Whether the items of a transaction that fails with this are each to be tried alone: one of them is to blame.
pub(crate) fn is_of_one_item(error: &Error) -> bool {
    error.outcome() == Outcome::NotApplied && error.kind() != ErrorKind::Unavailable
}

/// Whether the transaction had more in it than this server takes.
pub(crate) fn is_too_long(error: &Error) -> bool {
    let status = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<Status>());
    status.is_some_and(|status| TOO_LONG.contains(&said(status)))
}

/// What the server says of such a transaction.
const TOO_LONG: [&str; 2] = ["too many operations in txn request", "request is too large"];

/// An error of a request.
pub(crate) fn request(operation: &'static str, member: &str, status: Status) -> Error {
    let new = |kind, message: &str| Error::new(kind, operation, message);
    let unavailable = |message: &str| new(ErrorKind::Unavailable, message);
    let unknown = |error: Error| error.with_outcome(Outcome::Unknown);
    let words = said(&status).to_owned();
    let error = match words.as_str() {
        "requested lease not found" => {
            new(ErrorKind::Lost, "the session has ended: its lease is not there any more")
        }
        "permission denied" => new(
            ErrorKind::Denied,
            "this user may not do that; the locks' user needs a role that may read and write the keys of the prefix \
             (`etcdctl role grant-permission ROLE --prefix=true readwrite PREFIX`)",
        ),
        "user name is empty" => {
            new(ErrorKind::Denied, "the server asks who we are; write `USER:PASSWORD@` before the hosts")
        }
        "authentication failed, invalid user ID or password" => {
            new(ErrorKind::Denied, "the server does not take this user and password")
        }
        "too large lease TTL" => new(ErrorKind::InvalidInput, "the TTL is longer than etcd's leases can be"),
        "invalid auth token" | "revision of auth store is old" => {
            unavailable("users or roles are being changed; asking again helps")
        }
        "no leader" | "not leader" => unavailable(
            "the cluster has no leader, so nothing can be decided; a majority of its members must run and reach each \
             other",
        ),
        // It says so as well of the first write too many, which it does.
        "mvcc: database space exceeded" => unknown(unavailable(
            "the database is full: compact and defragment it, then `etcdctl alarm disarm`, or raise \
             `--quota-backend-bytes`",
        )),
        // Nothing of it was done.
        words if TOO_LONG.contains(&words) => {
            new(ErrorKind::Unexpected, &format!("the server says: {words}"))
        }
        "too many requests" => unavailable("the server has too much to do"),
        "not capable" | "rpc not supported for learner" => unavailable("this member takes no requests yet"),
        "corrupt cluster" => {
            new(ErrorKind::Corrupt, "the cluster has found its data damaged and takes no writes")
        }
        _ if status.code() == Code::Unavailable && is_servers(&status) => {
            unknown(unavailable(&format!("the cluster did not decide in time ({words})")))
        }
        _ if is_servers(&status) => unknown(new(ErrorKind::Unexpected, &format!("the server says: {words}"))),
        _ if status.code() == Code::Unimplemented => {
            new(ErrorKind::Unsupported, "this is no etcd, or one before 3.4; it does not know the request")
        }
        _ => unknown(unavailable(&format!("the connection is lost ({})", reason(&status)))),
    };
    error.with("member", member).with_source(status)
}

/// No answer within the time that it may take.
pub(crate) fn timed_out(operation: &'static str, member: &str, timeout: Duration) -> Error {
    Error::new(ErrorKind::Unavailable, operation, format!("no answer within {timeout:?}"))
        .with_outcome(Outcome::Unknown)
        .with("member", member)
}

/// A member that has just been connected to does not answer as it should.
pub(crate) fn not_met(operation: &'static str, member: &str, tls: Option<&Tls>, status: Status) -> Error {
    // Not etcd says that, but what is between it and us: it may be that they do not speak the same.
    if !is_servers(&status) && cure(&status) == Cure::Move {
        return not_reached(member, tls, &status);
    }
    request(operation, member, status).with_outcome(Outcome::NotApplied)
}

/// No connection came about, so nothing was sent.
pub(crate) fn not_reached(
    member: &str,
    tls: Option<&Tls>,
    cause: &(dyn std::error::Error + 'static),
) -> Error {
    let said = reason(cause);
    let (kind, hint) = if said.contains("UnknownIssuer") || said.contains("invalid peer certificate") {
        (ErrorKind::InvalidInput, "name the authority that signed the server's certificate by `ca=`")
    } else if said.contains("CertificateRequired") || said.contains("BadCertificate") {
        (ErrorKind::InvalidInput, "the server asks for a certificate of ours; name it by `cert=` and `key=`")
    } else if said.contains("refused") {
        (ErrorKind::Unavailable, "is it up, and is this where it listens?")
    } else {
        let hint = match tls {
            None => "is it up, and is it not encrypted? If it is, write `etcds://`",
            // For us TLS is up before the server looks for our certificate, and what it says then may be lost with the
            // connection.
            Some(Tls { identity: None, .. }) => {
                "is it up, and is it encrypted? Without, write `etcd://`; and if it asks for a certificate of ours, name it \
                 by `cert=` and `key=`"
            }
            Some(_) => {
                "is it up, is it encrypted (without, write `etcd://`), and does it take the certificate in `cert=`?"
            }
        };
        (ErrorKind::Unavailable, hint)
    };
    Error::new(kind, "connect", format!("cannot connect: {said}; {hint}")).with("member", member)
}

/// No connection came about in time.
pub(crate) fn not_connected(member: &str, timeout: Duration) -> Error {
    Error::new(ErrorKind::Unavailable, "connect", format!("no connection within {timeout:?}"))
        .with("member", member)
}

/// An answer that cannot be.
pub(crate) fn odd(operation: &'static str, what: &str) -> Error {
    Error::new(ErrorKind::Unexpected, operation, format!("the server's answer has {what}"))
        .with_outcome(Outcome::Unknown)
}

/// The innermost cause says most.
fn reason(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// Whether a watch is refused for who we are not any more.
pub(crate) fn is_about_login(reason: &str) -> bool {
    reason.contains("invalid auth token") || reason.contains("revision of auth store is old")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_the_server_ends_without_a_word_has_these_reasons() {
        let plain = Tls::default();
        let ours = Tls { identity: Some(("client.pem".into(), "client.key".into())), ..Tls::default() };
        let ended = std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        let said =
            [None, Some(&plain), Some(&ours)].map(|tls| not_reached("a:2379", tls, &ended).to_string());
        insta::assert_debug_snapshot!(said);
    }
}
