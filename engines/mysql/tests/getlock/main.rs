//! `GET_LOCK` on real servers.

mod loss;
mod others;
mod refusals;
#[path = "../server/world.rs"]
#[allow(dead_code, reason = "what is for the other engine alone")]
mod world;

use leasehold_core::url::EngineUrl;
use leasehold_core::{Client, Env, Result};
use leasehold_mysql::getlock::{Config, GetLock};
use leasehold_testkit::mariadb::MariaDb as Server;

use crate::world::{One, SECOND, within};

fn url(server: &Server) -> String {
    of(&server.url())
}

fn of(url: &str) -> String {
    url.replacen("mysql:", "mysql+getlock:", 1)
}

async fn try_open(url: &str) -> Result<GetLock> {
    GetLock::open(Config::from_url(EngineUrl::parse(url)?)?, Env::system()).await
}

async fn open(url: &str) -> GetLock {
    try_open(url).await.unwrap()
}

async fn client(url: &str) -> Client {
    Client::builder(open(url).await).ttl(30 * SECOND).spawn().unwrap()
}

/// Until so many sessions wait for a lock in the server.
async fn waiting(server: &Server, count: &str) {
    let asked = "SELECT COUNT(*) FROM information_schema.processlist WHERE state = 'User lock'";
    within("so many wait in the server", async {
        while server.run(asked).unwrap().trim() != count {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
