//! Files: replaced as a whole, with the marks beside them, under an advisory lock.
//!
//! ```no_run
//! # fn example(guard: &leasehold_core::Guard) -> Result<(), Box<dyn std::error::Error>> {
//! let fence = leasehold_fence::file::Fence::beside("/srv/report.json")?;
//! let report = fence.enter(guard)?; // raises
//! let old = report.read()?;
//! report.write(b"{}")?;
//! # Ok(()) }
//! ```
//! Beside `report.json` there are `.report.json.marks`, which is read and replaced as the file itself is, and
//! `.report.json.lock`, which is empty, locked for the time of each access, and must not be removed. A process may be
//! killed at any step, and the machine may lose power: what was answered is there, and a mark never falls. All of it
//! blocks; in async code call it where blocking is allowed.
//!
//! # What it costs
//! A write flushes twice (the file, then its folder), as every atomic write does; a holder's first access flushes the
//! marks as well.
//!
//! # What it cannot see
//! * Programs that write the file without asking.
//! * Network file systems on which advisory locks do not reach other machines.
//! * A file that is restored from a backup without its marks: restore both.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::{Error, Marks, Sequencer};

/// The fence of one file.
#[derive(Clone, Debug)]
pub struct Fence {
    file: PathBuf,
    folder: PathBuf,
    marks: PathBuf,
    lock: PathBuf,
    /// What is written before it takes its place. One is enough: it is written under the lock only.
    draft: PathBuf,
}

/// A file, entered: read and write through it.
#[derive(Debug)]
pub struct Entered<'f> {
    fence: &'f Fence,
    who: Sequencer,
}

impl Fence {
    /// The fence of the file at `path`, which need not exist yet; its folder must.
    ///
    /// # Errors
    /// If the path has no file name, or its folder is not there.
    pub fn beside(path: impl AsRef<Path>) -> io::Result<Self> {
        // What a link points to is what is replaced, not the link.
        let path = match fs::canonicalize(&path) {
            Ok(path) => path,
            Err(error) if error.kind() == io::ErrorKind::NotFound => std::path::absolute(path)?,
            Err(error) => return Err(error),
        };
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            let why = format!("{} has no file name; fence a file in a folder", path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        };
        if !folder.is_dir() {
            let why = format!("{} is no folder; create it first", folder.display());
            return Err(io::Error::new(io::ErrorKind::NotFound, why));
        }
        let beside = |ending: &str| {
            let mut hidden = std::ffi::OsString::from(".");
            hidden.push(name);
            hidden.push(ending);
            folder.join(hidden)
        };
        Ok(Self {
            marks: beside(".marks"),
            lock: beside(".lock"),
            draft: beside(".draft"),
            folder: folder.to_owned(),
            file: path,
        })
    }

    /// Raises the mark. Read and write through what it returns.
    ///
    /// # Errors
    /// [`Error::Stale`] if a later holder has been there; else whatever the file system says.
    pub fn enter(&self, who: impl Into<Sequencer>) -> Result<Entered<'_>, Error<io::Error>> {
        let entered = Entered { fence: self, who: who.into() };
        drop(entered.admitted()?);
        Ok(entered)
    }

    /// What has been seen.
    ///
    /// # Errors
    /// Whatever the file system says; `InvalidData` if the marks are not ours.
    pub fn marks(&self) -> io::Result<Marks> {
        let text = match fs::read_to_string(&self.marks) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Marks::default()),
            Err(error) => return Err(error),
        };
        let numbers = text.trim_end().split_once(' ');
        let marks = numbers
            .and_then(|(exclusive, shared)| Some(Marks::new(exclusive.parse().ok()?, shared.parse().ok()?)));
        marks.ok_or_else(|| {
            let why =
                format!("{} does not hold the marks of a fence; it was not touched", self.marks.display());
            io::Error::new(io::ErrorKind::InvalidData, why)
        })
    }

    /// Puts `content` in the place of what is at `path`, so that there is always the old or the new, all of it.
    fn replace(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let mut draft = File::create(&self.draft)?;
        if let Ok(old) = fs::metadata(path) {
            draft.set_permissions(old.permissions())?;
        }
        draft.write_all(content)?;
        draft.sync_all()?;
        fs::rename(&self.draft, path)?;
        File::open(&self.folder)?.sync_all()
    }
}

