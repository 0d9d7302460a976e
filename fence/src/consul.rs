//! Consul: every access is a transaction that fails unless the lock, in the same datacenter, is still held.
//!
//! ```no_run
//! # async fn example(guard: &leasehold_core::Guard) -> Result<(), Box<dyn std::error::Error>> {
//! let client = reqwest::Client::new();
//! let locks = leasehold_fence::consul::Locks::new();
//! let mut stock = locks.enter(guard, client, "http://localhost:8500").await?;
//! let left = stock.get("stock/42").await?;
//! stock.set("stock/42", "6").await?;
//! # Ok(()) }
//! ```
//! The token is the Raft index by which the holder was let in, and the key by which it stands at the lock says so as long as
//! the lock is held. So the check of each transaction is that this key has not changed since it was seen there (`check-index`),
//! and there is no mark to raise: whoever comes next comes after that key has gone, and reads what was written while it was
//! there. If the key has changed the holder is looked for again, for its place may move. `check-session` would not
//! do: one session has all locks of a client, and outlives each of them.
//!
//! An ACL token is a header (`X-Consul-Token`) of the client that is given; it must be allowed to read the lock's keys.
//!
//! # What it costs
//! Entering is one request, of the leader, who asks the others whether it still is one. An access is a transaction instead of a
//! plain request, with one operation more.
//!
//! # What it sees
//! The end of the lock, however it came: released, its session over or destroyed, its key deleted, or forgotten by servers
//! that were restored. Nobody else need have the lock for that.
//!
//! # What it cannot see
//! * Locks in another datacenter, and of other engines: use one of the storages with marks.
//! * Writes that are not sent through it, and reads of others that a server answers alone (`stale`).
//! * That a lock was revoked without `--force`: it is held until its session is over.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use leasehold_core::{Name, Token};
use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{Error, Sequencer};

/// What stands behind a lock's name in its key if the engine is told nothing else.
const SUFFIX: &str = "/.lock";
/// The folder, beside a lock, of those who wait for it and of those who share it.
const LINE: &str = "/.leasehold/";
/// What is said at the end if a key is to be read that is not there.
const ABSENT: &str = "doesn't exist";

/// Where the locks are.
#[derive(Clone, Debug)]
pub struct Locks {
    prefix: String,
    suffix: String,
}

/// Data under a lock, entered: read and write through it.
#[derive(Debug)]
pub struct Entered {
    api: Api,
    /// The lock's own key, and what the keys of its line begin with.
    lock: String,
    line: String,
    token: Token,
    contender: Contender,
}

/// What did not come of a request.
#[derive(Debug)]
#[non_exhaustive]
pub enum ApiError {
    /// It was not answered, and whether it was done is unknown; or it could not be sent.
    Http(reqwest::Error),
    /// Consul did not do it, and says why.
    Refused(String),
}

#[derive(Clone, Debug)]
struct Api {
    client: reqwest::Client,
    txn: String,
}

/// The key by which the holder stands there, and the index of its last change.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Contender {
    key: String,
    index: u64,
}

/// A key, as Consul tells it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    key: String,
    value: Option<String>,
    session: Option<String>,
    modify_index: u64,
}

/// What a claim says of itself, as far as that matters here.
#[derive(Deserialize, Default)]
struct Place {
    /// Of one in the line: that it has been let in.
    #[serde(default)]
    held: bool,
    /// If that is not the index of the last change.
    token: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    results: Option<Vec<Value>>,
    errors: Option<Vec<Failed>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Failed {
    op_index: usize,
    what: String,
}

/// What came of a transaction that was answered.
enum Came {
    Done(Vec<Value>),
    Failed(Vec<Failed>),
}

impl Locks {
    /// Where the engine keeps them, if its URL says nothing else.
    pub fn new() -> Self {
        Self::around("", SUFFIX)
    }

    /// With the prefix and the suffix of the engine's URL around the name.
    pub fn around(prefix: &str, suffix: &str) -> Self {
        Self { prefix: prefix.to_owned(), suffix: suffix.to_owned() }
    }

