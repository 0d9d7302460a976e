//! Other clients at the same path: Curator's InterProcessMutex and InterProcessReadWriteLock, and kazoo's locks. Each
//! keeps ours out, and ours keeps it out.

use std::fs;
use std::path::Path;
use std::process::Command;

use leasehold_core::{Claim, Client, Standing};
use leasehold_testkit::zookeeper::Java;
use leasehold_testkit::{Worker, python, scratch};

use crate::common::*;
use crate::world::Place;

/// How often each increments the number.
const TURNS: usize = 20;

/// A process with Curator, at the path of this lock.
async fn curator(java: &Java, place: &Place, lock: &str) -> Worker {
    let (program, words) = java.command("Curator").unwrap();
    let mut command = Command::new(program);
    command.args(words).args([
        place.server.addr().to_string(),
        format!("{}/{lock}", place.chroot),
        "10000".into(),
    ]);
    started(command).await
}

/// A process with kazoo.
async fn kazoo(place: &Place, lock: &str) -> Worker {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/single/foreign.py");
    let mut command = Command::new(python().unwrap());
    command.arg(script).args([place.server.addr().to_string(), format!("{}/{lock}", place.chroot)]);
    started(command).await
}

async fn started(mut command: Command) -> Worker {
    let mut worker = Worker::spawn(&mut command).unwrap();
    assert_eq!(within("it is ready", worker.line()).await.unwrap(), "ready");
    worker
}

async fn says(worker: &mut Worker, line: &str) -> String {
    worker.say(line).unwrap();
    within(line, worker.line()).await.unwrap()
}

/// Reads, lets others run, and writes: whoever is not alone loses an update.
async fn increment(file: &Path) {
    let number: usize = fs::read_to_string(file).unwrap().trim().parse().unwrap();
    tokio::task::yield_now().await;
    fs::write(file, (number + 1).to_string()).unwrap();
}

async fn count(client: &Client, lock: &str, file: &Path) {
    for _ in 0..TURNS {
        let guard = client.mutex(lock).unwrap().lock().await.unwrap();
        increment(file).await;
        guard.release().await.unwrap();
    }
}

/// Some of theirs and some of ours increment one number.
async fn all_count(place: &Place, mut theirs: Vec<Worker>) {
    let folder = scratch().unwrap();
    let file = folder.path().join("number");
    fs::write(&file, "0").unwrap();
    let ours = [client(&place.url(), 10 * SECOND).await, client(&place.url(), 10 * SECOND).await];
    for worker in &mut theirs {
        worker.say(&format!("count {} {TURNS}", file.display())).unwrap();
    }
    within("ours are done", futures_util::future::join_all(ours.iter().map(|one| count(one, "m", &file))))
        .await;
    for worker in &mut theirs {
        assert_eq!(within("theirs are done", worker.line()).await.unwrap(), "counted");
    }
    let all = TURNS * (ours.len() + theirs.len());
    assert_eq!(fs::read_to_string(&file).unwrap().trim(), all.to_string());
}

/// Whether somebody waits for this contender of ours to go: whoever does watches it.
fn is_watched(place: &Place, claim: &Claim) -> bool {
    let id = claim.id.to_string();
    let watched = place.server.ask("wchp").unwrap();
    watched.lines().any(|path| path.starts_with(&place.chroot) && path.replace('-', "").contains(&id))
}

/// They hold and ours waits, then the other way round.
async fn both_ways(place: &Place, worker: &mut Worker) {
    let (all, writer) = ((1, 1), (i32::MAX as u32, i32::MAX as u32));
    let reader = (1, i32::MAX as u32);
    let engine = open(&place.url()).await;
    let cases = [
        ("mutex", all, false),
        ("read", writer, false),
        ("write", reader, false),
        ("write", writer, false),
        ("read", reader, true),
    ];
    for (id, (kind, shares, together)) in (1..).zip(cases) {
        let claim = share("m", id, shares);
        assert_eq!(says(worker, &format!("acquire {kind}")).await, format!("acquired {kind}"));
        let joined = engine.join_one(&claim).await;
        assert_eq!(matches!(joined, Standing::Held { .. }), together, "{shares:?} behind {kind}: {joined:?}");
        assert_eq!(says(worker, &format!("release {kind}")).await, format!("released {kind}"));
        within("ours is let in", async {
            while !matches!(engine.look(&claim).await, Standing::Held { .. }) {
                pause().await;
            }
        })
        .await;
        worker.say(&format!("acquire {kind}")).unwrap();
        if !together {
            within("theirs waits for ours", async {
                while !is_watched(place, &claim) {
                    pause().await;
                }
            })
            .await;
            engine.release(&claim).await;
        }
        assert_eq!(within("theirs is let in", worker.line()).await.unwrap(), format!("acquired {kind}"));
        assert_eq!(says(worker, &format!("release {kind}")).await, format!("released {kind}"));
        if together {
            engine.release(&claim).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn curators_locks_and_ours_exclude_each_other() {
    let place = Place::new();
    let java = Java::compile(&[Java::CURATOR]).unwrap();
    let mut first = curator(&java, &place, "m").await;
    both_ways(&place, &mut first).await;
    let second = curator(&java, &place, "m").await;
    all_count(&place, vec![first, second]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kazoos_locks_and_ours_exclude_each_other() {
    let place = Place::new();
    let mut first = kazoo(&place, "m").await;
    both_ways(&place, &mut first).await;
    let second = kazoo(&place, "m").await;
    all_count(&place, vec![first, second]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_order_the_holds_of_others_too() {
    let place = Place::new();
    let (engine, bare) = (open(&place.url()).await, bare(&place.url()).await);
    let mut worker = kazoo(&place, "m").await;
    let (before, after) = (claim("m", 1), claim("m", 2));
    let first = token(&engine.join_one(&before).await);
    engine.release(&before).await;
    says(&mut worker, "acquire mutex").await;
    let theirs = children(&bare, &format!("{}/m", place.chroot)).await;
    let stat = bare.check_stat(&format!("{}/m/{}", place.chroot, theirs[0])).await.unwrap().unwrap();
    says(&mut worker, "release mutex").await;
    let second = token(&engine.join_one(&after).await);
    let theirs = u64::try_from(stat.czxid).unwrap();
    assert!(first.get() < theirs && theirs < second.get());
}
