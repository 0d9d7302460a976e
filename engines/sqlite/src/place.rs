//! The database file and what lies beside it: names, permissions, and whether the file is still the same.
//!
//! The permission bits of the folder say who shares the locks: every file gets them, without the x bits. So a
//! folder of mode 0770 is for a group and one of 1777 for everybody, whatever the umasks of the users.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use leasehold_core::{Error, ErrorKind, Result};

use crate::config::Config;
use crate::{failure, filesystem};

/// Where the database of an engine is.
#[derive(Debug)]
pub(crate) struct Place {
    /// The database file, all links resolved: everybody must find the same files beside it.
    pub path: PathBuf,
    /// The folder of what belongs to living processes.
    pub peers: PathBuf,
    /// The permission bits of the folder.
    mode: u32,
}

/// Which file it is, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    device: u64,
    inode: u64,
}

impl Place {
    /// Finds the place and makes the folder beside the database.
    pub(crate) fn prepare(config: &Config) -> Result<Self> {
        let folder = match config.path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let Some(name) = config.path.file_name() else {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "open",
                "the path of the database names no file",
            )
            .with("path", config.path.display()));
        };
        if config.makes_folder() {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
            made.map_err(|e| failure::file("open", folder, e))?;
        }
        filesystem::check(folder)?;
        let path = fs::canonicalize(&config.path)
            .or_else(|_| fs::canonicalize(folder).map(|folder| folder.join(name)))
            .map_err(|e| failure::file("open", folder, e))?;
        // A link may have led elsewhere.
        let folder = path.parent().unwrap_or(Path::new("/"));
        filesystem::check(folder)?;
        let mode = fs::metadata(folder).map_err(|e| failure::file("open", folder, e))?.mode() & 0o7777;
        let mut peers = path.clone().into_os_string();
        peers.push("-peers");
        let place = Self { path, peers: peers.into(), mode };
        place.make_peers().map_err(|e| failure::file("open", &place.peers, e))?;
        Ok(place)
    }

    /// Makes the folder beside the database if it is missing.
    pub(crate) fn make_peers(&self) -> io::Result<()> {
        match DirBuilder::new().mode(0o700).create(&self.peers) {
            Ok(()) => fs::set_permissions(&self.peers, Permissions::from_mode(self.mode)),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// Gives a file of ours the permissions that its users need.
    pub(crate) fn share(&self, path: &Path) -> io::Result<()> {
        fs::set_permissions(path, Permissions::from_mode(self.mode & 0o666))
    }

    /// Opens a file beside the database, making it if it is missing.
    pub(crate) fn open_beside(&self, name: &str) -> io::Result<File> {
        let path = self.peers.join(name);
        let open = || OpenOptions::new().read(true).write(true).open(&path);
        match OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path) {
            Ok(file) => self.share(&path).map(|()| file),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => open(),
            Err(e) => Err(e),
        }
    }

    /// Which file stands under the database's name now; `None` if there is none.
    pub(crate) fn identity(&self) -> io::Result<Option<Identity>> {
        identity(&self.path)
    }

    /// The write-ahead log or its index.
    pub(crate) fn companion(&self, suffix: &str) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(suffix);
        path.into()
    }
}

/// Which file stands under a name; `None` if there is none.
pub(crate) fn identity(path: &Path) -> io::Result<Option<Identity>> {
    match std::fs::metadata(path) {
        Ok(there) => Ok(Some(Identity { device: there.dev(), inode: there.ino() })),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}
