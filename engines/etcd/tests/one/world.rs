//! A node, engines and clients on it, and short words for what tests ask of both.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use leasehold_core::clock::BootClock;
use leasehold_core::url::EngineUrl;
use leasehold_core::{Client, Clock, Engine, Env, Name, Query, Result};
use leasehold_etcd::{Config, Etcd};
use leasehold_testkit::etcd::Etcd as Node;

/// How long anything may take before a test fails instead of hanging.
pub(crate) const BOUND: Duration = Duration::from_secs(60);

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// A TTL that no test outlives: what is left behind hangs its test.
pub(crate) const LONG: Duration = Duration::from_secs(3600);

/// An engine on the node of this URL.
pub(crate) async fn try_open(url: &str) -> Result<Etcd> {
    Etcd::open(Config::from_url(EngineUrl::parse(url)?)?, Env::system()).await
}

pub(crate) async fn open(url: &str) -> Etcd {
    try_open(url).await.unwrap()
}

/// A client of an engine of its own.
pub(crate) async fn client(url: &str, ttl: Duration) -> Client {
    Client::builder(open(url).await).ttl(ttl).owner("test").spawn().unwrap()
}

/// Asks again until it is so.
pub(crate) async fn until(what: &str, mut so: impl AsyncFnMut() -> bool) {
    let give_up = BootClock.now() + BOUND;
    while !so().await {
        assert!(BootClock.now() < give_up, "waited in vain until {what}");
        BootClock.sleep_until(BootClock.now() + Duration::from_millis(5)).await;
    }
}

/// Awaits what must happen.
pub(crate) async fn within<T>(what: &str, event: impl Future<Output = T>) -> T {
    tokio::select! {
        biased;
        out = event => out,
        () = BootClock.sleep_until(BootClock.now() + BOUND) => panic!("waited in vain until {what}"),
    }
}

/// How many claims stand at a lock.
pub(crate) async fn standing(engine: &dyn Engine, name: &str) -> usize {
    let page = engine.inspect(Query::exactly(&Name::new(name).unwrap())).await.unwrap();
    page.queues.iter().find(|queue| queue.name.as_str() == name).map_or(0, |queue| queue.claims.len())
}

/// The names of the locks at which somebody stands.
pub(crate) async fn names(engine: &dyn Engine, prefix: &str, limit: usize) -> Vec<String> {
    let page = engine.inspect(Query { prefix: prefix.to_owned(), limit, after: None }).await.unwrap();
    page.queues.iter().map(|queue| queue.name.to_string()).collect()
}

/// The keys of locks: all but what sessions are told by.
pub(crate) fn lock_keys(node: &Node) -> Vec<String> {
    node.keys("").unwrap().into_iter().filter(|key| !key.contains("%session/")).collect()
}

/// What `etcdctl` says of one key, by the names that it gives.
pub(crate) fn fields(node: &Node, key: &str) -> impl Fn(&str) -> String {
    let printed = node.ctl(["get", "-w", "fields", key]).unwrap();
    move |field: &str| {
        let start = format!("\"{field}\" : ");
        let line = printed.lines().find_map(|line| line.strip_prefix(&start));
        line.unwrap_or_else(|| panic!("no {field} in {printed}")).to_owned()
    }
}

/// `etcdctl lock NAME -- sh -c SCRIPT`, started.
pub(crate) fn etcdctl_lock(node: &Node, name: &str, script: &str) -> Child {
    let mut command: Command = node.ctl_command().unwrap();
    command.args(["lock", name, "--", "sh", "-c", script]).stdin(Stdio::null()).stdout(Stdio::null());
    command.spawn().unwrap()
}