impl Entered<'_> {
    /// What the file holds; `None` if it is not there.
    ///
    /// # Errors
    /// [`Error::Stale`] if a later holder has been there; else whatever the file system says.
    pub fn read(&self) -> Result<Option<Vec<u8>>, Error<io::Error>> {
        let _turn = self.admitted()?;
        match fs::read(&self.fence.file) {
            Ok(content) => Ok(Some(content)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::Storage(error)),
        }
    }

    /// Replaces the file. It is on disk when this returns.
    ///
    /// # Errors
    /// [`Error::Stale`] if a later holder has been there; else whatever the file system says, and then the file is the
    /// old or the new one.
    pub fn write(&self, content: &[u8]) -> Result<(), Error<io::Error>> {
        let _turn = self.admitted()?;
        self.fence.replace(&self.fence.file, content).map_err(Error::Storage)
    }

    /// Takes a turn at the file, which ends when what is returned is dropped, and raises the mark in it.
    fn admitted(&self) -> Result<File, Error<io::Error>> {
        let turn = self.turn().map_err(Error::Storage)?;
        let before = self.fence.marks().map_err(Error::Storage)?;
        let mut marks = before;
        marks.admit(self.who.mode(), self.who.token())?;
        if marks != before {
            let text = format!("{} {}\n", marks.exclusive(), marks.shared());
            self.fence.replace(&self.fence.marks, text.as_bytes()).map_err(Error::Storage)?;
        }
        Ok(turn)
    }

    fn turn(&self) -> io::Result<File> {
        let turn = OpenOptions::new().create(true).truncate(false).write(true).open(&self.fence.lock)?;
        turn.lock()?;
        Ok(turn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(token: u64) -> Sequencer {
        format!("exclusive:{token}:x").parse().unwrap()
    }

    #[test]
    fn the_old_holder_is_refused_and_the_file_is_the_new_ones() {
        let folder = leasehold_testkit::scratch().unwrap();
        let fence = Fence::beside(folder.path().join("value")).unwrap();
        let old = fence.enter(who(1)).unwrap();
        assert_eq!(old.read().unwrap(), None);
        let new = fence.enter(who(2)).unwrap();
        assert_eq!(old.write(b"late").unwrap_err().stale().unwrap().seen, 2);
        new.write(b"new").unwrap();
        assert_eq!(new.read().unwrap().unwrap(), b"new");
        assert!(fence.enter(who(1)).is_err());
    }

    #[test]
    fn what_is_not_ours_is_not_touched() {
        let folder = leasehold_testkit::scratch().unwrap();
        let fence = Fence::beside(folder.path().join("value")).unwrap();
        fs::write(folder.path().join(".value.marks"), "something").unwrap();
        let error = fence.enter(who(1)).unwrap_err();
        assert!(error.to_string().contains("does not hold the marks of a fence"), "{error}");
        assert_eq!(fs::read(folder.path().join(".value.marks")).unwrap(), b"something");
    }

    #[test]
    fn permissions_and_links_stay() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let folder = leasehold_testkit::scratch().unwrap();
        let (file, link) = (folder.path().join("value"), folder.path().join("link"));
        fs::write(&file, "old").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        symlink(&file, &link).unwrap();
        let fence = Fence::beside(&link).unwrap();
        fence.enter(who(1)).unwrap().write(b"new").unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"new");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
    }

    #[test]
    fn a_path_that_cannot_be_fenced_says_why() {
        assert!(Fence::beside("/").unwrap_err().to_string().contains("no file name"));
        assert!(Fence::beside("/no/such/folder/x").unwrap_err().to_string().contains("create it first"));
    }
}
