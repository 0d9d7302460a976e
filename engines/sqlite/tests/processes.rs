//! Many processes, or many engines in one: who excludes whom, who is told, and who is dead.

mod common;

use std::fs;
use std::io::Read;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use common::*;
use futures_util::StreamExt;
use leasehold_core::claim::Manner;
use leasehold_core::{Claim, Clock, Engine, Env, Hint, Query, Standing};
use leasehold_sqlite::{Config, Sqlite};
use leasehold_testkit::{Worker, trials};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const SECOND: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    leasehold_testkit::trial::main(
        another,
        trials![
            a_killed_holder_is_passed_over_long_before_its_ttl,
            a_killed_waiter_is_passed_over_too,
            whoever_opens_next_ends_the_claims_of_the_dead_and_removes_their_files,
            a_child_that_has_inherited_the_lifeline_delays_that,
            an_at_least_hold_survives_the_death_of_its_process,
            a_waiter_in_another_process_is_told_with_its_token,
            a_path_too_long_for_a_socket_will_do,
            two_engines_in_one_process_exclude_each_other,
            a_dropped_engine_leaves_its_claims_to_whoever_looks,
            one_request_may_name_many_resources,
            a_request_waits_for_whoever_writes_and_is_done_even_if_its_caller_goes_away,
            the_log_starts_again_under_requests_that_never_pause,
            short_lived_processes_do_not_let_the_log_grow,
            tasks_and_engines_and_processes_lose_no_update,
        ],
    )
}

/// Another process with an engine, told what to do line by line.
struct Other(Worker);

impl Other {
    fn start(rig: &Rig) -> Self {
        Self(Worker::another([rig.path().to_str().unwrap()]).unwrap())
    }

    async fn ask(&mut self, what: &str) -> String {
        self.0.say(what).unwrap();
        self.0.line().await.unwrap()
    }
}

/// What [`Other`] starts.
#[expect(clippy::print_stdout, reason = "it talks to its parent")]
#[expect(clippy::zombie_processes, reason = "its child is to outlive it")]
fn another(arguments: &[String]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let engine = runtime.block_on(Sqlite::open(Config::new(&arguments[0]), Env::system())).unwrap();
    for line in std::io::stdin().lines() {
        let line = line.unwrap();
        let words: Vec<&str> = line.split(' ').collect();
        let said = match words[..] {
            ["join", resource, id, at_least_s] => {
                let mut claim = claim(resource, id.parse().unwrap());
                claim.at_least = at_least_s.parse::<u32>().unwrap() * SECOND;
                format!("{:?}", runtime.block_on(engine.join_one(claim)))
            }
            ["told", resource, id] => {
                let mut hints = engine.watch(&key(resource, id.parse().unwrap()));
                format!("{:?}", runtime.block_on(hints.next()).unwrap())
            }
            // A child that has inherited the lifeline, as the one of `leasehold run` does.
            ["child"] => {
                // Not a clone by the standard library: that would be closed on exec.
                let lifeline = nix::unistd::dup(engine.lifeline().unwrap()).unwrap();
                let child = Command::new("sleep").arg("600").stdout(Stdio::null()).spawn().unwrap();
                drop(lifeline);
                child.id().to_string()
            }
            _ => panic!("what is `{line}`?"),
        };
        println!("{said}");
    }
}

/// As [`Rig::open`], on the clock of the machine, which other processes share.
async fn open(rig: &Rig) -> Sqlite {
    Sqlite::open(Config::new(rig.path()), Env::system()).await.unwrap()
}

/// Looks as a waiter does, until it holds; long before any time to live in these tests ends.
async fn until_held(engine: &Sqlite, resource: &str, id: u128) -> u64 {
    let clock = leasehold_core::clock::BootClock;
    let give_up = clock.now() + 10 * SECOND;
    loop {
        match engine.look(&key(resource, id)).await {
            Standing::Held { token, .. } => return token.get(),
            Standing::Queued { look_again, .. } => {
                assert!(clock.now() < give_up, "nobody was passed over");
                clock.sleep_until(clock.now() + look_again).await;
            }
            other => panic!("{other:?}"),
        }
    }
}

async fn a_killed_holder_is_passed_over_long_before_its_ttl() {
    let rig = Rig::new();
    let mut other = Other::start(&rig);
    assert!(other.ask("join r 1 0").await.starts_with("Held"));
    let engine = open(&rig).await;
    match engine.join_one(claim("r", 2)).await {
        Standing::Queued { look_again, .. } => assert!(look_again <= SECOND / 2, "{look_again:?}"),
        standing => panic!("{standing:?}"),
    }
    drop(other);
    until_held(&engine, "r", 2).await;
    assert_eq!(engine.look(&key("r", 1)).await, Standing::Gone);
}

