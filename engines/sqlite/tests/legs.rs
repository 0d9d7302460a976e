//! What the argument for this engine stands on, each leg by itself: restarts, clocks, power losses, files that are
//! deleted, replaced or damaged.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use common::*;
use leasehold_core::{Engine, ErrorKind, Query, Standing};
use leasehold_sqlite::Sqlite;
use rusqlite::Connection;

const SECOND: Duration = Duration::from_secs(1);

async fn next_token(engine: &Sqlite, resource: &str, id: u128) -> u64 {
    let got = token(&engine.join_one(claim(resource, id)).await).get();
    engine.release(&key(resource, id)).await;
    got
}

#[tokio::test]
async fn a_lease_of_another_boot_lives_until_our_own_clock_has_reached_its_ttl() {
    let mut rig = Rig::new();
    let engine = rig.open().await;
    let before = token(&engine.join_one(claim("r", 1)).await);
    drop(engine);

    rig.reboot("boot-2", 29 * SECOND);
    let engine = rig.open().await;
    assert!(is_queued(&engine.join_one(claim("r", 2)).await));
    rig.clock.set_uptime(30 * SECOND);
    let after = token(&engine.look(&key("r", 2)).await);
    assert!(after > before);
    assert_eq!(engine.look(&key("r", 1)).await, Standing::Gone);
}

#[tokio::test]
async fn a_lease_of_another_boot_is_dead_at_once_if_the_machine_has_been_up_for_longer() {
    let mut rig = Rig::new();
    rig.open().await.join_one(claim("r", 1)).await;
    rig.reboot("boot-2", 31 * SECOND);
    token(&rig.open().await.join_one(claim("r", 2)).await);
}

#[tokio::test]
async fn an_at_least_hold_goes_on_after_a_restart() {
    let mut rig = Rig::new();
    let engine = rig.open().await;
    let mut kept = claim("r", 1);
    kept.at_least = 60 * SECOND;
    engine.join_one(kept).await;
    rig.clock.advance(20 * SECOND);
    // What is left of it counts from here.
    engine.release(&key("r", 1)).await;
    drop(engine);
    rig.reboot("boot-2", 39 * SECOND);
    let engine = rig.open().await;
    assert!(is_queued(&engine.join_one(claim("r", 2)).await));
    rig.clock.set_uptime(40 * SECOND);
    token(&engine.look(&key("r", 2)).await);
}

#[tokio::test]
async fn a_boot_id_that_alternates_is_refused() {
    let mut rig = Rig::new();
    let ours = rig.open().await;
    rig.reboot("boot-2", 1000 * SECOND);
    let theirs = rig.open().await;
    // The first machine still runs: it is refused within its next request, and when it opens anew.
    let refused = ours.try_join(claim("r", 1)).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unsupported);
    rig.reboot("boot-1", 1000 * SECOND);
    assert_eq!(rig.try_open().await.unwrap_err().kind(), ErrorKind::Unsupported);
    let looked = ours.inspect(Query { limit: 1, ..Query::default() }).await.unwrap_err();
    assert_eq!(looked.kind(), ErrorKind::Unsupported);
    token(&theirs.join_one(claim("r", 2)).await);
    let said =
        refused.to_string().replace(&rig.folder.path().canonicalize().unwrap().display().to_string(), "DIR");
    insta::assert_snapshot!(said);
}

#[tokio::test]
async fn tokens_rise_when_the_clock_is_set_back() {
    let rig = Rig::new();
    let engine = rig.open().await;
    let first = next_token(&engine, "r", 1).await;
    rig.clock.set_wall(WALL / 2);
    let second = next_token(&engine, "r", 2).await;
    drop(engine);
    let third = next_token(&rig.open().await, "r", 3).await;
    assert!(first < second && second < third, "{first} {second} {third}");
}

#[tokio::test]
async fn an_absurd_clock_does_not_use_up_the_tokens() {
    let rig = Rig::new();
    rig.clock.set_wall(u64::MAX);
    assert!(next_token(&rig.open().await, "r", 1).await <= (1 << 52) + 1);
}

/// All that a power loss leaves is what has been flushed: the files as they are when the engine has opened.
#[tokio::test]
async fn tokens_rise_over_a_power_loss_even_if_the_clock_is_set_back() {
    let mut rig = Rig::new();
    let engine = rig.open().await;
    let flushed = ["locks.db", "locks.db-wal"].map(|file| fs::read(rig.folder.path().join(file)).unwrap());
    let mut last = 0;
    for id in 1..100 {
        last = next_token(&engine, "r", id).await;
    }
    drop(engine);
    for (file, content) in ["locks.db", "locks.db-wal"].iter().zip(flushed) {
        fs::write(rig.folder.path().join(file), content).unwrap();
    }
    rig.reboot("boot-2", SECOND);
    rig.clock.set_wall(WALL / 2);
    assert!(next_token(&rig.open().await, "r", 100).await > last);
}

