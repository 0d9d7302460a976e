//! What the tests of all crates share about processes: workers that talk in lines, can be killed and paused, and
//! never outlive the test that started them.

mod worker;

use std::io;

pub use tempfile::TempDir;
pub use worker::{Ended, Worker, die_with_parent};

/// A directory of its own for one test, in the system's place for temporary files; removed when dropped.
///
/// # Errors
/// Whatever the file system says.
pub fn scratch() -> io::Result<TempDir> {
    tempfile::Builder::new().prefix("leasehold-").tempdir()
}
