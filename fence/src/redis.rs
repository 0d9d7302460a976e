//! Redis and Valkey: check and access are one script, in the slot of the data.
//!
//! ```no_run
//! # async fn example(guard: &leasehold_core::Guard) -> Result<(), Box<dyn std::error::Error>> {
//! let connection = redis::Client::open("redis://localhost")?.get_multiplexed_async_connection().await?;
//! let mut stock = leasehold_fence::redis::enter(guard, connection, "stock:{42}").await?; // raises
//! let left: u64 = stock.get("stock:{42}").await?;
//! stock.set("stock:{42}", left - 1).await?;
//! # Ok(()) }
//! ```
//! The marks are a hash beside the data, `leasehold:fence:{TAG}:LOCK`, with the hash tag of the key that was named when
//! entering; so they are in its slot in a Cluster, wherever that moves. A lock over keys with several tags enters once
//! for each.
//!
//! # What it costs
//! A script instead of a command, with one more look into a hash on the server; no more round trips. The first access
//! of each holder writes the mark.
//!
//! # What it cannot see
//! * Commands that are not sent through it.
//! * What the server forgets: a fail-over to a replica that lags, a restart without an append-only file, and eviction
//!   under an `allkeys` policy lose marks as they lose data. Use a `volatile` or no policy.
//! * The client repeats a command whose answer it lost. SET, HSET and DEL may be repeated; an INCR would count twice.

use std::sync::LazyLock;

use leasehold_core::Mode;
use redis::aio::ConnectionLike;
use redis::{FromRedisValue, RedisError, ScriptInvocation, ToRedisArgs};

use crate::error::invalid;
use crate::{Error, Sequencer, Stale};

const CHECK: &str = include_str!("redis/check.lua");
/// The code of the error by which the script refuses.
const REFUSED: &str = "STALE";
const NOTHING: &[&str] = &[];

static ENTER: LazyLock<redis::Script> = LazyLock::new(|| redis::Script::new(&format!("{CHECK}return true")));
static COMMAND: LazyLock<redis::Script> = LazyLock::new(|| {
    redis::Script::new(&format!("{CHECK}return redis.call(ARGV[3], KEYS[2], unpack(ARGV, 4))"))
});

/// Data in one place of Redis, entered: read and write through it.
#[derive(Debug)]
pub struct Entered<C> {
    connection: C,
    who: Sequencer,
    tag: Vec<u8>,
    marks: Vec<u8>,
}

/// A script of your own that runs only if the token is not stale. It sees its `KEYS` and `ARGV` as always.
#[derive(Debug)]
pub struct Script {
    script: redis::Script,
}

impl Script {
    /// From Lua. Like every script it must touch no keys but those it is given.
    pub fn new(code: &str) -> Self {
        let code = format!(
            "{CHECK}local function yours(KEYS, ARGV)\n{code}\nend\n\
             return yours({{unpack(KEYS, 2)}}, {{unpack(ARGV, 3)}})"
        );
        Self { script: redis::Script::new(&code) }
    }
}

/// Raises the mark beside `key`, in its slot. Read and write through what it returns.
///
/// # Errors
/// [`Error::Stale`] if a later holder has been there; [`Error::Invalid`] if no other key can be in the slot of this one.
///
/// # Cancel safety
/// Dropped on the way, the mark may or may not be raised, which harms nobody but earlier holders.
pub async fn enter<C: ConnectionLike>(
    who: impl Into<Sequencer>,
    connection: C,
    key: impl AsRef<[u8]>,
) -> Result<Entered<C>, Error<RedisError>> {
    let who = who.into();
    let tag = tag(key.as_ref()).map_err(Error::Invalid)?.to_vec();
    let marks = [b"leasehold:fence:{", &tag[..], b"}:", who.name().as_str().as_bytes()].concat();
    let mut entered = Entered { connection, who, tag, marks };
    let mut call = ENTER.prepare_invoke();
    entered.present(&mut call);
    entered.invoke::<()>(&call).await?;
    Ok(entered)
}

impl<C: ConnectionLike> Entered<C> {
    /// GET.
    ///
    /// # Errors
    /// As [`command`](Self::command).
    ///
    /// # Cancel safety
    /// Changes nothing.
    pub async fn get<T: FromRedisValue>(&mut self, key: impl AsRef<[u8]>) -> Result<T, Error<RedisError>> {
        self.command("GET", key, NOTHING).await
    }

    /// SET.
    ///
    /// # Errors
    /// As [`command`](Self::command).
    ///
    /// # Cancel safety
    /// As [`command`](Self::command).
    pub async fn set(
        &mut self,
        key: impl AsRef<[u8]>,
        value: impl ToRedisArgs,
    ) -> Result<(), Error<RedisError>> {
        self.command("SET", key, value).await
    }

