//! Processes of ours among those of other clients, all of which increment one number: nobody's update is lost.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

use leasehold_core::url::EngineUrl;
use leasehold_core::{Client, Env};
use leasehold_redis::{Config, Redis};
use leasehold_testkit::redis::Redis as Server;
use leasehold_testkit::{Worker, die_with_parent, python, scratch, trials};
use rslock::LockManager;

/// How often each process increments the number.
const TURNS: usize = 15;
/// How many there are of each kind.
const EACH: usize = 4;

const LONG: Duration = Duration::from_secs(3600);

fn main() -> ExitCode {
    leasehold_testkit::trial::main(
        another,
        trials![
            processes_of_redis_py_and_of_ours_lose_no_update,
            processes_of_rslock_and_of_ours_lose_no_update
        ],
    )
}

async fn processes_of_redis_py_and_of_ours_lose_no_update() {
    let server = Server::start().unwrap();
    crowd(&server, |file| {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/single/foreign.py");
        let mut redis_py = Command::new(python().unwrap());
        let worker = Worker::spawn(redis_py.arg(script).arg(server.url())).unwrap();
        (worker, format!("increment lock:r {} {TURNS}", file.display()))
    })
    .await;
}

async fn processes_of_rslock_and_of_ours_lose_no_update() {
    let server = Server::start().unwrap();
    crowd(&server, |file| (start("rslock", &server, file), "go".to_owned())).await;
}

/// All increment the number in a file, each under its own kind of lock.
async fn crowd(server: &Server, theirs: impl Fn(&Path) -> (Worker, String)) {
    let folder = scratch().unwrap();
    let file = folder.path().join("number");
    fs::write(&file, "0").unwrap();
    let mut all = Vec::new();
    for _ in 0..EACH {
        let mut worker = start("ours", server, &file);
        assert_eq!(worker.line().await.unwrap(), "ready");
        all.push((worker, "go".to_owned()));
        all.push(theirs(&file));
    }
    for (worker, go) in &mut all {
        worker.say(go).unwrap();
    }
    for (worker, _) in &mut all {
        while worker.line().await.unwrap() != "done" {}
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), (2 * EACH * TURNS).to_string());
    assert_eq!(server.command(["KEYS", "lock:*"]).unwrap().list(), [], "nothing is left");
}

/// This program as another process that increments the number once it hears a line.
fn start(kind: &str, server: &Server, file: &Path) -> Worker {
    Worker::another([kind, &server.url(), file.to_str().unwrap()]).unwrap()
}

/// What [`start`] starts.
fn another(arguments: &[String]) {
    let [kind, url, file] = arguments else { panic!("what is {arguments:?}?") };
    let mut said = die_with_parent();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        say("ready");
        if kind == "ours" {
            let config = Config::from_url(EngineUrl::parse(url).unwrap()).unwrap();
            let engine = Redis::open(config, Env::system()).await.unwrap();
            let lock = Client::builder(engine).ttl(LONG).spawn().unwrap().mutex("r").unwrap();
            said.recv().await;
            for _ in 0..TURNS {
                let guard = lock.lock().await.unwrap();
                increment(file).await;
                guard.release().await.unwrap();
                say("turn");
            }
        } else {
            let manager = LockManager::new(vec![url.clone()]);
            said.recv().await;
            for _ in 0..TURNS {
                let lock = manager.acquire_no_guard("lock:r", LONG).await.unwrap();
                increment(file).await;
                manager.unlock(&lock).await;
                say("turn");
            }
        }
        say("done");
    });
}

#[expect(clippy::print_stdout, reason = "it talks to its parent")]
fn say(line: &str) {
    println!("{line}");
}

/// Reads, lets others run, and writes: whoever is not alone loses an update.
async fn increment(file: &str) {
    let number: usize = fs::read_to_string(file).unwrap().parse().unwrap();
    tokio::task::yield_now().await;
    fs::write(file, (number + 1).to_string()).unwrap();
}
