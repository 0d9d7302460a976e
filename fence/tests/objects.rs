//! Objects in memory, in local files, and in a stand-in for S3, which tells versions apart by a hash of their content, as S3
//! does.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::future::join_all;
use leasehold_fence::Sequencer;
use leasehold_fence::object::{Local, enter};
use leasehold_testkit::TempDir;
use leasehold_testkit::s3::S3;
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, UpdateVersion};

fn who(token: u64) -> Sequencer {
    format!("exclusive:{token}:x").parse().unwrap()
}

fn s3(server: &S3) -> Arc<dyn ObjectStore> {
    // The client wants to know how it would encrypt, though it does not.
    drop(rustls::crypto::ring::default_provider().install_default());
    let store = AmazonS3Builder::new()
        .with_endpoint(server.url())
        .with_allow_http(true)
        .with_bucket_name(server.bucket())
        .with_region("us-east-1")
        .with_access_key_id("any")
        .with_secret_access_key("any")
        .build();
    Arc::new(store.unwrap())
}

fn local(folder: &TempDir) -> Arc<dyn ObjectStore> {
    Arc::new(Local::new(LocalFileSystem::new_with_prefix(folder.path()).unwrap()))
}

#[tokio::test]
async fn s3_refuses_who_has_read_before_the_mark_was_raised() {
    let server = S3::start().unwrap();
    overtaken(s3(&server)).await;
}

/// What the fence builds upon: of puts that are conditional on one version, or on there being none, the store does one.
#[tokio::test]
async fn of_many_who_have_read_the_same_one_writes() {
    const MANY: usize = 16;
    let (server, folder) = (S3::start().unwrap(), leasehold_testkit::scratch().unwrap());
    for store in [s3(&server), Arc::new(InMemory::new()), local(&folder)] {
        let path = Path::from("contested");
        let mut mode = PutMode::Create;
        for round in 0..20 {
            let puts = (0..MANY).map(|writer| {
                let payload = format!("{round} {writer}").into();
                store.put_opts(&path, payload, PutOptions::from(mode.clone()))
            });
            let mut written: Vec<_> = join_all(puts).await.into_iter().filter_map(Result::ok).collect();
            assert_eq!(written.len(), 1, "in round {round}");
            let written = written.remove(0);
            mode = PutMode::Update(UpdateVersion { e_tag: written.e_tag, version: written.version });
        }
    }
}

#[tokio::test]
async fn so_do_memory_and_local_files() {
    overtaken(Arc::new(InMemory::new())).await;
    let folder = leasehold_testkit::scratch().unwrap();
    overtaken(local(&folder)).await;
}

async fn overtaken(store: Arc<dyn ObjectStore>) {
    let path = Path::from("some/report");
    store.put(&path, "plain".into()).await.unwrap();
    let mut old = enter(who(1), Arc::clone(&store), "some/report").await.unwrap();
    assert_eq!(old.read().await.unwrap().unwrap(), "plain", "what was there before anybody entered");
    // Nothing but the mark changes, and the old one believes what it has read.
    let mut new = enter(who(2), Arc::clone(&store), "some/report").await.unwrap();
    assert_eq!(old.write("late").await.unwrap_err().stale().unwrap().seen, 2);
    assert_eq!(new.read().await.unwrap().unwrap(), "plain");
    new.write("new").await.unwrap();
    new.write("newer").await.unwrap();
    assert_eq!(new.read().await.unwrap().unwrap(), "newer");
    assert!(old.read().await.is_err() && enter(who(1), Arc::clone(&store), "some/report").await.is_err());
    let mut nothing = enter(who(1), store, "some/other").await.unwrap();
    assert_eq!(nothing.read().await.unwrap(), None);
}

#[tokio::test]
async fn local_files_cannot_by_themselves_and_say_so() {
    let folder = leasehold_testkit::scratch().unwrap();
    let store: Arc<dyn ObjectStore> = Arc::new(LocalFileSystem::new_with_prefix(folder.path()).unwrap());
    store.put(&Path::from("x"), "plain".into()).await.unwrap();
    let error = enter(who(1), Arc::clone(&store), "x").await.unwrap_err();
    assert!(error.to_string().contains("Update"), "{error}");
    let found = store.get(&Path::from("x")).await.unwrap().bytes().await.unwrap();
    assert_eq!(found, "plain", "it was not touched");
}

/// Nothing of the counters is to be seen, and who has written in a way of its own is noticed.
#[tokio::test]
async fn local_files_are_what_they_were_to_others() {
    let folder = leasehold_testkit::scratch().unwrap();
    let store = local(&folder);
    let path = Path::from("some/where/x");
    let mut entered = enter(who(1), Arc::clone(&store), path.clone()).await.unwrap();
    let listed: Vec<_> = store.list(None).map(|found| found.unwrap().location).collect().await;
    assert_eq!(listed, std::slice::from_ref(&path));
    std::fs::write(folder.path().join("some/where/x"), "leasehold-fence 2 0\nby hand").unwrap();
    assert_eq!(entered.write("late").await.unwrap_err().stale().unwrap().seen, 2);
    store.delete(&path).await.unwrap();
    let mut again = enter(who(1), store, path).await.unwrap();
    assert_eq!(again.read().await.unwrap(), None);
}