    /// HSET of one field.
    ///
    /// # Errors
    /// As [`command`](Self::command).
    ///
    /// # Cancel safety
    /// As [`command`](Self::command).
    pub async fn hset(
        &mut self,
        key: impl AsRef<[u8]>,
        field: impl ToRedisArgs,
        value: impl ToRedisArgs,
    ) -> Result<(), Error<RedisError>> {
        self.command("HSET", key, (field, value)).await
    }

    /// DEL; whether it was there.
    ///
    /// # Errors
    /// As [`command`](Self::command).
    ///
    /// # Cancel safety
    /// As [`command`](Self::command).
    pub async fn del(&mut self, key: impl AsRef<[u8]>) -> Result<bool, Error<RedisError>> {
        self.command("DEL", key, NOTHING).await
    }

    /// Any command whose first argument is its only key, such as `("SET", key, (value, "PX", 1000))`.
    ///
    /// # Errors
    /// [`Error::Stale`] if a later holder has been there; [`Error::Invalid`] if the key has another hash tag than the
    /// one that was entered with; else what the server or the connection says, and then the outcome may be unknown.
    ///
    /// # Cancel safety
    /// Dropped on the way, it may or may not be done.
    pub async fn command<T: FromRedisValue>(
        &mut self,
        command: &str,
        key: impl AsRef<[u8]>,
        arguments: impl ToRedisArgs,
    ) -> Result<T, Error<RedisError>> {
        self.belongs(key.as_ref())?;
        let mut call = COMMAND.prepare_invoke();
        self.present(&mut call);
        call.key(key.as_ref()).arg(command).arg(arguments);
        self.invoke(&call).await
    }

    /// A script of your own.
    ///
    /// # Errors
    /// As [`command`](Self::command).
    ///
    /// # Cancel safety
    /// Dropped on the way, it may or may not be done.
    pub async fn script<T: FromRedisValue>(
        &mut self,
        script: &Script,
        keys: &[impl AsRef<[u8]>],
        arguments: impl ToRedisArgs,
    ) -> Result<T, Error<RedisError>> {
        let mut call = script.script.prepare_invoke();
        self.present(&mut call);
        for key in keys {
            self.belongs(key.as_ref())?;
            call.key(key.as_ref());
        }
        call.arg(arguments);
        self.invoke(&call).await
    }

    /// The connection alone.
    pub fn into_inner(self) -> C {
        self.connection
    }

    /// What each script is given first.
    fn present(&self, call: &mut ScriptInvocation<'_>) {
        let mode = match self.who.mode() {
            Mode::Exclusive => "exclusive",
            Mode::Shared => "shared",
        };
        call.key(&self.marks[..]).arg(self.who.token().get()).arg(mode);
    }

    async fn invoke<T: FromRedisValue>(
        &mut self,
        call: &ScriptInvocation<'_>,
    ) -> Result<T, Error<RedisError>> {
        call.invoke_async(&mut self.connection).await.map_err(|error| match self.refusal(&error) {
            Some(stale) => stale.into(),
            None => Error::Storage(error),
        })
    }

    fn refusal(&self, error: &RedisError) -> Option<Stale> {
        let seen = error.detail().filter(|_| error.code() == Some(REFUSED))?;
        // The server may add where in the script it was said.
        let seen = seen.split(' ').next()?.parse().ok()?;
        Some(Stale { presented: self.who.token(), seen })
    }

    fn belongs(&self, key: &[u8]) -> Result<(), Error<RedisError>> {
        if tag(key).is_ok_and(|tag| tag == self.tag) {
            return Ok(());
        }
        Err(Error::Invalid(invalid(
            "fence",
            format!(
                "the key `{}` does not have the hash tag `{}` that was entered with; enter again for it",
                key.escape_ascii(),
                self.tag.escape_ascii()
            ),
        )))
    }
}

/// What of a key decides on its slot, by the rule of Redis Cluster: what is between the first `{` and the next `}`, if
/// there is something; else all of it.
fn tag(key: &[u8]) -> Result<&[u8], leasehold_core::Error> {
    let tagged = key.iter().position(|&b| b == b'{').and_then(|open| {
        let inner = &key[open + 1..];
        let close = inner.iter().position(|&b| b == b'}')?;
        (close > 0).then(|| &inner[..close])
    });
    match tagged {
        Some(tag) => Ok(tag),
        // As a tag of the marks it would end at its first brace.
        None if key.is_empty() || key.contains(&b'}') => Err(invalid(
            "fence",
            format!(
                "no mark can be kept in the slot of the key `{}`; give it a hash tag, as in `stock:{{42}}`",
                key.escape_ascii()
            ),
        )),
        None => Ok(key),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tag_is_what_decides_on_the_slot() {
        assert_eq!(tag(b"stock").unwrap(), b"stock");
        assert_eq!(tag(b"stock:{42}:left").unwrap(), b"42");
        assert_eq!(tag(b"{a}{b}").unwrap(), b"a");
        assert_eq!(tag(b"a{b").unwrap(), b"a{b");
        for bad in [&b""[..], b"a}b", b"{}a", b"}{"] {
            tag(bad).unwrap_err();
        }
    }
}