    /// Finds the holder's place at the lock, at the server or agent with this URL. Read and write through what it returns.
    ///
    /// # Errors
    /// [`Error::Gone`] if it has none any more; else what Consul says.
    ///
    /// # Cancel safety
    /// Changes nothing.
    pub async fn enter(
        &self,
        who: impl Into<Sequencer>,
        client: reqwest::Client,
        url: &str,
    ) -> Result<Entered, Error<ApiError>> {
        let who = who.into();
        let (name, token) = (escape(who.name()), who.token());
        let lock = format!("{}{name}{}", self.prefix, self.suffix);
        let line = format!("{}{name}{LINE}", self.prefix);
        // Whoever has just lost the leadership must not answer alone.
        let api = Api { client, txn: format!("{}/v1/txn?consistent", url.trim_end_matches('/')) };
        let contender = find(&api, &lock, &line, token).await?;
        Ok(Entered { api, lock, line, token, contender })
    }
}

impl Default for Locks {
    fn default() -> Self {
        Self::new()
    }
}

impl Entered {
    /// What the key holds; `None` if it is not there.
    ///
    /// # Errors
    /// [`Error::Gone`] if the lock is not held any more; else what Consul says.
    ///
    /// # Cancel safety
    /// Changes nothing.
    pub async fn get(&mut self, key: &str) -> Result<Option<Vec<u8>>, Error<ApiError>> {
        match self.guarded(&[json!({"KV": {"Verb": "get", "Key": key}})]).await? {
            Came::Done(results) => {
                // An empty value is told as none.
                let value = results.first().and_then(|result| result["KV"]["Value"].as_str());
                BASE64.decode(value.unwrap_or_default()).map(Some).map_err(|error| odd(&error.to_string()))
            }
            Came::Failed(failed) if failed.iter().all(|failed| failed.what.ends_with(ABSENT)) => Ok(None),
            Came::Failed(failed) => Err(refused(&failed)),
        }
    }

    /// Writes the key.
    ///
    /// # Errors
    /// [`Error::Gone`] if the lock is not held any more; else what Consul or the connection says, and then the outcome may be
    /// unknown.
    ///
    /// # Cancel safety
    /// Dropped on the way, it may or may not be written.
    pub async fn set(&mut self, key: &str, value: impl AsRef<[u8]>) -> Result<(), Error<ApiError>> {
        let set = json!({"KV": {"Verb": "set", "Key": key, "Value": BASE64.encode(value)}});
        self.transact(&[set]).await.map(drop)
    }

    /// Deletes the key, which need not be there.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    ///
    /// # Cancel safety
    /// Dropped on the way, it may or may not be deleted.
    pub async fn delete(&mut self, key: &str) -> Result<(), Error<ApiError>> {
        self.transact(&[json!({"KV": {"Verb": "delete", "Key": key}})]).await.map(drop)
    }

    /// A transaction of your own, of up to 63 operations as Consul's API has them; tells their results.
    ///
    /// # Errors
    /// As [`set`](Self::set). If one of them fails none is done.
    ///
    /// # Cancel safety
    /// Dropped on the way, it may or may not be done.
    pub async fn transact(&mut self, operations: &[Value]) -> Result<Vec<Value>, Error<ApiError>> {
        match self.guarded(operations).await? {
            Came::Done(results) => Ok(results),
            Came::Failed(failed) => Err(refused(&failed)),
        }
    }

