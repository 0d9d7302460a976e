//! Queues as an onlooker sees them.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::try_join_all;
use leasehold_core::claim::{ClaimId, Meta};
use leasehold_core::engine::{ClaimView, Page, Query, QueueView};
use leasehold_core::{Name, Result, Token};
use redis::cluster_routing::{RoutingInfo, SingleNodeRoutingInfo};
use redis::{Value, cmd};

use crate::engine::Inner;
use crate::link;
use crate::session::{Session, Wire};
use crate::wire::{self, Place, odd};

/// How many keys the server looks at for one answer to `SCAN`.
const SCAN_COUNT: u32 = 1000;
/// How many queues are asked for at a time.
const AT_ONCE: usize = 100;
/// The size of an entry before what the claim says about itself, and that of a claim that is alone.
const ENTRY: usize = 51;
const ALONE: usize = 68;
/// What stands at the plain key while readers or permits hold.
const SHARED: &[u8] = b"leasehold:shared";
/// A joined time below this is a span: how long before its key expires the claim joined, in microseconds.
const SPAN_MAX: u64 = 100_000_000_000_000;

/// A page of queues.
pub(crate) async fn inspect(inner: &Inner, query: &Query) -> Result<Page> {
    let session = inner.link.session().await?;
    if let (Ok(name), 1, None) = (Name::new(&query.prefix), query.limit, &query.after) {
        // Names sort by bytes, so the one that is all of the prefix comes first: no need to look through the whole
        // database for it.
        if let Some(queue) = look(inner, &session, &name, true).await? {
            return Ok(Page { queues: vec![queue], next: Some(name) });
        }
    }
    let names: Vec<Name> = names(inner, &session, query).await?.into_iter().collect();
    let mut page = Page::default();
    for some in names.chunks(AT_ONCE) {
        let looks = some.iter().map(|name| look(inner, &session, name, false));
        page.queues.extend(try_join_all(looks).await?.into_iter().flatten());
        if page.queues.len() > query.limit {
            page.queues.truncate(query.limit);
            page.next = page.queues.last().map(|q| q.name.clone());
            break;
        }
    }
    Ok(page)
}

/// The names of all queues that are asked for.
async fn names(inner: &Inner, session: &Session, query: &Query) -> Result<BTreeSet<Name>> {
    let prefix = &inner.config().prefix;
    let pattern =
        [b"leasehold:{???}:", &escaped(&[prefix, query.prefix.as_str()].concat())[..], b"*"].concat();
    let mut names = BTreeSet::new();
    for node in nodes(inner, session).await? {
        let mut cursor = b"0".to_vec();
        loop {
            let mut scan = cmd("SCAN");
            scan.arg(&cursor[..]).arg("MATCH").arg(&pattern[..]).arg("COUNT").arg(SCAN_COUNT);
            let answer = send(session, &scan, node.as_ref())
                .await
                .map_err(|e| link::failed(inner.config(), "inspect", e))?;
            let Value::Array(parts) = &answer else { return Err(odd("inspect", &answer)) };
            let [Value::BulkString(next), Value::Array(keys)] = &parts[..] else {
                return Err(odd("inspect", &answer));
            };
            for key in keys {
                if let Value::BulkString(key) = key
                    && let Some(name) = key.get(b"leasehold:{xyz}:".len() + prefix.len()..)
                    && let Ok(name) = std::str::from_utf8(name)
                    && let Ok(name) = Name::new(name)
                    && query.after.as_ref().is_none_or(|after| name > *after)
                {
                    names.insert(name);
                }
            }
            if next == b"0" {
                break;
            }
            cursor.clone_from(next);
        }
    }
    Ok(names)
}

/// In a cluster, its masters; otherwise only the one server.
async fn nodes(inner: &Inner, session: &Session) -> Result<Vec<Option<(String, u16)>>> {
    if matches!(session.wire, Wire::One(_)) {
        return Ok(vec![None]);
    }
    let answer = session
        .send(cmd("CLUSTER").arg("SLOTS"))
        .await
        .map_err(|e| link::failed(inner.config(), "inspect", e))?;
    let Value::Array(ranges) = &answer else { return Err(odd("inspect", &answer)) };
    let mut nodes = BTreeSet::new();
    for range in ranges {
        if let Value::Array(range) = range
            && let Some(Value::Array(master)) = range.get(2)
            && let [Value::BulkString(host), Value::Int(port), ..] = &master[..]
        {
            nodes.insert((String::from_utf8_lossy(host).into_owned(), u16::try_from(*port).unwrap_or(0)));
        }
    }
    Ok(nodes.into_iter().map(Some).collect())
}

async fn send(
    session: &Session,
    cmd: &redis::Cmd,
    node: Option<&(String, u16)>,
) -> redis::RedisResult<Value> {
    match (&session.wire, node) {
        (Wire::Cluster(connection), Some((host, port))) => {
            let (host, port) = (host.clone(), *port);
            let route = SingleNodeRoutingInfo::ByAddress { host, port };
            connection.clone().route_command(cmd.clone(), RoutingInfo::SingleNode(route)).await
        }
        _ => session.send(cmd).await,
    }
}

