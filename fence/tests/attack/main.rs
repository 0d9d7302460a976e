//! Every adapter under attack: eight writers whose orders come late, doubled and out of order and who are killed on the
//! way; and the same without the fence, which must come to grief.

#![expect(
    clippy::print_stdout,
    reason = "the counts are what the reader wants; a worker talks through its output"
)]

mod column;
mod consul;
mod etcd;
mod file;
mod memory;
mod mysql;
mod object;
mod order;
mod paused;
mod postgres;
mod redis;
mod service;
mod sqlite;
mod storm;
mod straggler;
mod triggers;
mod turn;
mod worker;
mod zookeeper;

use std::io::Write as _;
use std::pin::Pin;
use std::process::{Command, ExitCode, Stdio};

use leasehold_testkit::TempDir;
use libtest_mimic::{Arguments, Trial};

use order::{Order, Reply};

type Failure = Box<dyn std::error::Error + Send + Sync>;
type Answer<'a> = Pin<Box<dyn Future<Output = Result<Reply, Failure>> + Send + 'a>>;

/// A storage with one value, as one writer sees it.
trait Storage: Send {
    /// Does what is ordered, in one piece.
    fn obey(&mut self, order: Order) -> Answer<'_>;
}

/// Whether a storage asks its fence.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Check {
    /// On every access.
    Always,
    /// Only when something is written.
    Writes,
    /// Never.
    Never,
}

/// What can be attacked: one value somewhere, and new writers for it.
struct Target {
    name: &'static str,
    /// A hundred thousand, or how many it takes in a few seconds.
    writes: u64,
    open: Open,
    /// Where the lock is, if the storage looks at the lock itself.
    engine: Option<String>,
    /// What must live as long as the value.
    _keeps: Box<dyn Send + Sync>,
}

enum Open {
    /// Writers are tasks of this process; killed, they are dropped where they stand.
    Tasks(Box<dyn Fn(Check) -> Box<dyn Storage> + Send + Sync>),
    /// Writers are processes: the kind of storage and where it is.
    Processes(&'static str, String),
}

/// A kind of target, and how to get one with nothing in it.
type Kind = (&'static str, fn() -> Result<Target, Failure>);

const KINDS: &[Kind] = &[
    ("memory", memory::target),
    ("http", service::target),
    ("http_served", service::served),
    ("object_store", object::target),
    ("object_local", object::local),
    ("s3", object::s3),
    ("sqlite", sqlite::target),
    ("redis", redis::target),
    ("redis_cluster", redis::cluster),
    ("file", file::target),
    ("postgres", postgres::target),
    ("postgres_sqlx", postgres::target_sqlx),
    ("mysql", mysql::target),
    ("mysql_sqlx", mysql::target_sqlx),
    ("sqlite_column", column::sqlite),
    ("postgres_column", column::postgres),
    ("mysql_column", column::mysql),
    ("sqlite_triggers", triggers::sqlite),
    ("postgres_triggers", triggers::postgres),
    ("mysql_triggers", triggers::mysql),
    ("etcd", etcd::target),
    ("zookeeper", zookeeper::target),
    ("consul", consul::target),
];

/// A test of all that can be done in such a target.
type Commands = fn() -> Result<(), Failure>;

/// Those that look at the lock itself: how it ends matters, and how it is spelled.
const WITH_THE_LOCK: &[(Kind, Commands)] = &[
    (("etcd", etcd::target), etcd::commands),
    (("zookeeper", zookeeper::target), zookeeper::commands),
    (("consul", consul::target), consul::commands),
];

/// Names of locks that engines spell in another way, or that look as if they were.
const NAMES: [&str; 12] = [
    "inventory/42",
    "/",
    "a//b/",
    "..",
    "a/../b",
    ".lock",
    "50%",
    "%2F",
    "zookeeper",
    "größe 5",
    "😀",
    "{tag}",
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [first, kind, place, check] = &arguments[..]
        && first == worker::ARGUMENT
    {
        return worker::work(kind, place, check);
    }
    if let [first, place] = &arguments[..]
        && first == file::WRITES_ONCE
    {
        return file::write_once(place);
    }
    let mut trials = Vec::new();
    for (name, target) in KINDS {
        trials.push(Trial::test(format!("{name}::storm"), move || Ok(storm::storm(*target)?)));
        trials.push(Trial::test(format!("{name}::storm_without_a_fence"), move || Ok(storm::bare(*target)?)));
        trials.push(Trial::test(format!("{name}::straggler"), move || Ok(straggler::straggler(*target)?)));
    }
    for ((name, target), commands) in WITH_THE_LOCK {
        trials.push(Trial::test(format!("{name}::paused"), move || Ok(paused::paused(*target)?)));
        trials.push(Trial::test(format!("{name}::commands"), move || Ok(commands()?)));
    }
    trials.push(Trial::test("sqlite::triggers", || Ok(sqlite::triggers()?)));
    trials.push(Trial::test("postgres::triggers", || Ok(postgres::triggers()?)));
    trials.push(Trial::test("mysql::triggers", || Ok(mysql::triggers()?)));
    trials.push(Trial::test("column::statements", || Ok(column::statements()?)));
    trials.push(Trial::test("redis::commands", || Ok(redis::commands()?)));
    trials.push(Trial::test("file::killed_at_every_step", || Ok(file::killed_at_every_step()?)));
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?)
}

/// A folder for a target.
fn folder() -> Result<(TempDir, String), Failure> {
    let folder = leasehold_testkit::scratch()?;
    let place = folder.path().join("value").to_str().ok_or("a path that is no UTF-8")?.to_owned();
    Ok((folder, place))
}

/// A client of HTTP's, without encryption.
fn http() -> Result<reqwest::Client, Failure> {
    // It wants to know how it would encrypt, though it does not.
    drop(rustls::crypto::ring::default_provider().install_default());
    Ok(reqwest::Client::builder().build()?)
}

/// What a program prints that is told this.
fn output(mut command: Command, input: &str) -> Result<String, Failure> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    child.stdin.take().ok_or("it has no input")?.write_all(input.as_bytes())?;
    Ok(String::from_utf8(child.wait_with_output()?.stdout)?)
}
