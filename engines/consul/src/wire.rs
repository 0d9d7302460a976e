//! What Consul is asked, and what it answers: sessions, keys, transactions.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hyper::{Method, StatusCode};
use leasehold_core::url::parse_duration;
use leasehold_core::{Outcome, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::failure::{self, Broken};
use crate::http::{Answer, Http, in_path};

/// By these flags Consul's own clients know a lock.
pub(crate) const LOCK_FLAGS: u64 = 0x2ddc_cbc0_58a5_0c18;
/// The most operations in one transaction.
pub(crate) const OPS_MAX: usize = 64;
/// How long the server lets a question wait for news. Whoever carries the connection may forget one that is silent for
/// longer.
const WAIT: Duration = Duration::from_secs(55);
/// It waits a little longer than it is told, so that not all come back at once.
const WAIT_SLACK: Duration = Duration::from_secs(4);

/// One step of a transaction.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Op {
    #[serde(rename = "KV")]
    kv: Step,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Step {
    verb: &'static str,
    key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    flags: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<String>,
}

impl Op {
    fn new(verb: &'static str, key: &str) -> Self {
        Self { kv: Step { verb, key: key.to_owned(), value: None, flags: None, index: None, session: None } }
    }

    /// The key must not be there.
    pub(crate) fn absent(key: &str) -> Self {
        Self::new("check-not-exists", key)
    }

    /// The key must not have changed.
    pub(crate) fn unchanged(key: &str, index: u64) -> Self {
        let mut op = Self::new("check-index", key);
        op.kv.index = Some(index);
        op
    }

    /// The session takes the key, which it may have already.
    pub(crate) fn lock(key: &str, session: &str, flags: u64, value: &str) -> Self {
        let mut op = Self::new("lock", key);
        op.kv.session = Some(session.to_owned());
        op.kv.flags = Some(flags);
        op.kv.value = Some(BASE64.encode(value));
        op
    }

    /// The session, which has it, gives the key up.
    pub(crate) fn unlock(key: &str, session: &str, flags: u64) -> Self {
        let mut op = Self::new("unlock", key);
        op.kv.session = Some(session.to_owned());
        op.kv.flags = Some(flags);
        op
    }

    /// Another value, if it has not changed; whose it is stays as it was.
    pub(crate) fn replace(key: &str, index: u64, flags: u64, value: &str) -> Self {
        let mut op = Self::new("cas", key);
        op.kv.index = Some(index);
        op.kv.flags = Some(flags);
        op.kv.value = Some(BASE64.encode(value));
        op
    }

    /// The key goes, which must be there and must not have changed.
    pub(crate) fn remove(key: &str, index: u64) -> [Self; 2] {
        [Self::unchanged(key, index), Self::new("delete", key)]
    }

    /// The key goes, if it has not changed; it may be gone already.
    pub(crate) fn delete(key: &str, index: u64) -> Self {
        let mut op = Self::new("delete-cas", key);
        op.kv.index = Some(index);
        op
    }

    /// The key, which must be there.
    pub(crate) fn get(key: &str) -> Self {
        Self::new("get", key)
    }

    /// All keys that begin so.
    pub(crate) fn tree(prefix: &str) -> Self {
        Self::new("get-tree", prefix)
    }

    /// Whether it reads all keys that begin so.
    pub(crate) fn is_tree(&self) -> bool {
        self.kv.verb == "get-tree"
    }

    /// Whether an entry is of the answer to this step, the steps before it having had theirs.
    pub(crate) fn answers(&self, entry: &Entry, before: usize) -> bool {
        match self.kv.verb {
            "get-tree" => entry.key.starts_with(&self.kv.key),
            "check-not-exists" | "delete" | "delete-cas" => false,
            _ => before == 0 && entry.key == self.kv.key,
        }
    }
}

/// A key, as the server tells it.
#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Entry {
    pub(crate) key: String,
    /// In base64; not told of what has just been written.
    pub(crate) value: Option<String>,
    pub(crate) flags: u64,
    pub(crate) session: Option<String>,
    pub(crate) create_index: u64,
    pub(crate) modify_index: u64,
    pub(crate) lock_index: u64,
}

impl Entry {
    /// Its value as text; empty if it is none.
    pub(crate) fn text(&self) -> String {
        let bytes = self.value.as_deref().and_then(|value| BASE64.decode(value).ok()).unwrap_or_default();
        String::from_utf8(bytes).unwrap_or_default()
    }
}

/// Why a step of a transaction failed, and with it the whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Why {
    /// The key is not as it was expected.
    Moved,
    /// The key may not be locked yet, for a session ended that had it.
    Delayed,
    /// The session is not there.
    NoSession,
    /// The token does not allow it.
    Forbidden(String),
}

/// What came of a transaction that was not done.
#[derive(Debug, Clone)]
pub(crate) enum Undone {
    /// It was refused, for what these steps found.
    Refused(Vec<(usize, Why)>),
    /// It could not be asked, or nobody knows.
    Failed(leasehold_core::Error),
}

