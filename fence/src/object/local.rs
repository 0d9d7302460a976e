//! Local files as a store that can put under a condition.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::ops::Range;
use std::path::PathBuf;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result,
};

/// [`LocalFileSystem`] that can also put an object only if it is still the version that was read ([`PutMode::Update`]), among
/// all processes that use it through this.
///
/// Beside `report.json` there is `report.json#0`, a name that the library keeps to itself and does not list. It is locked, as
/// [`file`](crate::file) does, while an object is put, and counts the puts: times and inodes of files come again too soon.
///
/// # What it costs
/// A put waits for the other puts of its object, looks at the file and writes the counter, which is never flushed; a read
/// reads the counter too.
///
/// # What it cannot see
/// * Programs that change a file without it between a check and its put, and copies, renames and deletes: those go straight
///   to the files.
/// * Network file systems on which advisory locks do not reach other machines.
#[derive(Clone, Debug)]
pub struct Local {
    files: LocalFileSystem,
}

/// A turn at one object, among the processes that ask for one. It ends when it is dropped.
struct Turn {
    counter: File,
    puts: u64,
}

impl Local {
    /// On these files. [`with_fsync`](LocalFileSystem::with_fsync) has them survive a loss of power.
    pub fn new(files: LocalFileSystem) -> Self {
        Self { files }
    }

    fn counter(&self, location: &Path) -> Result<PathBuf> {
        let mut path = self.files.path_to_filesystem(location)?.into_os_string();
        path.push("#0");
        Ok(path.into())
    }

    /// The version that is there when nobody puts.
    async fn version(&self, location: &Path) -> Result<String> {
        let path = self.counter(location)?;
        blocking(move || {
            let counter = match File::open(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0.to_string()),
                opened => opened?,
            };
            counter.lock_shared()?;
            Ok(Turn::at(counter)?.version())
        })
        .await
    }

    async fn turn_to_put(&self, location: &Path) -> Result<Turn> {
        let path = self.counter(location)?;
        blocking(move || {
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            let counter =
                OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path)?;
            counter.lock()?;
            Turn::at(counter)
        })
        .await
    }

    async fn put_in_turn(
        &self,
        location: &Path,
        payload: PutPayload,
        mut options: PutOptions,
    ) -> Result<PutResult> {
        let mut turn = self.turn_to_put(location).await?;
        let now = match self.files.head(location).await {
            Err(Error::NotFound { .. }) => None,
            found => Some(found?),
        };
        match &options.mode {
            PutMode::Create if now.is_some() => {
                let source = "somebody else was faster".into();
                return Err(Error::AlreadyExists { path: location.to_string(), source });
            }
            PutMode::Update(read)
                if now.is_none_or(|now| read.e_tag != now.e_tag || read.version != Some(turn.version())) =>
            {
                let source = "it is not the version that was read".into();
                return Err(Error::Precondition { path: location.to_string(), source });
            }
            PutMode::Update(_) => options.mode = PutMode::Overwrite,
            PutMode::Create | PutMode::Overwrite => {}
        }
        // Before the put: who is killed in between has changed the version and not the object, which harms nobody.
        let turn = blocking(move || turn.count().map(|()| turn)).await?;
        let put = self.files.put_opts(location, payload, options).await?;
        Ok(PutResult { version: Some(turn.version()), ..put })
    }
}

impl Turn {
    fn at(mut counter: File) -> io::Result<Self> {
        let mut text = String::new();
        counter.read_to_string(&mut text)?;
        // One that somebody has just made is empty.
        let puts = if text.is_empty() { 0 } else { text.trim_end().parse().map_err(io::Error::other)? };
        Ok(Self { counter, puts })
    }

    /// Counts one more. Of its own width, so that whoever is killed meanwhile leaves a number.
    fn count(&mut self) -> io::Result<()> {
        self.puts += 1;
        self.counter.rewind()?;
        self.counter.write_all(format!("{:020}\n", self.puts).as_bytes())
    }

    fn version(&self) -> String {
        self.puts.to_string()
    }
}

/// Waits where waiting is allowed.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await?;
    done.map_err(|error| Error::Generic { store: "leasehold-fence", source: error.into() })
}

impl fmt::Display for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Local({})", self.files)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for Local {
    /// Goes on when the caller does not wait any more: the turn must not end before the put does.
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let (this, location) = (self.clone(), location.clone());
        tokio::spawn(async move { this.put_in_turn(&location, payload, options).await }).await?
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        // If somebody puts in between, what is found is newer than its version says, and cannot be replaced.
        let version = self.version(location).await?;
        let mut found = self.files.get_opts(location, options).await?;
        found.meta.version = Some(version);
        Ok(found)
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.files.put_multipart_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.files.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.files.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.files.list(prefix)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.files.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.files.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.files.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.files.rename_opts(from, to, options).await
    }
}