/// A text as a glob that matches only it.
fn escaped(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for byte in text.bytes() {
        if matches!(byte, b'*' | b'?' | b'[' | b']' | b'\\' | b'^') {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out
}

/// One queue. A lock of another client stands at its head; where nobody waits for that, it is shown only if it was
/// asked for by name.
async fn look(inner: &Inner, session: &Session, name: &Name, exact: bool) -> Result<Option<QueueView>> {
    let place = inner.place(name.as_str());
    let script = &inner.scripts.view;
    let cmd = wire::view(script, &place);
    let answer = inner.run("inspect", session, script, &cmd, &place).await?;
    let seen = Seen::from(&answer).ok_or_else(|| odd("inspect", &answer))?;
    let queue = match (&seen.alone, &seen.hash) {
        (Some(alone), _) => seen.one(alone),
        (None, hash) => seen.all(hash),
    };
    let (capacity, mut claims) = queue.ok_or_else(|| odd("inspect", &answer))?;
    if let Some(other) = seen.foreign(&place, capacity, &claims) {
        // Whoever of ours held is lost.
        claims.retain(|claim| claim.token.is_none());
        if exact || !claims.is_empty() {
            claims.insert(0, other);
        }
    }
    if claims.is_empty() {
        return Ok(None);
    }
    Ok(Some(QueueView { name: name.clone(), capacity, claims }))
}

/// What the script tells.
struct Seen {
    now: u64,
    plain: Option<Vec<u8>>,
    plain_left: i64,
    alone: Option<Vec<u8>>,
    left: i64,
    hash: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Seen {
    fn from(value: &Value) -> Option<Self> {
        let Value::Array(parts) = value else { return None };
        let [seconds, micros, plain, Value::Int(plain_left), alone, Value::Int(left), hash] = &parts[..]
        else {
            return None;
        };
        let bytes = |value: &Value| if let Value::BulkString(b) = value { Some(b.clone()) } else { None };
        let number = |value: &Value| std::str::from_utf8(&bytes(value)?).ok()?.parse::<u64>().ok();
        let hash = match hash {
            Value::Array(fields) => fields
                .chunks_exact(2)
                .map(|pair| Some((bytes(&pair[0])?, bytes(&pair[1])?)))
                .collect::<Option<_>>()?,
            _ => Vec::new(),
        };
        Some(Self {
            now: number(seconds)? * 1_000_000 + number(micros)?,
            plain: bytes(plain),
            plain_left: *plain_left,
            alone: bytes(alone),
            left: *left,
            hash,
        })
    }

    /// The claim that is alone: version, tag, id, capacity, weight, at-least, joined, inbox, meta, token.
    fn one(&self, alone: &[u8]) -> Option<(u32, Vec<ClaimView>)> {
        let (meta, token) = alone.get(ALONE..)?.split_last_chunk::<8>()?;
        let id = wire::id_from(alone.get(4..36)?)?;
        let capacity = u32_at(alone, 36)?;
        // Another client's lock has overridden it.
        if self.plain.as_deref().is_some_and(|value| value != wire::hex(id)) {
            return Some((capacity, Vec::new()));
        }
        let left = u64::try_from(self.left).unwrap_or(0) * 1000;
        let joined = u64_at(alone, 52)?;
        let joined = if joined < SPAN_MAX { (self.now + left).saturating_sub(joined) } else { joined };
        let view = ClaimView {
            id,
            weight: u32_at(alone, 40)?,
            token: Token::new(u64::from_be_bytes(*token)),
            age: self.since(joined),
            ttl_left: Duration::from_micros(left),
            revoked: false,
            meta: wire::meta_from(meta)?,
        };
        Some((capacity, vec![view]))
    }

    /// All entries of the hash that are alive, by number.
    fn all(&self, hash: &[(Vec<u8>, Vec<u8>)]) -> Option<(u32, Vec<ClaimView>)> {
        let Some((_, head)) = hash.iter().find(|(field, _)| field == b"^") else {
            return Some((1, Vec::new()));
        };
        let mut claims = Vec::new();
        for (field, entry) in hash.iter().filter(|(field, _)| field.len() == 32) {
            let deadline = u64_at(entry, 4)?;
            if deadline <= self.now {
                continue;
            }
            let number = u64::from_be_bytes([&[0, 0], entry.get(45..ENTRY)?].concat().try_into().ok()?);
            let view = ClaimView {
                id: wire::id_from(field)?,
                weight: u32_at(entry, 0)?,
                token: Token::new(u64_at(entry, 12)?),
                age: self.since(u64_at(entry, 28)?),
                ttl_left: Duration::from_micros(deadline - self.now),
                revoked: entry.get(44) == Some(&1),
                meta: wire::meta_from(entry.get(ENTRY..)?)?,
            };
            claims.push((number, view));
        }
        claims.sort_unstable_by_key(|(number, _)| *number);
        Some((u32_at(head, 1)?, claims.into_iter().map(|(_, view)| view).collect()))
    }

    /// A lock that is not ours, as a claim to everything. `claims` are those of ours.
    fn foreign(&self, place: &Place, capacity: u32, claims: &[ClaimView]) -> Option<ClaimView> {
        let value = self.plain.as_deref()?;
        let mut holders = claims.iter().filter(|claim| claim.token.is_some());
        if holders.any(|claim| value == SHARED || value == wire::hex(claim.id)) {
            return None;
        }
        let left = u64::try_from(self.plain_left).map_or(Duration::MAX, Duration::from_millis);
        Some(ClaimView {
            id: ClaimId(0),
            weight: capacity,
            token: None,
            age: Duration::ZERO,
            ttl_left: left,
            revoked: false,
            meta: Meta {
                owner: format!("another client (`{}` is `{}`)", place.key, value.escape_ascii()).into(),
                payload: None,
            },
        })
    }

    fn since(&self, joined: u64) -> Duration {
        Duration::from_micros(self.now.saturating_sub(joined))
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}
