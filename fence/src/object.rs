//! Objects: the marks are the first line of the object, and every write is conditional on what was read.
//!
//! ```no_run
//! # async fn example(guard: &leasehold_core::Guard, store: std::sync::Arc<dyn object_store::ObjectStore>) -> Result<(), Box<dyn std::error::Error>> {
//! let mut report = leasehold_fence::object::enter(guard, store, "report.json").await?; // raises
//! let old = report.read().await?;
//! report.write("{}").await?;
//! # Ok(()) }
//! ```
//! For stores that can put an object only if it is still the version that was read: S3 and what is compatible with it,
//! Google Cloud Storage, Azure, and the one in memory. [`object_store`]'s local files can when they are wrapped in a
//! `Local` (feature `object_store_local`). Another writer in between is met by reading again.
//!
//! The marks are in the object, `leasehold-fence 34 0` and a line feed before what was written, and not in its metadata:
//! S3 tells versions apart by a hash of the content, and would not notice that metadata has changed. Programs that read
//! without this module skip that line. An object that does not begin so is one that nobody has entered yet.
//!
//! # What it costs
//! Raising the mark reads the object and writes it again, for a store has no other way to change it under a condition;
//! so a holder costs two writes of the whole object. A further write is one conditional put.
//!
//! # What it cannot see
//! Programs that write without asking, and versions that somebody brings back.

#[cfg(feature = "object_store_local")]
mod local;

use std::sync::Arc;

use bytes::Bytes;
#[cfg(feature = "object_store_local")]
pub use local::Local;
use object_store::path::Path;
use object_store::{
    Attributes, Error as StoreError, GetOptions, ObjectStore, PutMode, PutOptions, PutPayload, UpdateVersion,
};

use crate::{Error, Marks, Sequencer};

/// What the first line begins with.
const MAGIC: &str = "leasehold-fence ";
/// What it ends with if somebody has entered, and nobody has written yet.
const ABSENT: &str = " absent";

/// An object, entered: read and write through it.
#[derive(Debug)]
pub struct Entered {
    store: Arc<dyn ObjectStore>,
    path: Path,
    who: Sequencer,
    seen: Object,
}

/// An object as it was read.
#[derive(Debug)]
struct Object {
    marks: Marks,
    content: Option<Bytes>,
    attributes: Attributes,
    /// None: it is not there at all.
    version: Option<UpdateVersion>,
}

/// Raises the mark at `path`, which need not hold an object yet. Read and write through what it returns.
///
/// # Errors
/// [`Error::Stale`] if a later holder has been there; else what the store says, and then the outcome may be unknown.
///
/// # Cancel safety
/// Dropped on the way, the mark may or may not be raised, which harms nobody but earlier holders.
pub async fn enter(
    who: impl Into<Sequencer>,
    store: Arc<dyn ObjectStore>,
    path: impl Into<Path>,
) -> Result<Entered, Error<StoreError>> {
    let (who, path) = (who.into(), path.into());
    let seen = Object::get(&*store, &path).await.map_err(Error::Storage)?;
    let mut entered = Entered { store, path, who, seen };
    entered.put(None).await?;
    Ok(entered)
}

impl Entered {
    /// What the object holds; `None` if nobody has written it.
    ///
    /// # Errors
    /// [`Error::Stale`] if a later holder has been there; else what the store says.
    ///
    /// # Cancel safety
    /// Changes nothing.
    pub async fn read(&mut self) -> Result<Option<Bytes>, Error<StoreError>> {
        self.look().await?;
        Ok(self.seen.content.clone())
    }

    /// Replaces the object.
    ///
    /// # Errors
    /// [`Error::Stale`] if a later holder has been there; else what the store says, and then the outcome may be unknown.
    ///
    /// # Cancel safety
    /// Dropped on the way, it may or may not be written.
    pub async fn write(&mut self, content: impl Into<Bytes>) -> Result<(), Error<StoreError>> {
        self.put(Some(content.into())).await
    }

    async fn look(&mut self) -> Result<(), Error<StoreError>> {
        self.seen = Object::get(&*self.store, &self.path).await.map_err(Error::Storage)?;
        self.seen.marks.admit(self.who.mode(), self.who.token())?;
        Ok(())
    }

