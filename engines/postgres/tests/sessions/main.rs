//! Advisory locks on real servers.

mod loss;
mod others;
mod refusals;
#[path = "../server/world.rs"]
#[allow(dead_code, reason = "what is for the other engine alone")]
mod world;

use leasehold_core::url::EngineUrl;
use leasehold_core::{Client, Env, Result};
use leasehold_postgres::advisory::{Advisory, Config};
use leasehold_testkit::postgres::Postgres as Server;

use crate::world::{One, SECOND};

fn url(server: &Server) -> String {
    of(&server.url())
}

fn of(url: &str) -> String {
    url.replacen("postgres:", "postgres+advisory:", 1)
}

async fn try_open(url: &str) -> Result<Advisory> {
    Advisory::open(Config::from_url(EngineUrl::parse(url)?)?, Env::system()).await
}

async fn open(url: &str) -> Advisory {
    try_open(url).await.unwrap()
}

async fn client(url: &str) -> Client {
    Client::builder(open(url).await).ttl(30 * SECOND).spawn().unwrap()
}
