//! Under the Redis engines: the commands that a lock cannot do without, by the bare `redis` crate. No token, no
//! queue, no renewal.

mod majority;
mod pair;
pub(crate) mod servers;
mod token;

use std::time::Duration;

use leasehold_core::{Error, ErrorKind, Result};
use redis::aio::ConnectionLike;
use redis::{RedisError, RedisResult};

use crate::entrant::{Entrant, Role};
use crate::load::Case;
use crate::site::Site;
use servers::{Connect, Servers};

/// How long an answer may take; the bare client's own half a second is short for a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);
/// Deletes what is still one's own. Returns how many keys that were.
const COMPARE_AND_DELETE: &str =
    "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) else return 0 end";

/// The floor of whatever this URL names, if that is a Redis of some kind.
pub(super) fn of(site: &Site<'_>, case: Case) -> Result<Option<Entrant>> {
    Ok(match Servers::of(site.url)? {
        None => None,
        Some(Servers::One(client)) => single(client, site, case),
        Some(Servers::Sentinel(master)) => single(master, site, case),
        Some(Servers::Cluster(client)) => single(*client, site, case),
        Some(Servers::Many(nodes)) => (case == Case::Pair).then(|| {
            let prefix = site.prefix();
            Entrant::opened("SET + EVALSHA on each", Role::Floor, site.env, move |load| {
                majority::Majority::open(nodes.clone(), prefix.clone(), load)
            })
        }),
    })
}

fn single<C: Connect>(servers: C, site: &Site<'_>, case: Case) -> Option<Entrant> {
    let prefix = site.prefix();
    match case {
        Case::Pair => Some(Entrant::opened("SET + EVALSHA", Role::Floor, site.env, move |load| {
            pair::Pairs::open(servers.clone(), prefix.clone(), load)
        })),
        Case::Handoff => Some(Entrant::opened("BLPOP token", Role::Floor, site.env, move |load| {
            token::Token::open(servers.clone(), prefix.clone(), load)
        })),
        Case::Renew => None,
    }
}

pub(crate) fn refused(error: RedisError) -> Error {
    Error::new(ErrorKind::Unexpected, "floor", "bare Redis failed").with_source(error)
}

fn taken(key: &str) -> Error {
    Error::new(ErrorKind::Unexpected, "floor", format!("the key `{key}` is not as we left it"))
}

/// The script's name on the server.
async fn load_script(connection: &mut impl ConnectionLike) -> Result<String> {
    redis::cmd("SCRIPT").arg("LOAD").arg(COMPARE_AND_DELETE).query_async(connection).await.map_err(refused)
}

/// Locks; whether nobody had it.
async fn set(
    connection: &mut impl ConnectionLike,
    key: &str,
    value: &[u8],
    ttl_ms: u64,
) -> RedisResult<bool> {
    let mut set = redis::cmd("SET");
    set.arg(key).arg(value).arg("NX").arg("PX").arg(ttl_ms);
    set.query_async(connection).await
}

/// Releases; whether it was still ours.
async fn delete(
    connection: &mut impl ConnectionLike,
    script: &str,
    key: &str,
    value: &[u8],
) -> RedisResult<bool> {
    redis::cmd("EVALSHA").arg(script).arg(1).arg(key).arg(value).query_async(connection).await
}

fn millis(ttl: Duration) -> u64 {
    u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)
}

/// What a seat writes into its key: another one each time, as it must be for a lock.
#[derive(Clone, Copy, Debug, Default)]
struct Value(u128);

impl Value {
    fn next(&mut self) -> [u8; 16] {
        self.0 += 1;
        self.0.to_be_bytes()
    }

    fn bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }
}