    /// Puts what is new, or else what is there, if nobody has changed it since it was seen; else looks again, and tries
    /// again if it may.
    async fn put(&mut self, new: Option<Bytes>) -> Result<(), Error<StoreError>> {
        loop {
            self.seen.marks.admit(self.who.mode(), self.who.token())?;
            let content = new.clone().or_else(|| self.seen.content.clone());
            match self.seen.put(&*self.store, &self.path, content).await {
                Ok(()) => return Ok(()),
                Err(StoreError::Precondition { .. } | StoreError::AlreadyExists { .. }) => {
                    self.look().await?
                }
                Err(error) => return Err(Error::Storage(error)),
            }
        }
    }
}

impl Object {
    async fn get(store: &dyn ObjectStore, path: &Path) -> Result<Self, StoreError> {
        let found = match store.get_opts(path, GetOptions::default()).await {
            Ok(found) => found,
            Err(StoreError::NotFound { .. }) => {
                let attributes = Attributes::default();
                return Ok(Self { marks: Marks::default(), content: None, attributes, version: None });
            }
            Err(error) => return Err(error),
        };
        let version = UpdateVersion { e_tag: found.meta.e_tag.clone(), version: found.meta.version.clone() };
        let attributes = found.attributes.clone();
        let (marks, content) = open(found.bytes().await?)?;
        Ok(Self { marks, content, attributes, version: Some(version) })
    }

    /// Writes its marks with this content, if it is still there as it was.
    async fn put(
        &mut self,
        store: &dyn ObjectStore,
        path: &Path,
        content: Option<Bytes>,
    ) -> Result<(), StoreError> {
        let mode = self.version.clone().map_or(PutMode::Create, PutMode::Update);
        let options = PutOptions { mode, attributes: self.attributes.clone(), ..PutOptions::default() };
        let put = store.put_opts(path, close(self.marks, content.as_ref()), options).await?;
        self.version = Some(UpdateVersion { e_tag: put.e_tag, version: put.version });
        self.content = content;
        Ok(())
    }
}

/// An object as it is stored.
fn close(marks: Marks, content: Option<&Bytes>) -> PutPayload {
    let absent = if content.is_none() { ABSENT } else { "" };
    let line = format!("{MAGIC}{} {}{absent}\n", marks.exclusive(), marks.shared());
    [Bytes::from(line)].into_iter().chain(content.cloned()).collect()
}

/// What is stored, as marks and content.
fn open(stored: Bytes) -> Result<(Marks, Option<Bytes>), StoreError> {
    if !stored.starts_with(MAGIC.as_bytes()) {
        return Ok((Marks::default(), Some(stored)));
    }
    let parse = || {
        let end = stored.iter().position(|&byte| byte == b'\n')?;
        let line = std::str::from_utf8(&stored[MAGIC.len()..end]).ok()?;
        let (numbers, absent) = line.strip_suffix(ABSENT).map_or((line, false), |numbers| (numbers, true));
        let (exclusive, shared) = numbers.split_once(' ')?;
        let marks = Marks::new(exclusive.parse().ok()?, shared.parse().ok()?);
        Some((marks, (!absent).then(|| stored.slice(end + 1..))))
    };
    parse().ok_or_else(|| StoreError::Generic {
        store: "leasehold-fence",
        source: "the object begins as one with marks, and has none; it was not touched".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_can_be_read() {
        for content in [
            None,
            Some(Bytes::new()),
            Some(Bytes::from_static(b"a\nb")),
            Some(Bytes::from_static(b" absent\n")),
        ] {
            let stored: Vec<u8> = close(Marks::new(34, 7), content.as_ref()).into_iter().flatten().collect();
            assert_eq!(open(stored.into()).unwrap(), (Marks::new(34, 7), content));
        }
        let plain = Bytes::from_static(b"nobody has entered");
        assert_eq!(open(plain.clone()).unwrap(), (Marks::default(), Some(plain)));
        for bad in ["leasehold-fence ", "leasehold-fence 1\n", "leasehold-fence 1 x\n"] {
            open(Bytes::from_static(bad.as_bytes())).unwrap_err();
        }
    }
}
