//! What a program meets first: URLs, requirements, the blocking face.

use std::time::Duration;

use leasehold::{ErrorKind, Guarantee, Purpose, blocking};

#[tokio::test]
async fn bad_urls_are_refused_with_what_to_do() {
    let mut said = Vec::new();
    for url in ["", "locks.db", "sqlit:/x", "oracle://x", "memory:x", "memory:?ttl=3", "sqlite:/x?mode=rw"] {
        let error = leasehold::open(url).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{url}");
        // Which engines there are depends on the features of the build.
        let schemes = format!("`{}`", leasehold::SCHEMES.join("`, `"));
        said.push(format!("{url:20} {error}").replace(&schemes, "<schemes>"));
    }
    insta::assert_snapshot!(said.join("\n"));
}

#[tokio::test]
async fn what_is_required_is_given_or_refused() {
    let required = [Guarantee::Purpose(Purpose::Correctness)];
    let error = leasehold::connect("memory:").require(required).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("locks.db").display());
    leasehold::connect(&url).require(required).await.unwrap();
}

#[test]
fn blocking_locks_exclude_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("locks.db").display());
    let (ours, theirs) = (blocking::connect(&url).unwrap(), blocking::connect(&url).unwrap());
    let guard = ours.mutex("m").unwrap().lock().unwrap();
    assert!(theirs.mutex("m").unwrap().try_lock().unwrap().is_none());
    let waiter = std::thread::spawn(move || theirs.mutex("m").unwrap().lock().unwrap().token());
    let token = guard.token();
    guard.release().unwrap();
    assert!(waiter.join().unwrap() > token);
    let sum = ours.mutex("m").unwrap().run(|lease| u64::from(lease.is_valid()) + 1).unwrap();
    assert_eq!(sum, 2);
    let permit = ours.semaphore("s", 2).unwrap().acquire_many(2).unwrap();
    assert!(ours.semaphore("s", 2).unwrap().acquire_timeout(Duration::from_millis(20)).unwrap().is_none());
    drop(permit);
    let reader = ours.rwlock("rw").unwrap().read().unwrap();
    assert!(ours.rwlock("rw").unwrap().try_write().unwrap().is_none());
    reader.release().unwrap();
    ours.shutdown(Duration::from_secs(5)).unwrap();
}
