//! ZooKeeper: every write is a transaction that fails unless the lock, in the same ensemble, is still held.
//!
//! ```no_run
//! # async fn example(guard: &leasehold_core::Guard) -> Result<(), Box<dyn std::error::Error>> {
//! let client = zookeeper_client::Client::connect("localhost:2181").await?;
//! let stock = leasehold_fence::zookeeper::Locks::new().enter(guard, client).await?;
//! let (left, stat) = stock.get("/stock/42").await?.ok_or("no such node")?;
//! stock.set("/stock/42", b"6", Some(stat.version)).await?;
//! # Ok(()) }
//! ```
//! The token is the zxid that made the node by which the holder stands in the lock's line, and that node is there as long as
//! the lock is held. Its name is never used again, so the check of each transaction is that it exists. There is no mark to
//! raise: whoever comes next comes after that node has gone, and reads what was written while it was there.
//!
//! The client must be allowed to read the lock's node and its children: with `acl=creator` in the engine's URL, it must be the
//! same user.
//!
//! # What it costs
//! Entering asks for the names in the line, then who stands first, and then waits for one transaction that changes nothing, so
//! that what is read afterwards is not what a server saw that lags behind. A write is a transaction with one operation
//! more; a read asks about the holder's node at the same time.
//!
//! # What it sees
//! The end of the lock, however it came: released, its session over, deleted by hand or with `--force`, or forgotten by an
//! ensemble that was restored. Nobody else need have the lock for that.
//!
//! # What it cannot see
//! * Locks in another ensemble, and of other engines: use one of the storages with marks.
//! * Writes that are not sent through it.
//! * Reads with the client itself that were sent before it entered: a server may lag. Enter first.
//! * That a lock was revoked without `--force`: it is held until its session is over.

use std::fmt::{self, Write as _};

use leasehold_core::{Name, Token};
use zookeeper_client::{CheckWriteError, CheckWriter, Client, Error as ZooError, Stat};

use crate::{Error, Sequencer};

/// The node in which ZooKeeper keeps its own things.
const RESERVED: &str = "zookeeper";

/// Where the locks are.
#[derive(Clone, Debug)]
pub struct Locks {
    chroot: String,
}

/// Data under a lock, entered: read and write through it.
pub struct Entered {
    client: Client,
    /// The path of the holder's node.
    contender: String,
    token: Token,
}

impl Locks {
    /// At the root of the client that is entered with.
    pub fn new() -> Self {
        Self::under("")
    }

    /// Under this path, as the client that is entered with has it: the chroot of the engine's URL, less what the client has
    /// itself.
    pub fn under(path: &str) -> Self {
        Self { chroot: path.trim_end_matches('/').to_owned() }
    }

    /// Finds the holder's place in the lock's line. Read and write through what it returns.
    ///
    /// # Errors
    /// [`Error::Gone`] if it has none any more; else what the server says.
    ///
    /// # Cancel safety
    /// Changes nothing.
    pub async fn enter(
        &self,
        who: impl Into<Sequencer>,
        client: Client,
    ) -> Result<Entered, Error<CheckWriteError>> {
        let who = who.into();
        let contender = self.find(&client, &who).await.map_err(storage)?;
        let contender = contender.ok_or(Error::Gone(who.token()))?;
        let entered = Entered { client, contender, token: who.token() };
        // A majority agrees, and from now on this server has all that was written under the lock before.
        entered.commit(entered.writer()?).await?;
        Ok(entered)
    }

    /// The node that this token's transaction has made.
    async fn find(&self, client: &Client, who: &Sequencer) -> Result<Option<String>, ZooError> {
        let line = self.line(client, who.name());
        // Both are sent now: the server may not have heard yet of what the holder knows.
        let (synced, children) = (client.sync(&line), client.list_children(&line));
        let mut children = match (synced.await, children.await) {
            (Err(ZooError::NoNode), _) | (_, Err(ZooError::NoNode)) => return Ok(None),
            (Err(error), _) | (_, Err(error)) => return Err(error),
            (Ok(()), Ok(children)) => children,
        };
        // By the number at its end: who holds is among the first.
        children.sort_unstable_by(|a, b| number(a).cmp(number(b)));
        for child in children {
            let node = format!("{line}/{child}");
            let stat = client.check_stat(&node).await?;
            if stat.is_some_and(|stat| u64::try_from(stat.czxid) == Ok(who.token().get())) {
                return Ok(Some(node));
            }
        }
        Ok(None)
    }