async fn a_killed_waiter_is_passed_over_too() {
    let rig = Rig::new();
    let engine = open(&rig).await;
    engine.join_one(claim("r", 1)).await;
    let mut other = Other::start(&rig);
    assert!(other.ask("join r 2 0").await.starts_with("Queued"));
    assert!(is_queued(&engine.join_one(claim("r", 3)).await));
    engine.release(&key("r", 1)).await;
    drop(other);
    until_held(&engine, "r", 3).await;
}

async fn whoever_opens_next_ends_the_claims_of_the_dead_and_removes_their_files() {
    let rig = Rig::new();
    let mut other = Other::start(&rig);
    assert!(other.ask("join r 1 0").await.starts_with("Held"));
    drop(other);
    let engine = open(&rig).await;
    assert!(engine.names(10).await.is_empty());
    let files = fs::read_dir(rig.folder.path().join("locks.db-peers")).unwrap();
    let mut kinds: Vec<_> =
        files.map(|f| f.unwrap().path().extension().map(|e| e.to_string_lossy().into_owned())).collect();
    kinds.sort();
    assert_eq!(kinds, [None, Some("alive".into()), Some("sock".into())], "the turnstile and our own");
}

async fn a_child_that_has_inherited_the_lifeline_delays_that() {
    let rig = Rig::new();
    let mut other = Other::start(&rig);
    assert!(other.ask("join r 1 0").await.starts_with("Held"));
    let child: i32 = other.ask("child").await.parse().unwrap();
    drop(other);
    let engine = open(&rig).await;
    assert!(is_queued(&engine.join_one(claim("r", 2)).await));
    kill(Pid::from_raw(child), Signal::SIGKILL).unwrap();
    until_held(&engine, "r", 2).await;
}

async fn an_at_least_hold_survives_the_death_of_its_process() {
    let rig = Rig::new();
    let mut other = Other::start(&rig);
    assert!(other.ask("join r 1 20").await.starts_with("Held"));
    let path = fs::read_dir(rig.folder.path().join("locks.db-peers")).unwrap();
    assert_eq!(path.count(), 3);
    drop(other);
    // The file can be locked, so the death is certain, and the hold goes on.
    let engine = open(&rig).await;
    assert!(is_queued(&engine.join_one(claim("r", 2)).await));
    let page = engine.inspect(Query { limit: 1, ..Query::default() }).await.unwrap();
    let held = &page.queues[0].claims[0];
    assert!(held.revoked && held.ttl_left <= 20 * SECOND, "{held:?}");
}

async fn a_waiter_in_another_process_is_told_with_its_token() {
    let rig = Rig::new();
    let engine = open(&rig).await;
    let first = token(&engine.join_one(claim("r", 1)).await).get();
    let mut other = Other::start(&rig);
    assert!(other.ask("join r 2 0").await.starts_with("Queued"));
    engine.release(&key("r", 1)).await;
    // It only listens, so nothing but the datagram can have told it.
    let told = other.ask("told r 2").await;
    let told: u64 = told.strip_prefix("Held(#").and_then(|t| t.strip_suffix(')')).unwrap().parse().unwrap();
    assert!(told > first);
    let standing = other.ask("join r 2 0").await;
    assert!(standing.contains(&format!("token: #{told},")), "{standing}");
}

async fn a_path_too_long_for_a_socket_will_do() {
    let mut rig = Rig::new();
    let deep = rig.folder.path().join("d".repeat(120));
    fs::create_dir(&deep).unwrap();
    let short = std::mem::replace(&mut rig.folder, tempfile::tempdir_in(deep).unwrap());
    let (ours, theirs) = (rig.open().await, rig.open().await);
    ours.join_one(claim("r", 1)).await;
    assert!(is_queued(&theirs.join_one(claim("r", 2)).await));
    let mut hints = theirs.watch(&key("r", 2));
    ours.release(&key("r", 1)).await;
    assert!(matches!(hints.next().await, Some(Hint::Held(_))));
    drop((ours, theirs, rig, short));
}

async fn two_engines_in_one_process_exclude_each_other() {
    let rig = Rig::new();
    let (ours, theirs) = (rig.open().await, rig.open().await);
    let first = token(&ours.join_one(claim("r", 1)).await);
    assert!(is_queued(&theirs.join_one(claim("r", 2)).await));
    assert!(is_queued(&ours.join_one(claim("r", 3)).await));
    ours.release(&key("r", 1)).await;
    let second = token(&theirs.look(&key("r", 2)).await);
    assert!(is_queued(&ours.look(&key("r", 3)).await));
    theirs.leave_one(&key("r", 2), Manner::Release).await;
    assert!(first < second && second < token(&ours.look(&key("r", 3)).await));
}

