//! A server, and engines and clients on it.

use std::time::Duration;

use leasehold_core::clock::BootClock;
use leasehold_core::url::EngineUrl;
use leasehold_core::{Client, Clock, Env, Result};
use leasehold_mysql::{Config, MySql};

pub(crate) use leasehold_testkit::requests::*;

/// How long anything may take before a test fails instead of hanging.
pub(crate) const BOUND: Duration = Duration::from_secs(60);

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// An engine on the database of this URL.
pub(crate) async fn try_open(url: &str) -> Result<MySql> {
    MySql::open(Config::from_url(EngineUrl::parse(url)?)?, Env::system()).await
}

pub(crate) async fn open(url: &str) -> MySql {
    try_open(url).await.unwrap()
}

/// Why an engine cannot be opened.
pub(crate) async fn refused(url: &str) -> String {
    try_open(url).await.expect_err("it is refused").to_string()
}

/// A client of an engine of its own.
pub(crate) async fn client(url: &str, ttl: Duration) -> Client {
    Client::builder(open(url).await).ttl(ttl).spawn().unwrap()
}

/// Awaits what must happen.
pub(crate) async fn within<T>(what: &str, event: impl Future<Output = T>) -> T {
    tokio::select! {
        out = event => out,
        () = BootClock.sleep_until(BootClock.now() + BOUND) => panic!("within {BOUND:?} it must happen that {what}"),
    }
}

/// Asks again until the database answers.
pub(crate) async fn ask<T>(mut call: impl AsyncFnMut() -> Result<T>) -> T {
    within("the database answers", async {
        loop {
            match call().await {
                Ok(out) => return out,
                Err(e) if e.is_transient() => BootClock.sleep_until(BootClock.now() + SECOND / 20).await,
                Err(e) => panic!("{e:?}"),
            }
        }
    })
    .await
}

/// The same server as another user.
pub(crate) fn url_of(server: &leasehold_testkit::mariadb::MariaDb, user: &str) -> String {
    server.url().replace("root@", &format!("{user}@"))
}

/// What the server says, without what differs from run to run.
pub(crate) fn fixed(server: &leasehold_testkit::mariadb::MariaDb, said: &str) -> String {
    said.replace(&server.port().to_string(), "PORT")
}