    /// The node whose children are the lock's line. As the engine spells it: what ZooKeeper does not take is escaped.
    fn line(&self, client: &Client, name: &Name) -> String {
        let name = name.as_str();
        let at_root = self.chroot.is_empty() && client.path() == "/";
        let is_reserved = name == "." || name == ".." || (at_root && name == RESERVED);
        let mut path = format!("{}/", self.chroot);
        for (at, c) in name.char_indices() {
            if takes(c) && !(is_reserved && at == 0) {
                path.push(c);
            } else {
                let mut bytes = [0; 4];
                for byte in c.encode_utf8(&mut bytes).bytes() {
                    write!(path, "%{byte:02X}").expect("a string takes everything");
                }
            }
        }
        path
    }
}

/// Whether ZooKeeper takes this character in the name of a node, and it means nothing else.
fn takes(c: char) -> bool {
    !matches!(c, '/' | '%' | '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{e000}'..='\u{f8ff}' | '\u{fff0}'..)
}

/// What the server has appended to a node's name: ten digits.
fn number(child: &str) -> &[u8] {
    let name = child.as_bytes();
    &name[name.len().saturating_sub(10)..]
}

impl Default for Locks {
    fn default() -> Self {
        Self::new()
    }
}

impl Entered {
    /// What the node holds, and its versions; `None` if it is not there.
    ///
    /// # Errors
    /// [`Error::Gone`] if the lock is not held any more; else what the server says.
    ///
    /// # Cancel safety
    /// Changes nothing.
    pub async fn get(&self, path: &str) -> Result<Option<(Vec<u8>, Stat)>, Error<CheckWriteError>> {
        // Both are sent now, and done in this order: who is there afterwards was there before.
        let (data, held) = (self.client.get_data(path), self.client.check_stat(&self.contender));
        let (data, held) = (data.await, held.await);
        held.map_err(storage)?.ok_or(Error::Gone(self.token))?;
        match data {
            Ok(found) => Ok(Some(found)),
            Err(ZooError::NoNode) => Ok(None),
            Err(error) => Err(storage(error)),
        }
    }

    /// Replaces what the node holds, which must be there, and have this version if one is named.
    ///
    /// # Errors
    /// [`Error::Gone`] if the lock is not held any more; else what the server or the connection says, and then the outcome
    /// may be unknown.
    ///
    /// # Cancel safety
    /// Dropped on the way, it may or may not be written.
    pub async fn set(
        &self,
        path: &str,
        data: &[u8],
        version: Option<i32>,
    ) -> Result<(), Error<CheckWriteError>> {
        let mut writer = self.writer()?;
        writer.add_set_data(path, data, version).map_err(storage)?;
        self.commit(writer).await
    }

    /// A transaction of your own, which begins with the check. Give it to [`commit`](Self::commit).
    ///
    /// # Errors
    /// If the client does not take the path of the holder's node, which it has told itself.
    pub fn writer(&self) -> Result<CheckWriter<'_>, Error<CheckWriteError>> {
        // Any version: whoever revokes the lock writes into the node, and it is held nevertheless.
        self.client.new_check_writer(&self.contender, None).map_err(storage)
    }

    /// Does all that is in this transaction, or nothing.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    ///
    /// # Cancel safety
    /// Dropped on the way, it may or may not be done.
    pub async fn commit(&self, writer: CheckWriter<'_>) -> Result<(), Error<CheckWriteError>> {
        match writer.commit().await {
            Ok(_) => Ok(()),
            Err(CheckWriteError::CheckFailed { source: ZooError::NoNode }) => Err(Error::Gone(self.token)),
            Err(error) => Err(Error::Storage(error)),
        }
    }
}

impl fmt::Debug for Entered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entered").field("contender", &self.contender).field("token", &self.token).finish()
    }
}

fn storage(error: ZooError) -> Error<CheckWriteError> {
    Error::Storage(error.into())
}
