//! Locked files, as flock(1) has them: one file a name. The kernel keeps the queue; it ends with the process.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use leasehold_core::{Error, ErrorKind, Result};

use crate::entrant::{Locker, Seat};

/// Lock files in a folder.
#[derive(Debug)]
pub(super) struct Files {
    place: PathBuf,
}

impl Files {
    pub(super) fn new(place: &Path) -> Self {
        Self { place: place.to_owned() }
    }
}

fn refused(error: io::Error) -> Error {
    Error::new(ErrorKind::Unexpected, "peer", "a lock file failed").with_source(error)
}

impl Locker for Files {
    type Seat = FileSeat;

    async fn seat(&self, name: &str) -> Result<FileSeat> {
        let path = self.place.join(format!("{}.lock", name.replace('/', "-")));
        // Every seat opens the file for itself: the lock belongs to what is opened.
        let file = File::options().create(true).append(true).open(path).map_err(refused)?;
        Ok(FileSeat { file: Arc::new(file) })
    }

    fn requests(&self) -> Option<u64> {
        None
    }
}

/// One task's open lock file.
#[derive(Debug)]
pub(super) struct FileSeat {
    file: Arc<File>,
}

impl Seat for FileSeat {
    async fn acquire(&mut self) -> Result<()> {
        match self.file.try_lock() {
            Ok(()) => Ok(()),
            Err(TryLockError::Error(error)) => Err(refused(error)),
            Err(TryLockError::WouldBlock) => {
                let file = Arc::clone(&self.file);
                let waited = tokio::task::spawn_blocking(move || file.lock()).await;
                waited.unwrap_or_else(|broken| Err(io::Error::other(broken))).map_err(refused)
            }
        }
    }

    async fn release(&mut self) -> Result<()> {
        self.file.unlock().map_err(refused)
    }
}
