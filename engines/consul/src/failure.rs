//! What goes wrong with servers, in the words of our users.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use hyper::StatusCode;
use leasehold_core::{Error, ErrorKind, Outcome};

use crate::http::Answer;

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Broken {
    /// No server was reached, so nothing was sent.
    NotReached(Box<dyn StdError + Send + Sync>),
    /// It did not come in time.
    TimedOut,
    /// The connection ended instead.
    Cut(Box<dyn StdError + Send + Sync>),
}

/// The whole chain of causes: the libraries' outermost words say little.
struct Causes<'a>(&'a (dyn StdError + 'static));

impl fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(cause) = source {
            write!(f, ": {cause}")?;
            source = cause.source();
        }
        Ok(())
    }
}

fn has(answer: &Answer, words: &[u8]) -> bool {
    answer.body.windows(words.len()).any(|part| part == words)
}

/// Whether the server could do nothing for want of a leader.
pub(crate) fn knows_no_leader(answer: &Answer) -> bool {
    answer.status == StatusCode::INTERNAL_SERVER_ERROR
        && (has(answer, b"No cluster leader") || has(answer, b"failed to get conn"))
}

/// The cluster has no leader; nothing has happened.
pub(crate) fn no_leader(operation: &'static str) -> Error {
    let message = "the cluster has no leader now, so nobody can lock; most of its servers must be up and see each other";
    Error::new(ErrorKind::Unavailable, operation, message)
}

/// There is no answer.
pub(crate) fn broken(operation: &'static str, broken: &Broken, timeout: Duration) -> Error {
    match broken {
        Broken::NotReached(why) => not_reached(operation, &Causes(&**why).to_string()),
        Broken::TimedOut => {
            let message = format!("the server did not answer within {timeout:?}");
            Error::new(ErrorKind::Unavailable, operation, message).with_outcome(Outcome::Unknown)
        }
        Broken::Cut(why) => {
            let said = Causes(&**why).to_string();
            if asks_for_a_certificate(&said) {
                // It has read nothing that was sent.
                return not_reached(operation, &said);
            }
            let message = format!("the connection to the server is lost ({said})");
            Error::new(ErrorKind::Unavailable, operation, message).with_outcome(Outcome::Unknown)
        }
    }
}

fn asks_for_a_certificate(said: &str) -> bool {
    said.contains("CertificateRequired") || said.contains("certificate required")
}

fn not_reached(operation: &'static str, said: &str) -> Error {
    let (kind, hint) = if asks_for_a_certificate(said) {
        (ErrorKind::InvalidInput, "the server asks for a certificate of ours; name it by `cert=` and `key=`")
    } else if said.contains("certificate") {
        (ErrorKind::InvalidInput, "name the authority that signed the server's certificate by `ca=`")
    } else if said.contains("corrupt message") || said.contains("InvalidContentType") {
        (
            ErrorKind::InvalidInput,
            "it does not speak TLS there; write `consul://`, or the port of its HTTPS API",
        )
    } else {
        (ErrorKind::Unavailable, "is it up, and is this where its HTTP API listens?")
    };
    Error::new(kind, operation, format!("cannot connect to the server: {said}; {hint}"))
}

/// The server has answered that it will not.
pub(crate) fn refused(operation: &'static str, answer: &Answer) -> Error {
    let said = String::from_utf8_lossy(&answer.body);
    let said = said.trim();
    if knows_no_leader(answer) {
        return no_leader(operation);
    }
    match answer.status {
        StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => forbidden(operation, said),
        StatusCode::TOO_MANY_REQUESTS => Error::new(
            ErrorKind::Unavailable,
            operation,
            "the server takes no more requests from this address now; raise its `limits.http_max_conns_per_client`",
        ),
        StatusCode::INTERNAL_SERVER_ERROR if said.contains("Missing node registration") => Error::new(
            ErrorKind::Unavailable,
            operation,
            "the server is not yet in its own catalog; that passes within seconds of its start",
        ),
        StatusCode::INTERNAL_SERVER_ERROR if said.contains("No path to datacenter") => Error::new(
            ErrorKind::InvalidInput,
            operation,
            "the server knows no such datacenter; check `dc=` in the engine URL",
        ),
        StatusCode::BAD_REQUEST if said.contains("HTTPS server") => Error::new(
            ErrorKind::InvalidInput,
            operation,
            "it speaks only TLS there; write `consuls://`, or the port of its HTTP API",
        ),
        status if status.is_server_error() => {
            let message = format!("the servers cannot do it now: {said}");
            Error::new(ErrorKind::Unavailable, operation, message).with_outcome(Outcome::Unknown)
        }
        status => {
            let message = format!("the server says {}: {said}", status.as_u16());
            Error::new(ErrorKind::Unexpected, operation, message).with_outcome(Outcome::Unknown)
        }
    }
}

/// The token does not allow it.
pub(crate) fn forbidden(operation: &'static str, said: &str) -> Error {
    let message = if said.contains("ACL not found") {
        "the servers do not know this token; check `token=` in the engine URL".to_owned()
    } else {
        format!(
            "this token may not do that ({said}); it needs `write` on the keys of the locks and on those that begin \
             with `.leasehold/`, behind the prefix, and on sessions: docs.md has the policy"
        )
    };
    Error::new(ErrorKind::Denied, operation, message)
}

/// The key of a lock holds something that is no lock. Nothing has been touched.
pub(crate) fn not_a_lock(operation: &'static str, key: &str) -> Error {
    Error::new(
        ErrorKind::Refused,
        operation,
        format!(
            "the key `{key}` is not a lock (its flags are not those of Consul's locks), and was left as it is; choose \
             another name, or another `prefix` or `suffix` in the engine URL"
        ),
    )
}

/// The session is not there.
pub(crate) fn lost(operation: &'static str) -> Error {
    Error::new(ErrorKind::Lost, operation, "the session has ended")
}

/// What a server has answered makes no sense to us.
pub(crate) fn odd(operation: &'static str, why: impl fmt::Display) -> Error {
    let message =
        format!("the server's answer is not one of Consul's: {why}; is this where its HTTP API listens?");
    Error::new(ErrorKind::Unexpected, operation, message).with_outcome(Outcome::Unknown)
}

/// Others were faster again and again.
pub(crate) fn restless(operation: &'static str) -> Error {
    let message = "others changed the line again and again while it was looked at";
    Error::new(ErrorKind::Unavailable, operation, message)
}

/// A token that cannot be sent; it is not shown.
pub(crate) fn odd_token() -> Error {
    Error::new(ErrorKind::InvalidInput, "engine URL", "the token has characters that no token of Consul has")
}
