//! What goes wrong with files, in the words of our users.

use std::path::Path;

use leasehold_core::{Error, ErrorKind};
use rusqlite::ErrorCode;

/// An error of SQLite about this database. Nothing of the request has been applied.
pub(crate) fn sqlite(operation: &'static str, path: &Path, cause: rusqlite::Error) -> Error {
    let (kind, message) = match cause.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => return not_ours(operation, path, "it is not a SQLite database"),
        Some(ErrorCode::DatabaseCorrupt) => return damaged(operation, path).with_source(cause),
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => {
            return denied(operation, path).with_source(cause);
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => return busy(operation, path),
        Some(ErrorCode::DiskFull) => {
            (ErrorKind::Unavailable, "the disk of the database is full; make room".into())
        }
        Some(_) => (ErrorKind::Unavailable, format!("the database does not answer: {cause}")),
        // A value that does not fit its column's meaning.
        None => return damaged(operation, path).with_source(cause),
    };
    Error::new(kind, operation, message).with("database", path.display()).with_source(cause)
}

/// An error of the file system about a file of ours.
pub(crate) fn file(operation: &'static str, path: &Path, cause: std::io::Error) -> Error {
    use std::io::ErrorKind as Io;
    match cause.kind() {
        Io::PermissionDenied | Io::ReadOnlyFilesystem | Io::NotFound | Io::NotADirectory => {
            denied(operation, path)
        }
        Io::StorageFull => {
            Error::new(ErrorKind::Unavailable, operation, "the disk of the database is full; make room")
                .with("file", path.display())
        }
        _ => Error::new(
            ErrorKind::Unavailable,
            operation,
            format!("cannot use the files of the locks: {cause}"),
        )
        .with("file", path.display()),
    }
    .with_source(cause)
}

pub(crate) fn denied(operation: &'static str, path: &Path) -> Error {
    Error::new(
        ErrorKind::Denied,
        operation,
        "this user cannot read and write the database or make files in its folder; grant that on both, or name \
         another file",
    )
    .with("file", path.display())
}

pub(crate) fn not_ours(operation: &'static str, path: &Path, why: &str) -> Error {
    Error::new(
        ErrorKind::Corrupt,
        operation,
        format!("the file is no database of leasehold ({why}) and was left as it is; name another file, or move this one away"),
    )
    .with("file", path.display())
}

pub(crate) fn damaged(operation: &'static str, path: &Path) -> Error {
    Error::new(
        ErrorKind::Corrupt,
        operation,
        "the database is damaged and was left as it is; stop all its users and move it away together with its \
         `-wal` and `-shm` files: a new one is made, and its fencing tokens are above the old ones as long as the \
         wall clock has not been set back",
    )
    .with("file", path.display())
}

pub(crate) fn busy(operation: &'static str, path: &Path) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        operation,
        "another process keeps the database locked; look for one that is stopped (state T in `ps`) or for a \
         `sqlite3` shell in a transaction",
    )
    .with("database", path.display())
}