#[tokio::test]
async fn no_token_is_above_what_the_disk_knows() {
    let rig = Rig::new();
    let engine = rig.open().await;
    next_token(&engine, "r", 1).await;
    let other = Connection::open(rig.path()).unwrap();
    other.execute("UPDATE meta SET ceiling = token + 2", []).unwrap();
    for id in 2..20 {
        let got = next_token(&engine, "r", id).await;
        let ceiling: i64 = other.query_row("SELECT ceiling FROM meta", [], |row| row.get(0)).unwrap();
        assert!(got <= ceiling as u64, "{got} is above {ceiling}");
    }
}

/// One of the events that break the order: an older file comes back *and* the clock is behind.
#[tokio::test]
async fn tokens_may_repeat_if_an_old_file_comes_back_and_the_clock_is_behind_too() {
    let rig = Rig::new();
    drop(rig.open().await);
    let old = fs::read(rig.path()).unwrap();
    rig.clock.advance(60 * SECOND);
    let last = next_token(&rig.open().await, "r", 1).await;
    fs::write(rig.path(), &old).unwrap();
    rig.clock.set_wall(WALL);
    assert!(next_token(&rig.open().await, "r", 2).await < last, "so the fence refuses the new holder");

    // With the clock where it should be they rise.
    fs::write(rig.path(), &old).unwrap();
    rig.clock.set_wall(WALL + 61_000_000);
    assert!(next_token(&rig.open().await, "r", 3).await > last);
}

/// The files of the database as they are now.
fn files(rig: &Rig) -> Vec<(&'static str, Option<Vec<u8>>)> {
    ["locks.db", "locks.db-wal"].map(|file| (file, fs::read(rig.folder.path().join(file)).ok())).into()
}

/// A disk that says it has flushed and has not: after the power loss the ceiling is the one before.
#[tokio::test]
async fn tokens_may_fall_if_the_disk_lies_and_the_clock_is_behind() {
    let mut rig = Rig::new();
    rig.open_and_close().await;
    let really_flushed = files(&rig);
    rig.clock.advance(10 * SECOND);
    let engine = rig.open().await;
    let before = next_token(&engine, "r", 1).await;
    drop(engine);
    for (file, content) in really_flushed {
        let path = rig.folder.path().join(file);
        match content {
            Some(content) => fs::write(path, content).unwrap(),
            None => drop(fs::remove_file(path)),
        }
    }
    rig.reboot("boot-2", SECOND);
    rig.clock.set_wall(WALL);
    let after = next_token(&rig.open().await, "r", 2).await;
    assert!(after < before, "{after} {before}");
    // With a clock that is right the lie does no harm.
    rig.reboot("boot-3", SECOND);
    rig.clock.set_wall(WALL + 20_000_000);
    assert!(next_token(&rig.open().await, "r", 3).await > before);
}

/// A virtual machine that is restored from a snapshot with its memory: two timelines of one boot and one clock.
#[tokio::test]
async fn two_timelines_of_one_machine_both_hold_and_their_tokens_say_nothing() {
    let ours = Rig::new();
    ours.open_and_close().await;
    let theirs = Rig::new();
    for (file, content) in files(&ours) {
        if let Some(content) = content {
            fs::write(theirs.folder.path().join(file), content).unwrap();
        }
    }
    let first = token(&ours.open().await.join_one(claim("r", 1)).await);
    let second = token(&theirs.open().await.join_one(claim("r", 2)).await);
    assert_eq!(first, second, "a fence that has seen the one lets the other in");
}

#[tokio::test]
async fn a_deleted_file_is_made_anew_and_its_claims_are_gone() {
    for all in [true, false] {
        let rig = Rig::new();
        let (ours, theirs, idle) = (rig.open().await, rig.open().await, rig.open().await);
        let before = token(&ours.join_one(claim("r", 1)).await);
        fs::remove_file(rig.path()).unwrap();
        if all {
            fs::remove_file(rig.folder.path().join("locks.db-wal")).unwrap();
            fs::remove_file(rig.folder.path().join("locks.db-shm")).unwrap();
        }
        rig.clock.advance(SECOND);
        // This breaks exclusion, and the token says who is right.
        let after = token(&theirs.join_one(claim("r", 2)).await);
        assert!(after > before);
        assert_eq!(ours.look(&key("r", 1)).await, Standing::Gone);
        assert!(is_queued(&ours.join_one(claim("r", 3)).await), "both use the new file");
        // One that has not noticed must not tidy up what now belongs to another file.
        drop(idle);
        let late = rig.open().await;
        assert!(is_queued(&late.join_one(claim("r", 4)).await));
        theirs.release(&key("r", 2)).await;
        ours.release(&key("r", 3)).await;
        token(&late.look(&key("r", 4)).await);
    }
}