async fn a_dropped_engine_leaves_its_claims_to_whoever_looks() {
    let rig = Rig::new();
    let (ours, theirs) = (rig.open().await, rig.open().await);
    ours.join_one(claim("r", 1)).await;
    drop(ours);
    rig.clock.advance(SECOND);
    token(&theirs.join_one(claim("r", 2)).await);
}

async fn one_request_may_name_many_resources() {
    let rig = Rig::new();
    let engine = rig.open().await;
    let claims: Vec<Claim> = (0..1000).map(|i| claim(&format!("r{:03}", i % 500), 1 + i)).collect();
    let standings = engine.join(&claims).await;
    let held = standings.iter().filter(|s| matches!(s, Ok(Standing::Held { .. }))).count();
    assert_eq!((standings.len(), held), (1000, 500));
    assert!(standings[..500].iter().all(|s| matches!(s, Ok(Standing::Held { .. }))), "in order within each");
    assert_eq!(engine.names(2000).await.len(), 500);
    let page = engine.inspect(Query { prefix: "r1".into(), limit: 30, after: None }).await.unwrap();
    assert_eq!(page.next.as_ref().map(|n| n.as_str()), Some("r129"));
    let query = Query { prefix: "r1".into(), limit: 100, after: page.next };
    let rest = engine.inspect(query).await.unwrap();
    assert_eq!((rest.queues.len(), rest.queues[0].name.as_str(), rest.next), (70, "r130", None));
}

async fn a_request_waits_for_whoever_writes_and_is_done_even_if_its_caller_goes_away() {
    let rig = Rig::new();
    let engine = rig.open().await;
    let shell = rusqlite::Connection::open(rig.path()).unwrap();
    shell.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut waits = Box::pin(engine.join_one(claim("r", 1)));
    let mut leaves = Box::pin(engine.join_one(claim("s", 2)));
    for _ in 0..3 {
        assert!(futures_util::future::FutureExt::now_or_never(&mut waits).is_none());
        assert!(futures_util::future::FutureExt::now_or_never(&mut leaves).is_none());
    }
    drop(leaves);
    shell.execute_batch("COMMIT").unwrap();
    token(&waits.await);
    token(&engine.look(&key("s", 2)).await);
}

async fn the_log_starts_again_under_requests_that_never_pause() {
    let rig = Rig::new();
    let engine = rig.open().await;
    // A log that starts again gets another salt in its header.
    let header = || {
        let mut header = [0; 32];
        let mut log = fs::File::open(rig.folder.path().join("locks.db-wal")).unwrap();
        log.read_exact(&mut header).unwrap();
        header
    };
    token(&engine.join_one(claim("s", 1)).await);
    let first = header();
    for id in 1..200_000 {
        token(&engine.join_one(claim("r", id)).await);
        engine.release(&key("r", id)).await;
        if id % 1000 == 0 && header() != first {
            return;
        }
    }
    panic!("the log still grows after 200,000 pairs");
}

async fn short_lived_processes_do_not_let_the_log_grow() {
    let rig = Rig::new();
    // It never closes, so nobody is the last one and tidies up.
    let shell = rusqlite::Connection::open(rig.open_and_close().await).unwrap();
    shell.execute_batch("PRAGMA wal_autocheckpoint = 0; CREATE TABLE filler (x)").unwrap();
    for _ in 0..10 {
        shell.execute("INSERT INTO filler VALUES (randomblob(1000000))", []).unwrap();
    }
    shell.execute("DROP TABLE filler", []).unwrap();
    let left = || -> i64 {
        let row = shell.query_row("PRAGMA wal_checkpoint(NOOP)", [], |row| Ok((row.get(1)?, row.get(2)?)));
        let (pages, copied): (i64, i64) = row.unwrap();
        pages - copied
    };
    assert!(left() > 4000, "{}", left());
    let _engine = rig.open().await;
    assert!(left() < 10, "{}", left());
}

async fn tasks_and_engines_and_processes_lose_no_update() {
    let rig = Rig::new();
    let counter = rig.folder.path().join("counter");
    fs::write(&counter, "0").unwrap();
    let engines = [open(&rig).await, open(&rig).await].map(std::sync::Arc::new);
    let tasks: Vec<_> = (0..8u128)
        .map(|task| {
            let (engine, counter) = (engines[task as usize % 2].clone(), counter.clone());
            tokio::spawn(async move {
                for round in 0..25 {
                    let id = 1 + task * 1000 + round;
                    let mut hints = engine.watch(&key("r", id));
                    if is_queued(&engine.join_one(claim("r", id)).await) {
                        assert!(matches!(hints.next().await, Some(Hint::Held(_))));
                    }
                    let count: u32 = fs::read_to_string(&counter).unwrap().parse().unwrap();
                    tokio::task::yield_now().await;
                    fs::write(&counter, (count + 1).to_string()).unwrap();
                    engine.release(&key("r", id)).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(fs::read_to_string(&counter).unwrap(), "200");
}
