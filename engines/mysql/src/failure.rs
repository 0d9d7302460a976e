//! What goes wrong with databases, in the words of our users.

use std::io;

use leasehold_core::{Error, ErrorKind, Outcome};
use mysql_async::{DriverError, Error as Cause, IoError, ServerError};

/// An error of a request, or of connecting.
pub(crate) fn request(operation: &'static str, place: &str, cause: Cause) -> Error {
    let error = match &cause {
        Cause::Server(said) => by_code(operation, said),
        _ if operation == "connect" => not_reached(&cause),
        Cause::Io(_) | Cause::Driver(DriverError::ConnectionClosed) => {
            Error::new(ErrorKind::Unavailable, operation, "the connection to the database is lost")
                .with_outcome(Outcome::Unknown)
        }
        _ => Error::new(ErrorKind::Unexpected, operation, format!("cannot speak with the database: {cause}"))
            .with_outcome(Outcome::Unknown),
    };
    error.with("database", place).with_source(cause)
}

/// No connection came about, so nothing was asked of it.
fn not_reached(cause: &Cause) -> Error {
    let (kind, hint) = match cause {
        Cause::Io(_) if is_of_tls(cause) => {
            (ErrorKind::InvalidInput, "name the authority that signed the server's certificate by `ca=`")
        }
        Cause::Driver(DriverError::NoClientSslFlagFromServer) => {
            (ErrorKind::InvalidInput, "the server has no TLS; set it up there, or write `sslmode=disable`")
        }
        Cause::Driver(
            DriverError::CleartextPluginDisabled
            | DriverError::MysqlOldPasswordDisabled
            | DriverError::UnknownAuthPlugin { .. },
        ) => (ErrorKind::Unsupported, "have the user identified by a password of the server's usual kind"),
        _ => (ErrorKind::Unavailable, "is it up, and is this where it listens?"),
    };
    Error::new(kind, "connect", format!("cannot connect to the database: {cause}; {hint}"))
}

/// The library hands on as an error of input and output what rustls says of the other's certificate.
fn is_of_tls(cause: &Cause) -> bool {
    let Cause::Io(IoError::Io(e)) = cause else { return matches!(cause, Cause::Io(IoError::Tls(_))) };
    let mut inner = Some(e);
    while let Some(e) = inner {
        let Some(within) = e.get_ref() else { return false };
        if within.is::<rustls::Error>() {
            return true;
        }
        inner = within.downcast_ref::<io::Error>();
    }
    false
}

fn by_code(operation: &'static str, said: &ServerError) -> Error {
    let message = &said.message;
    let (kind, text) = match said.code {
        1290 | 1792 | 1836 | 3906 => (
            ErrorKind::Unavailable,
            format!("the server takes no writes now ({message}): it is a replica, or set to read-only"),
        ),
        1044 | 1045 | 1130 | 1251 | 1524 | 1698 | 3118 => {
            (ErrorKind::Denied, format!("the database does not let us in: {message}"))
        }
        1142 | 1143 | 1227 | 1370 => (
            ErrorKind::Denied,
            format!(
                "this user may not do that ({message}); have whoever may run what `leasehold schema mysql` prints, and its \
                 grants for this user"
            ),
        ),
        1049 => (ErrorKind::InvalidInput, format!("there is no such database: {message}")),
        1040 | 1203 | 1226 => (
            ErrorKind::Unavailable,
            format!(
                "the database takes no more connections ({message}); raise its limit, or have fewer clients"
            ),
        ),
        1205 => return kept_by_another(operation),
        1213 | 1020 | 1614 => {
            (ErrorKind::Unavailable, format!("the database undid it for the sake of another: {message}"))
        }
        1054 | 1146 | 1305 | 1318 => (
            ErrorKind::Corrupt,
            format!(
                "the tables of the locks are gone or changed ({message}); have whoever may run what `leasehold schema mysql` \
                 prints"
            ),
        ),
        1048 | 1062 | 1264 | 1292 | 1366 | 1406 => {
            (ErrorKind::InvalidInput, format!("the database cannot keep this: {message}"))
        }
        1665 => (
            ErrorKind::InvalidInput,
            format!(
                "the server replicates statements ({message}), and leasehold needs rows: set `binlog_format` to `ROW` or \
                 `MIXED`"
            ),
        ),
        1969 | 3024 => (
            ErrorKind::Unavailable,
            "the database cancelled the request: its limit of time for a statement is too short".into(),
        ),
        1021 | 1037 | 1041 | 1114 | 1206 | 3170 => {
            (ErrorKind::Unavailable, format!("the database cannot do it now: {message}"))
        }
        _ if ends_the_session(said.code) => {
            (ErrorKind::Unavailable, format!("the database ended the connection: {message}"))
        }
        code => (ErrorKind::Unexpected, format!("the database says: {message} ({code})")),
    };
    // Whatever a statement fails with, its transaction is undone; a session may be ended behind its commit.
    let unknown = ends_the_session(said.code) && operation != "connect";
    let outcome = if unknown { Outcome::Unknown } else { Outcome::NotApplied };
    Error::new(kind, operation, text).with_outcome(outcome)
}

fn kept_by_another(operation: &'static str) -> Error {
    let text =
        "another transaction keeps a row of `distributed_locks` locked; look for one that has been left open";
    Error::new(ErrorKind::Unavailable, operation, text)
}

/// A row that somebody has in hand for longer than we wait.
pub(crate) fn kept(place: &str) -> Error {
    kept_by_another("request").with("database", place)
}

/// The server shuts down, or the session or its statement was killed.
fn ends_the_session(code: u16) -> bool {
    matches!(code, 1053 | 1077 | 1079 | 1080 | 1152..=1161 | 1184 | 1317 | 1927 | 3169 | 4031)
}

fn code(cause: &Cause) -> Option<u16> {
    match cause {
        Cause::Server(said) => Some(said.code),
        _ => None,
    }
}

/// Whether a request of many failed for what only some of them may have done: each is to be asked for alone.
pub(crate) fn is_of_one(cause: &Cause) -> bool {
    is_passing(cause) || matches!(code(cause), Some(1205 | 1048 | 1062 | 1206 | 1264 | 1292 | 1366 | 1406))
}

/// Whether the same request may succeed when it is made again at once.
pub(crate) fn is_passing(cause: &Cause) -> bool {
    matches!(code(cause), Some(1213 | 1020 | 1614))
}

/// Whether the connection that this came over is of no more use: it is broken, or its server takes no writes any more.
pub(crate) fn is_of_the_connection(cause: &Cause) -> bool {
    code(cause).is_none_or(|code| ends_the_session(code) || matches!(code, 1290 | 1792 | 1836 | 3906))
}

/// No answer in time.
pub(crate) fn late(operation: &'static str, place: &str) -> Error {
    let outcome = if operation == "connect" { Outcome::NotApplied } else { Outcome::Unknown };
    Error::new(ErrorKind::Unavailable, operation, "the database did not answer in time")
        .with_outcome(outcome)
        .with("database", place)
}