#[tokio::test]
async fn a_replaced_file_is_opened_anew_without_the_log_of_the_old_one() {
    let rig = Rig::new();
    let engine = rig.open().await;
    drop(engine);
    let backup = rig.folder.path().join("backup");
    fs::copy(rig.path(), &backup).unwrap();
    let engine = rig.open().await;
    let before = token(&engine.join_one(claim("r", 1)).await);
    fs::rename(&backup, rig.path()).unwrap();
    rig.clock.advance(SECOND);
    assert_eq!(engine.look(&key("r", 1)).await, Standing::Gone);
    assert!(token(&engine.join_one(claim("r", 2)).await) > before);
}

#[tokio::test]
async fn the_folder_of_the_peers_may_be_deleted() {
    let rig = Rig::new();
    let (ours, theirs) = (rig.open().await, rig.open().await);
    ours.join_one(claim("r", 1)).await;
    fs::remove_dir_all(rig.folder.path().join("locks.db-peers")).unwrap();
    // Nothing proves a death any more, so nobody is passed over.
    assert!(is_queued(&theirs.join_one(claim("r", 2)).await));
    let late = rig.open().await;
    assert!(is_queued(&late.join_one(claim("r", 3)).await));
    ours.release(&key("r", 1)).await;
    token(&theirs.look(&key("r", 2)).await);
}

/// Opens and says why not; the file must be what it was.
async fn refused(rig: &Rig, content: &[u8]) -> (ErrorKind, String) {
    fs::write(rig.path(), content).unwrap();
    let error = rig.try_open().await.unwrap_err();
    assert_eq!(fs::read(rig.path()).unwrap(), content, "the file was touched");
    let folder = rig.folder.path().canonicalize().unwrap().display().to_string();
    (error.kind(), error.to_string().replace(&folder, "DIR"))
}

fn database(sql: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.db");
    let db = Connection::open(&path).unwrap();
    db.execute_batch(sql).unwrap();
    db.close().unwrap();
    fs::read(path).unwrap()
}

#[tokio::test]
async fn files_that_are_not_ours_are_left_as_they_are() {
    let rig = Rig::new();
    drop(rig.open().await);
    let ours = fs::read(rig.path()).unwrap();
    let mut damaged = ours.clone();
    // A page of the table of claims, or of another one, whose header makes no sense.
    for page in damaged.chunks_mut(2048).skip(1) {
        page[..64].fill(0xa5);
    }
    let mut later = ours.clone();
    later[60..64].copy_from_slice(&7u32.to_be_bytes());
    let said = [
        refused(&rig, &b"my shopping list, which is important\n".repeat(99)).await,
        refused(&rig, &database("CREATE TABLE mine (x); INSERT INTO mine VALUES (1)")).await,
        refused(
            &rig,
            &database("PRAGMA journal_mode = WAL; PRAGMA application_id = 77; CREATE TABLE mine (x)"),
        )
        .await,
        refused(&rig, &later).await,
        refused(&rig, &damaged).await,
        refused(&rig, &ours[..2048]).await,
    ];
    insta::assert_debug_snapshot!(said);
    // And none of that has spoiled the place.
    fs::write(rig.path(), &ours).unwrap();
    token(&rig.open().await.join_one(claim("r", 1)).await);
}

#[tokio::test]
async fn an_empty_file_is_taken_over() {
    let rig = Rig::new();
    fs::write(rig.path(), b"").unwrap();
    token(&rig.open().await.join_one(claim("r", 1)).await);
}

#[tokio::test]
async fn places_that_cannot_be_are_refused() {
    let rig = Rig::new();
    let folder = rig.folder.path().canonicalize().unwrap();
    fs::write(folder.join("file"), b"").unwrap();
    let mut said = Vec::new();
    // In the last one nobody can make a file, not even root.
    for path in
        [folder.join("missing/locks.db"), folder.join("file/locks.db"), "/sys/locks.db".into(), "/".into()]
    {
        let config = leasehold_sqlite::Config::new(path);
        let error = Sqlite::open(config, leasehold_core::Env::system()).await.unwrap_err();
        said.push((error.kind(), error.to_string().replace(&folder.display().to_string(), "DIR")));
    }
    insta::assert_debug_snapshot!(said);
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[tokio::test]
async fn files_get_the_permission_bits_of_the_folder() {
    for (folder, file) in [(0o700, 0o600), (0o2770, 0o660), (0o1777, 0o666)] {
        let rig = Rig::new();
        fs::set_permissions(rig.folder.path(), fs::Permissions::from_mode(folder)).unwrap();
        let engine = rig.open().await;
        engine.join_one(claim("r", 1)).await;
        let peers = rig.folder.path().join("locks.db-peers");
        assert_eq!(mode(&peers), folder);
        let mut seen = 0;
        for entry in fs::read_dir(rig.folder.path()).unwrap().chain(fs::read_dir(&peers).unwrap()) {
            let path = entry.unwrap().path();
            if path != peers {
                assert_eq!(mode(&path), file, "{}", path.display());
                seen += 1;
            }
        }
        // The database, its log and index; the turnstile, the liveness file and the socket.
        assert_eq!(seen, 6);
    }
}
