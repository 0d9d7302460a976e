//! An object of a store in memory; and one in local files and one of a stand-in for S3, written by processes.

use std::sync::Arc;

use leasehold_fence::object::{Local, enter};
use leasehold_testkit::s3::S3;
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use crate::order::{Order, Reply, refused};
use crate::{Answer, Check, Failure, Open, Storage, Target, folder};

const PATH: &str = "some/value";

pub(crate) struct Stored {
    store: Arc<dyn ObjectStore>,
    check: Check,
}

pub(crate) fn target() -> Result<Target, Failure> {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let open = move |check| -> Box<dyn Storage> { Box::new(Stored { store: Arc::clone(&store), check }) };
    Ok(Target {
        name: "object store",
        writes: 100_000,
        open: Open::Tasks(Box::new(open)),
        engine: None,
        _keeps: Box::new(()),
    })
}

pub(crate) fn local() -> Result<Target, Failure> {
    let (keeps, place) = folder()?;
    std::fs::create_dir(&place)?;
    let open = Open::Processes("object-local", place);
    Ok(Target { name: "object store, local", writes: 3_000, open, engine: None, _keeps: Box::new(keeps) })
}

pub(crate) fn s3() -> Result<Target, Failure> {
    let server = S3::start()?;
    let open = Open::Processes("s3", format!("{}/{}", server.url(), server.bucket()));
    Ok(Target { name: "S3 (moto)", writes: 500, open, engine: None, _keeps: Box::new(server) })
}

impl Stored {
    pub(crate) fn open_local(place: &str, check: Check) -> Result<Self, Failure> {
        let store = Arc::new(Local::new(LocalFileSystem::new_with_prefix(place)?));
        Ok(Self { store, check })
    }

    pub(crate) fn open_s3(place: &str, check: Check) -> Result<Self, Failure> {
        // The client wants to know how it would encrypt, though it does not.
        drop(rustls::crypto::ring::default_provider().install_default());
        let (url, bucket) = place.rsplit_once('/').ok_or("a place without a bucket")?;
        let store = AmazonS3Builder::new()
            .with_endpoint(url)
            .with_allow_http(true)
            .with_bucket_name(bucket)
            .with_region("us-east-1")
            .with_access_key_id("any")
            .with_secret_access_key("any")
            .build()?;
        Ok(Self { store: Arc::new(store), check })
    }
}

/// What is behind the marks, as a program reads it that knows of them.
fn content(stored: &str) -> &str {
    match stored.strip_prefix("leasehold-fence ").and_then(|rest| rest.split_once('\n')) {
        Some((_, content)) => content,
        None => stored,
    }
}

impl Storage for Stored {
    fn obey(&mut self, order: Order) -> Answer<'_> {
        Box::pin(async move {
            let (who, to_write) = order.under(self.check);
            // Somebody else's turn: the store in memory never waits.
            tokio::task::yield_now().await;
            let Some(who) = who else {
                let path = Path::from(PATH);
                return Ok(match to_write {
                    Some(value) => {
                        self.store.put(&path, value.to_string().into()).await?;
                        Reply::Done
                    }
                    None => match self.store.get(&path).await {
                        Ok(found) => {
                            Reply::Value(content(std::str::from_utf8(&found.bytes().await?)?).parse()?)
                        }
                        Err(object_store::Error::NotFound { .. }) => {
                            Reply::Value(crate::order::Value::default())
                        }
                        Err(error) => return Err(error.into()),
                    },
                });
            };
            let mut entered = match enter(who, Arc::clone(&self.store), PATH).await {
                Ok(entered) => entered,
                Err(error) => return refused(error),
            };
            tokio::task::yield_now().await;
            let answer = match to_write {
                Some(value) => entered.write(value.to_string()).await.map(|()| Reply::Done),
                None => match entered.read().await {
                    Ok(content) => {
                        let text = content.unwrap_or_default();
                        Ok(Reply::Value(std::str::from_utf8(&text)?.parse()?))
                    }
                    Err(error) => Err(error),
                },
            };
            answer.or_else(refused)
        })
    }
}
