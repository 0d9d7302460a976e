//! What goes wrong with databases, in the words of our users.

use leasehold_core::{Error, ErrorKind, Outcome};
use tokio_postgres::error::SqlState;

/// Marks an error of ours in `leasehold_work`: the isolation level is not the one that it needs.
const WRONG_ISOLATION: &str = "LH001";

/// An error of a request, or of connecting.
pub(crate) fn request(operation: &'static str, place: &str, cause: tokio_postgres::Error) -> Error {
    let error = match cause.as_db_error() {
        Some(said) => by_state(operation, said),
        None if operation == "connect" => not_reached(&cause),
        None if cause.is_closed() || is_io(&cause) => {
            Error::new(ErrorKind::Unavailable, operation, "the connection to the database is lost")
                .with_outcome(Outcome::Unknown)
        }
        None => {
            Error::new(ErrorKind::Unexpected, operation, format!("cannot speak with the database: {cause}"))
                .with_outcome(Outcome::Unknown)
        }
    };
    error.with("database", place).with_source(cause)
}

fn is_io(cause: &tokio_postgres::Error) -> bool {
    std::error::Error::source(cause).is_some_and(|source| source.is::<std::io::Error>())
}

/// No connection came about, so nothing was sent.
fn not_reached(cause: &tokio_postgres::Error) -> Error {
    let mut said = cause.to_string();
    let mut source = std::error::Error::source(cause);
    while let Some(deeper) = source {
        said = format!("{said}: {deeper}");
        source = deeper.source();
    }
    let (kind, hint) = if said.contains("certificate") {
        (ErrorKind::InvalidInput, "name the authority that signed the server's certificate by `ca=`")
    } else if said.contains("does not support TLS") {
        (ErrorKind::InvalidInput, "the server has no TLS; set it up there, or write `sslmode=disable`")
    } else if said.contains("password") {
        (ErrorKind::Denied, "write `USER:PASSWORD@` before its address")
    } else {
        (ErrorKind::Unavailable, "is it up, and is this where it listens?")
    };
    Error::new(kind, "connect", format!("cannot connect to the database: {said}; {hint}"))
}

fn by_state(operation: &'static str, said: &tokio_postgres::error::DbError) -> Error {
    let state = said.code();
    let message = said.message();
    let class = &state.code()[..2];
    let (kind, text) = if *state == SqlState::READ_ONLY_SQL_TRANSACTION {
        (
            ErrorKind::Unavailable,
            "the server is a standby now, or read-only; the next request looks for the primary".into(),
        )
    } else if *state == SqlState::INSUFFICIENT_PRIVILEGE {
        let text = format!(
            "this user may not do that ({message}); have whoever may run what `leasehold schema postgres` prints, and its \
             grants for this user"
        );
        (ErrorKind::Denied, text)
    } else if *state == SqlState::QUERY_CANCELED {
        let text = "the database cancelled the request: its `statement_timeout` is too short for it, or somebody did so";
        (ErrorKind::Unavailable, text.into())
    } else if *state == SqlState::LOCK_NOT_AVAILABLE {
        let text = "another transaction keeps a row of `distributed_locks` locked; look for one that has been left open";
        (ErrorKind::Unavailable, text.into())
    } else if *state == SqlState::TOO_MANY_CONNECTIONS {
        let text = format!(
            "the database takes no more connections ({message}); raise its limit, or have fewer clients"
        );
        (ErrorKind::Unavailable, text)
    } else if matches!(class, "40" | "53" | "57") {
        (ErrorKind::Unavailable, format!("the database cannot do it now: {message}"))
    } else if state.code() == WRONG_ISOLATION {
        let text = "the pooler before the database hands out transactions that are not `read committed`; set \
                    `default_transaction_isolation` to that for this user";
        (ErrorKind::InvalidInput, text.into())
    } else if class == "28" {
        (ErrorKind::Denied, format!("the database does not let us in: {message}"))
    } else if class == "3D" {
        (ErrorKind::InvalidInput, format!("there is no such database: {message}"))
    } else if matches!(class, "22" | "23") {
        (ErrorKind::InvalidInput, format!("the database cannot keep this: {message}"))
    } else if matches!(
        *state,
        SqlState::UNDEFINED_FUNCTION | SqlState::UNDEFINED_TABLE | SqlState::UNDEFINED_COLUMN
    ) {
        let text = format!(
            "the tables of the locks are gone or changed ({message}); have whoever may run what `leasehold schema postgres` \
             prints"
        );
        (ErrorKind::Corrupt, text)
    } else {
        (ErrorKind::Unexpected, format!("the database says: {message} ({})", state.code()))
    };
    // Whatever a statement fails with, its transaction is undone; a session may be ended behind its commit.
    let ended = said.parsed_severity().is_some_and(|severity| {
        use tokio_postgres::error::Severity::{Fatal, Panic};
        matches!(severity, Fatal | Panic)
    });
    let outcome = if ended && operation != "connect" { Outcome::Unknown } else { Outcome::NotApplied };
    Error::new(kind, operation, text).with_outcome(outcome)
}

/// Whether a request of many failed for what only some of them may have done: each is to be asked for alone.
pub(crate) fn is_of_one(cause: &tokio_postgres::Error) -> bool {
    cause.code().is_some_and(|state| matches!(&state.code()[..2], "22" | "23" | "40" | "53" | "54" | "55"))
}

/// Whether the same request may succeed when it is made again at once.
pub(crate) fn is_passing(cause: &tokio_postgres::Error) -> bool {
    cause.code().is_some_and(|state| &state.code()[..2] == "40")
}

/// Whether the server was asked to cancel what this was about.
pub(crate) fn is_cancelled(cause: &tokio_postgres::Error) -> bool {
    cause.code().is_some_and(|state| *state == SqlState::QUERY_CANCELED)
}

/// Whether the connection that this came over is of no more use: the server is not the primary any more.
pub(crate) fn is_of_the_server(cause: &tokio_postgres::Error) -> bool {
    cause
        .code()
        .is_none_or(|state| *state == SqlState::READ_ONLY_SQL_TRANSACTION || &state.code()[..2] == "57")
}

/// No answer in time.
pub(crate) fn late(operation: &'static str, place: &str) -> Error {
    let outcome = if operation == "connect" { Outcome::NotApplied } else { Outcome::Unknown };
    Error::new(ErrorKind::Unavailable, operation, "the database did not answer in time")
        .with_outcome(outcome)
        .with("database", place)
}
