//! Objects: the marks are metadata of the object, and every write is conditional on what was read.
//!
//! ```no_run
//! # async fn example(guard: &leasehold_core::Guard, store: std::sync::Arc<dyn object_store::ObjectStore>) -> Result<(), Box<dyn std::error::Error>> {
//! let mut report = leasehold_fence::object::enter(guard, store, "report.json").await?; // raises
//! let old = report.read().await?;
//! report.write("{}").await?;
//! # Ok(()) }
//! ```
//! For stores that can put an object only if it is still the version that was read, and keep metadata with it: S3 and
//! what is compatible with it, Google Cloud Storage, Azure, and the one in memory. [`object_store`]'s local files can
//! do neither: use [`file`](crate::file) there. Another writer in between is met by reading again.
//!
//! # What it costs
//! Raising the mark reads the object and writes it again, for a store has no other way to change it under a condition;
//! so a holder costs two writes of the whole object. A write alone is one conditional put, after the first.
//!
//! # What it cannot see
//! Programs that write without asking, also those that remove the metadata; and versions that a bucket brings back.

use std::sync::Arc;

use bytes::Bytes;
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, Error as StoreError, GetOptions, ObjectStore, PutMode, PutOptions, PutPayload,
    UpdateVersion,
};

use crate::{Error, Marks, Sequencer};

/// Where the two registers are.
const EXCLUSIVE: &str = "leasehold-exclusive";
const SHARED: &str = "leasehold-shared";
/// There since somebody entered, and not written yet.
const ABSENT: &str = "leasehold-absent";

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
        let mut attributes = found.attributes.clone();
        let mut take = |name: &'static str| attributes.remove(&Attribute::Metadata(name.into()));
        let number = |value: Option<object_store::AttributeValue>| {
            value
                .map_or(Ok(0), |value| value.parse::<u64>())
                .map_err(|source| StoreError::Generic { store: "leasehold-fence", source: Box::new(source) })
        };
        let marks = Marks::new(number(take(EXCLUSIVE))?, number(take(SHARED))?);
        let absent = take(ABSENT).is_some();
        let content = found.bytes().await?;
        Ok(Self { marks, content: (!absent).then_some(content), attributes, version: Some(version) })
    }

    /// Writes its marks with this content, if it is still there as it was.
    async fn put(
        &mut self,
        store: &dyn ObjectStore,
        path: &Path,
        content: Option<Bytes>,
    ) -> Result<(), StoreError> {
        let mut attributes = self.attributes.clone();
        for (name, number) in [(EXCLUSIVE, self.marks.exclusive()), (SHARED, self.marks.shared())] {
            attributes.insert(Attribute::Metadata(name.into()), number.to_string().into());
        }
        if content.is_none() {
            attributes.insert(Attribute::Metadata(ABSENT.into()), "yes".into());
        }
        let mode = self.version.clone().map_or(PutMode::Create, PutMode::Update);
        let payload = PutPayload::from(content.clone().unwrap_or_default());
        let put =
            store.put_opts(path, payload, PutOptions { mode, attributes, ..PutOptions::default() }).await?;
        self.version = Some(UpdateVersion { e_tag: put.e_tag, version: put.version });
        self.content = content;
        Ok(())
    }
}