impl Undone {
    pub(crate) fn is(&self, why: &Why) -> bool {
        matches!(self, Self::Refused(steps) if steps.iter().any(|(_, w)| w == why))
    }

    /// The error, unless it is that somebody else was faster.
    pub(crate) fn error(&self, operation: &'static str) -> Option<leasehold_core::Error> {
        match self {
            Self::Failed(error) => Some(error.clone()),
            Self::Refused(steps) => steps.iter().find_map(|(_, why)| match why {
                Why::Forbidden(said) => Some(failure::forbidden(operation, said)),
                _ => None,
            }),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct TxnAnswer {
    results: Option<Vec<TxnResult>>,
    errors: Option<Vec<TxnError>>,
}

#[derive(Deserialize)]
struct TxnResult {
    #[serde(rename = "KV")]
    kv: Entry,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct TxnError {
    op_index: usize,
    what: String,
}

impl TxnError {
    fn why(self) -> Why {
        let what = self.what;
        if what.contains("lock delay") {
            Why::Delayed
        } else if what.contains("invalid session") {
            Why::NoSession
        } else if what.contains("Permission denied") || what.contains("ACL") {
            Why::Forbidden(what)
        } else {
            Why::Moved
        }
    }
}

/// What is asked of a new session.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct NewSession {
    name: &'static str,
    #[serde(rename = "TTL")]
    ttl: String,
    lock_delay: String,
    behavior: &'static str,
    // Nothing but its time to live ends it: a node that is wrongly taken for dead must not end locks.
    checks: [&'static str; 0],
    node_checks: [&'static str; 0],
}

#[derive(Deserialize)]
struct Made {
    #[serde(rename = "ID")]
    id: String,
}

#[derive(Deserialize)]
struct Granted {
    #[serde(rename = "TTL")]
    ttl: String,
}

/// Consul's API, as far as locks need it.
#[derive(Debug)]
pub(crate) struct Api {
    http: Arc<Http>,
    /// The servers, for errors.
    servers: String,
    lock_delay: Duration,
}

impl Api {
    pub(crate) fn new(http: Arc<Http>, config: &Config) -> Self {
        Self { http, servers: config.servers(), lock_delay: config.lock_delay }
    }

    async fn ask(
        &self,
        operation: &'static str,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<Answer> {
        match self.http.ask(method, path, body).await {
            Ok(answer) => Ok(answer),
            Err(broken) => Err(self.explain(operation, &broken).await),
        }
    }

    /// Who does not answer in time may wait for a leader himself: that is asked, for it is the news.
    async fn explain(&self, operation: &'static str, broken: &Broken) -> leasehold_core::Error {
        let error = failure::broken(operation, broken, self.http.timeout);
        let leaderless = matches!(broken, Broken::TimedOut)
            && self
                .http
                .ask(Method::GET, "status/leader", Vec::new())
                .await
                .is_ok_and(|answer| &answer.body[..] == b"\"\"");
        let error = match leaderless {
            true => failure::no_leader(operation).with_outcome(Outcome::Unknown),
            false => error,
        };
        error.with("server", &self.servers)
    }

    fn refuse(&self, operation: &'static str, answer: &Answer) -> leasehold_core::Error {
        failure::refused(operation, answer).with("server", &self.servers)
    }

    fn read<T: DeserializeOwned>(&self, operation: &'static str, answer: &Answer) -> Result<T> {
        if answer.status != StatusCode::OK {
            return Err(self.refuse(operation, answer));
        }
        serde_json::from_slice(&answer.body)
            .map_err(|why| failure::odd(operation, why).with("server", &self.servers))
    }

    /// Opens a session; tells its id.
    pub(crate) async fn open(&self, ttl: Duration) -> Result<String> {
        let session = NewSession {
            name: "leasehold",
            ttl: millis(ttl),
            lock_delay: millis(self.lock_delay),
            behavior: "delete",
            checks: [],
            node_checks: [],
        };
        let answer = self.ask("lock", Method::PUT, "session/create", json(&session)).await?;
        Ok(self.read::<Made>("lock", &answer)?.id)
    }

    /// Renews a session; tells how long it lasts from now on, at the least.
    pub(crate) async fn renew(&self, session: &str) -> Result<Duration> {
        let path = format!("session/renew/{session}");
        let answer = self.ask("heartbeat", Method::PUT, &path, Vec::new()).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Err(failure::lost("heartbeat").with("server", &self.servers));
        }
        let granted: Vec<Granted> = self.read("heartbeat", &answer)?;
        let granted = granted.first().ok_or_else(|| failure::odd("heartbeat", "it grants nothing"))?;
        go_duration(&granted.ttl).ok_or_else(|| failure::odd("heartbeat", "its TTL is no duration"))
    }

    /// Ends a session.
    pub(crate) async fn destroy(&self, session: &str) -> Result<()> {
        let path = format!("session/destroy/{session}");
        let answer = self.ask("close", Method::PUT, &path, Vec::new()).await?;
        self.read::<bool>("close", &answer).map(drop)
    }

    /// Does all of it or nothing, in its order; tells what was read and written.
    pub(crate) async fn transact(&self, operation: &'static str, ops: &[Op]) -> Result<Vec<Entry>, Undone> {
        // If it writes nothing: a leader that stood still and was replaced would answer with what was before.
        let path = "txn?consistent";
        let answer = self.ask(operation, Method::PUT, path, json(&ops)).await.map_err(Undone::Failed)?;
        if answer.status != StatusCode::OK && answer.status != StatusCode::CONFLICT {
            return Err(Undone::Failed(self.refuse(operation, &answer)));
        }
        let told: TxnAnswer = serde_json::from_slice(&answer.body)
            .map_err(|why| Undone::Failed(failure::odd(operation, why).with("server", &self.servers)))?;
        let errors = told.errors.unwrap_or_default();
        if !errors.is_empty() {
            return Err(Undone::Refused(errors.into_iter().map(|e| (e.op_index, e.why())).collect()));
        }
        Ok(told.results.unwrap_or_default().into_iter().map(|result| result.kv).collect())
    }

    /// All keys that begin so.
    pub(crate) async fn keys(&self, operation: &'static str, prefix: &str) -> Result<Vec<String>> {
        let path = format!("kv/{}?keys&consistent", in_path(prefix));
        let answer = self.ask(operation, Method::GET, &path, Vec::new()).await?;
        match answer.status {
            StatusCode::NOT_FOUND => Ok(Vec::new()),
            _ => self.read(operation, &answer),
        }
    }

    /// A key, once it is newer than `index`, or after a while; and the index of that. `None` if it is not there.
    pub(crate) async fn news_of_key(&self, key: &str, index: u64) -> Result<(Option<Entry>, u64)> {
        let answer = self.news(&format!("kv/{}", in_path(key)), index).await?;
        let entry = match answer.status {
            StatusCode::NOT_FOUND => None,
            _ => self.read::<Vec<Entry>>("watch", &answer)?.pop(),
        };
        Ok((entry, answer.index))
    }

    /// Whether a session is there, once that is newer than `index`, or after a while; and the index of that.
    pub(crate) async fn news_of_session(&self, session: &str, index: u64) -> Result<(bool, u64)> {
        let answer = self.news(&format!("session/info/{session}"), index).await?;
        let found: Option<Vec<serde::de::IgnoredAny>> = self.read("watch", &answer)?;
        Ok((found.is_some_and(|sessions| !sessions.is_empty()), answer.index))
    }

    async fn news(&self, path: &str, index: u64) -> Result<Answer> {
        if index == 0 {
            return self.ask("watch", Method::GET, path, Vec::new()).await;
        }
        let path = format!("{path}?index={index}&wait={}", millis(WAIT));
        let asked = self.http.ask_patiently(Method::GET, &path, Vec::new(), WAIT + WAIT_SLACK).await;
        asked.map_err(|broken| failure::broken("watch", &broken, WAIT))
    }
}

fn json(what: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(what).expect("plain structs are always JSON")
}

fn millis(span: Duration) -> String {
    format!("{}ms", span.as_millis())
}

/// A duration as Go prints it: `10s`, `1m30s`, `1h0m0s`, `10.5s`.
fn go_duration(text: &str) -> Option<Duration> {
    let mut whole = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let unit = rest.find(|c: char| c.is_ascii_alphabetic())?;
        let end = rest[unit..].find(|c: char| !c.is_ascii_alphabetic()).map_or(rest.len(), |at| unit + at);
        whole += parse_duration(&rest[..end]).ok()?;
        rest = &rest[end..];
    }
    (!text.is_empty()).then_some(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_of_go() {
        let read = |text| go_duration(text).map(|d| d.as_millis());
        assert_eq!(read("10s"), Some(10_000));
        assert_eq!(read("1h0m0.5s"), Some(3_600_500));
        assert_eq!(read("1m30s"), Some(90_000));
        assert_eq!(read("10500ms"), Some(10_500));
        assert_eq!((read(""), read("10"), read("x")), (None, None, None));
    }

    #[test]
    fn steps_are_written_as_consul_reads_them() {
        let ops = [Op::lock("a/.lock", "s", LOCK_FLAGS, "v"), Op::unchanged("k", 7), Op::tree("t/")];
        assert_eq!(
            serde_json::to_string(&ops).unwrap(),
            r#"[{"KV":{"Verb":"lock","Key":"a/.lock","Value":"dg==","Flags":3304740253564472344,"Session":"s"}},"#
                .to_owned()
                + r#"{"KV":{"Verb":"check-index","Key":"k","Index":7}},{"KV":{"Verb":"get-tree","Key":"t/"}}]"#
        );
    }
}
