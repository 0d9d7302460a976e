//! The hand-over: a token in a list. Whoever wants it waits for it with `BLPOP`, which is served first come, first
//! served; whoever has it puts it back with `RPUSH`. `BLPOP` blocks its connection, so each task has its own.

use std::time::Duration;

use leasehold_core::Result;
use redis::aio::ConnectionLike;

use super::servers::Connect;
use super::{PATIENCE, refused, taken};
use crate::entrant::{Locker, Seat};
use crate::load::Load;

/// What is passed on.
const TOKEN: &str = "token";

/// The list.
#[derive(Debug)]
pub(super) struct Token<C: Connect> {
    servers: C,
    connection: C::Connection,
    key: String,
    /// Nobody waits longer than the whole run.
    patience: Duration,
}

impl<C: Connect> Token<C> {
    pub(super) async fn open(servers: C, prefix: String, load: Load) -> Result<Self> {
        let mut connection = servers.connect(PATIENCE).await?;
        let key = format!("{prefix}/token");
        push(&mut connection, &key).await?;
        let last_turns = load.hold * u32::try_from(load.tasks).unwrap_or(u32::MAX);
        Ok(Self { servers, connection, key, patience: PATIENCE + load.span + last_turns })
    }
}

async fn push(connection: &mut impl ConnectionLike, key: &str) -> Result<()> {
    let length: u64 =
        redis::cmd("RPUSH").arg(key).arg(TOKEN).query_async(connection).await.map_err(refused)?;
    // One that is waited for is taken before the answer is sent, but counted.
    if length == 1 { Ok(()) } else { Err(taken(key)) }
}

impl<C: Connect> Locker for Token<C> {
    type Seat = TokenSeat<C>;

    /// There is one list, whatever its name.
    async fn seat(&self, _name: &str) -> Result<TokenSeat<C>> {
        Ok(TokenSeat { connection: self.servers.connect(self.patience).await?, key: self.key.clone() })
    }

    fn requests(&self) -> Option<u64> {
        None
    }

    /// Takes the token away; it must be the only one.
    async fn close(&self) -> Result<()> {
        let mut connection = self.connection.clone();
        let tokens: Vec<String> =
            redis::cmd("LPOP").arg(&self.key).arg(2).query_async(&mut connection).await.map_err(refused)?;
        if tokens == [TOKEN] { Ok(()) } else { Err(taken(&self.key)) }
    }
}

/// One task's connection.
#[derive(Debug)]
pub(super) struct TokenSeat<C: Connect> {
    connection: C::Connection,
    key: String,
}

impl<C: Connect> Seat for TokenSeat<C> {
    async fn acquire(&mut self) -> Result<()> {
        let mut wait = redis::cmd("BLPOP");
        wait.arg(&self.key).arg(0);
        let (_, token): (String, String) = wait.query_async(&mut self.connection).await.map_err(refused)?;
        if token == TOKEN { Ok(()) } else { Err(taken(&self.key)) }
    }

    async fn release(&mut self) -> Result<()> {
        push(&mut self.connection, &self.key).await
    }
}
