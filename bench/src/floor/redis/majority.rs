//! The pair on several servers at once, as Redlock has it: it counts when a majority says so. One connection to
//! each, for all tasks.

use std::sync::Arc;

use futures_util::future::{join_all, try_join_all};
use leasehold_core::{Error, ErrorKind, Result};
use redis::aio::MultiplexedConnection;
use redis::{Client, RedisResult};

use super::servers::Connect;
use super::{PATIENCE, Value, delete, load_script, millis, set};
use crate::entrant::{Locker, Seat};
use crate::load::Load;

/// The connections.
#[derive(Debug)]
pub(super) struct Majority {
    nodes: Vec<MultiplexedConnection>,
    script: Arc<str>,
    prefix: String,
    ttl_ms: u64,
}

impl Majority {
    pub(super) async fn open(clients: Vec<Client>, prefix: String, load: Load) -> Result<Self> {
        let mut nodes = try_join_all(clients.iter().map(|client| client.connect(PATIENCE))).await?;
        let names = try_join_all(nodes.iter_mut().map(load_script)).await?;
        let script = names.first().map_or("", String::as_str).into();
        Ok(Self { nodes, script, prefix, ttl_ms: millis(load.ttl) })
    }
}

impl Locker for Majority {
    type Seat = MajoritySeat;

    async fn seat(&self, name: &str) -> Result<MajoritySeat> {
        Ok(MajoritySeat {
            nodes: self.nodes.clone(),
            script: Arc::clone(&self.script),
            key: format!("{}/{name}", self.prefix),
            value: Value::default(),
            ttl_ms: self.ttl_ms,
        })
    }

    fn requests(&self) -> Option<u64> {
        None
    }
}

/// One task's key, on all servers.
#[derive(Debug)]
pub(super) struct MajoritySeat {
    nodes: Vec<MultiplexedConnection>,
    script: Arc<str>,
    key: String,
    value: Value,
    ttl_ms: u64,
}

impl Seat for MajoritySeat {
    async fn acquire(&mut self) -> Result<()> {
        let value = self.value.next();
        let all = self.nodes.iter_mut().map(|node| set(node, &self.key, &value, self.ttl_ms));
        most(join_all(all).await, &self.key)
    }

    async fn release(&mut self) -> Result<()> {
        let value = self.value.bytes();
        let all = self.nodes.iter_mut().map(|node| delete(node, &self.script, &self.key, &value));
        most(join_all(all).await, &self.key)
    }
}

/// Whether a majority said yes; a failure is a no.
fn most(answers: Vec<RedisResult<bool>>, key: &str) -> Result<()> {
    let (of, mut yes, mut failure) = (answers.len(), 0, None);
    for answer in answers {
        match answer {
            Ok(said) => yes += usize::from(said),
            Err(error) => failure = Some(error),
        }
    }
    if yes > of / 2 {
        return Ok(());
    }
    let message = format!("only {yes} of {of} servers agreed on the key `{key}`");
    let error = Error::new(ErrorKind::Unexpected, "floor", message);
    Err(failure.into_iter().fold(error, Error::with_source))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost() -> RedisResult<bool> {
        Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset).into())
    }

    #[test]
    fn three_of_five() {
        most(vec![Ok(true), lost(), Ok(true), Ok(false), Ok(true)], "k").unwrap();
        let error = most(vec![Ok(true), lost(), Ok(true), Ok(false), lost()], "k").unwrap_err();
        assert!(error.to_string().contains("only 2 of 5 servers agreed on the key `k`"), "{error}");
    }

    #[test]
    fn two_of_four_are_no_majority() {
        most(vec![Ok(true), Ok(true), Ok(false), Ok(false)], "k").unwrap_err();
    }
}