    /// Does these if the lock is still held.
    async fn guarded(&mut self, operations: &[Value]) -> Result<Came, Error<ApiError>> {
        loop {
            let Contender { key, index } = &self.contender;
            let still_held = json!({"KV": {"Verb": "check-index", "Key": key, "Index": index}});
            let all: Vec<&Value> = [&still_held].into_iter().chain(operations).collect();
            match self.api.transact(&all).await? {
                // The check tells the key, too.
                Came::Done(results) => return Ok(Came::Done(results.into_iter().skip(1).collect())),
                Came::Failed(failed) if failed.iter().any(|failed| failed.op_index == 0) => {
                    let found = find(&self.api, &self.lock, &self.line, self.token).await?;
                    if found == self.contender {
                        return Ok(Came::Failed(failed));
                    }
                    self.contender = found;
                }
                failed => return Ok(failed),
            }
        }
    }
}

/// Where the holder with this token stands.
async fn find(api: &Api, lock: &str, line: &str, token: Token) -> Result<Contender, Error<ApiError>> {
    let tree = |key| json!({"KV": {"Verb": "get-tree", "Key": key}});
    // By one transaction: it may be moving from the one to the other.
    let results = match api.transact(&[&tree(lock), &tree(line)]).await? {
        Came::Done(results) => results,
        Came::Failed(failed) => return Err(refused(&failed)),
    };
    for result in results {
        let entry: Entry = serde_json::from_value(result["KV"].clone()).map_err(|e| odd(&e.to_string()))?;
        if (entry.key == lock || entry.key.starts_with(line)) && entry.holds(token, entry.key == lock) {
            return Ok(Contender { key: entry.key, index: entry.modify_index });
        }
    }
    Err(Error::Gone(token))
}

impl Entry {
    /// Whether this is the key of a holder with this token.
    fn holds(&self, token: Token, is_lock: bool) -> bool {
        let value = self.value.as_deref().and_then(|value| BASE64.decode(value).ok()).unwrap_or_default();
        let place: Place = serde_json::from_slice(&value).unwrap_or_default();
        let let_in = self.session.is_some() && (is_lock || place.held);
        let_in && place.token.unwrap_or(self.modify_index) == token.get()
    }
}

impl Api {
    async fn transact(&self, operations: &[&Value]) -> Result<Came, Error<ApiError>> {
        let http = |error| Error::Storage(ApiError::Http(error));
        let body = serde_json::to_vec(operations).map_err(|error| odd(&error.to_string()))?;
        let answer = self.client.put(&self.txn).body(body).send().await.map_err(http)?;
        let status = answer.status();
        let body = answer.bytes().await.map_err(http)?;
        if status != StatusCode::OK && status != StatusCode::CONFLICT {
            let said = String::from_utf8_lossy(&body);
            return Err(Error::Storage(ApiError::Refused(format!("{status}: {}", said.trim()))));
        }
        let answer: Answer = serde_json::from_slice(&body).map_err(|error| odd(&error.to_string()))?;
        match answer.errors.unwrap_or_default() {
            failed if !failed.is_empty() => Ok(Came::Failed(failed)),
            _ => Ok(Came::Done(answer.results.unwrap_or_default())),
        }
    }
}

fn refused(failed: &[Failed]) -> Error<ApiError> {
    let said: Vec<&str> = failed.iter().map(|failed| failed.what.as_str()).collect();
    Error::Storage(ApiError::Refused(said.join("; ")))
}

fn odd(why: &str) -> Error<ApiError> {
    Error::Storage(ApiError::Refused(format!("an answer that cannot be read: {why}")))
}

/// A lock's name as the engine spells it in a key: whatever would leave its place is escaped as in URLs.
fn escape(name: &Name) -> String {
    let mut escaped = String::new();
    // As before the first segment, and after a slash.
    let mut begins = true;
    let mut rest = name.as_str().chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '%' => escaped.push_str("%25"),
            '.' if begins => escaped.push_str("%2E"),
            '/' if begins || matches!(rest.peek(), None | Some('/')) => escaped.push_str("%2F"),
            c => escaped.push(c),
        }
        begins = c == '/';
    }
    escaped
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(error) => error.fmt(f),
            Self::Refused(why) => write!(f, "Consul says: {why}"),
        }
    }
}

impl std::error::Error for ApiError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Http(error) => Some(error),
            Self::Refused(_) => None,
        }
    }
}
