//! What is asked of etcd and what it answers, about lines and contenders.

use std::sync::Arc;
use std::time::Duration;

use leasehold_core::claim::{CAPACITY_MAX, Claim, ClaimId, Meta};
use leasehold_core::ordered::store::Contender;
use leasehold_core::{Error, ErrorKind, Name, Result, Token};
use serde::{Deserialize, Serialize};

use crate::messages::{
    Compare, DeleteRangeRequest, KeyValue, PutRequest, RangeRequest, Request, RequestOp, Target, TxnRequest,
};
use crate::place::{Place, Span};

const ASCENDING: i32 = 1;
const BY_CREATE_REVISION: i32 = 2;
const EQUAL: i32 = 0;
const GREATER: i32 = 1;
const CREATE_REVISION: i32 = 1;
const CHANGE_REVISION: i32 = 2;

/// What a contender of ours says of itself: the value of its key.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Note {
    weight: u32,
    capacity: u32,
    ttl_ms: u64,
    since_us: u64,
    owner: Arc<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    payload: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) revoked: bool,
}

impl Note {
    pub(crate) fn of(claim: &Claim, session: Duration, now_us: u64) -> Self {
        Self {
            weight: claim.weight,
            capacity: claim.capacity,
            ttl_ms: u64::try_from(session.as_millis()).unwrap_or(u64::MAX),
            since_us: now_us,
            owner: Arc::clone(&claim.meta.owner),
            payload: claim.meta.payload.clone(),
            revoked: false,
        }
    }

    pub(crate) fn read(value: &[u8]) -> Option<Self> {
        serde_json::from_slice(value).ok()
    }

    pub(crate) fn write(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("numbers and texts make JSON")
    }
}

/// The whole line at these keys, the first first.
pub(crate) fn line(span: Span) -> RangeRequest {
    RangeRequest {
        key: span.from,
        range_end: span.to,
        sort_order: ASCENDING,
        sort_target: BY_CREATE_REVISION,
        ..RangeRequest::default()
    }
}

/// Who is first at these keys.
pub(crate) fn first(span: Span) -> RangeRequest {
    RangeRequest { limit: 1, ..line(span) }
}

/// Just this key.
pub(crate) fn one(key: &str) -> RangeRequest {
    RangeRequest { key: key.into(), ..RangeRequest::default() }
}

pub(crate) fn op(request: Request) -> RequestOp {
    RequestOp { request: Some(request) }
}

/// Puts a contender if it is not there, and tells the line.
pub(crate) fn enter(key: &str, value: Vec<u8>, lease: i64, span: Span) -> TxnRequest {
    let put = PutRequest { key: key.into(), value, lease, ..PutRequest::default() };
    let tell = op(Request::Range(line(span)));
    TxnRequest {
        compare: vec![created(EQUAL, key, 0)],
        success: vec![op(Request::Put(put)), tell.clone()],
        failure: vec![tell],
    }
}

pub(crate) fn delete(key: &str) -> DeleteRangeRequest {
    DeleteRangeRequest { key: key.into() }
}

/// Deletes a contender, and tells who is first then.
pub(crate) fn exit(key: &str, first: RangeRequest) -> TxnRequest {
    TxnRequest {
        success: vec![op(Request::Delete(delete(key))), op(Request::Range(first))],
        ..TxnRequest::default()
    }
}

/// Deletes a contender that is there, and rings a bell of its session.
pub(crate) fn evict(key: &str, bell: &str, lease: i64) -> TxnRequest {
    TxnRequest {
        compare: vec![created(GREATER, key, 0)],
        success: vec![op(Request::Delete(delete(key))), ring(bell, lease)],
        failure: Vec::new(),
    }
}

/// Changes the value of a contender that has not been changed since, and rings a bell of its session.
pub(crate) fn change(key: &str, was: i64, value: Vec<u8>, bell: &str, lease: i64) -> TxnRequest {
    let put = PutRequest { key: key.into(), value, ignore_lease: true, ..PutRequest::default() };
    TxnRequest {
        compare: vec![Compare {
            result: EQUAL,
            target: CHANGE_REVISION,
            key: key.into(),
            to: Some(Target::Changed(was)),
        }],
        success: vec![op(Request::Put(put)), ring(bell, lease)],
        failure: Vec::new(),
    }
}

fn ring(bell: &str, lease: i64) -> RequestOp {
    op(Request::Put(PutRequest { key: bell.into(), lease, ..PutRequest::default() }))
}

fn created(result: i32, key: &str, revision: i64) -> Compare {
    Compare { result, target: CREATE_REVISION, key: key.into(), to: Some(Target::Created(revision)) }
}

/// Who stands at a lock, from the keys that begin with `start`.
pub(crate) fn contenders(name: &Name, start: &str, kvs: &[KeyValue]) -> Result<Vec<Contender>> {
    kvs.iter().map(|kv| contender(start, kv).ok_or_else(|| odd(name, kv))).collect()
}

fn contender(start: &str, kv: &KeyValue) -> Option<Contender> {
    let key = std::str::from_utf8(&kv.key).ok()?;
    let place = Place::read(key.strip_prefix(start)?)?;
    if place.lease() != kv.lease {
        return None;
    }
    let token = Some(Token::new(u64::try_from(kv.create_revision).ok()?)?);
    let of = |id: Option<ClaimId>, capacity, weight| Contender {
        key: key.into(),
        id,
        capacity,
        weight,
        token,
        ttl: None,
        since: None,
        revoked: false,
        meta: Meta::default(),
    };
    let Place::Claim(_, id) = place else { return Some(of(None, CAPACITY_MAX, CAPACITY_MAX)) };
    let note = Note::read(&kv.value)?;
    Some(Contender {
        ttl: Some(Duration::from_millis(note.ttl_ms)),
        since: Some(note.since_us),
        revoked: note.revoked,
        meta: Meta { owner: note.owner, payload: note.payload },
        ..of(Some(id), note.capacity, note.weight)
    })
}

/// Something is among the contenders that is none. Nothing has been touched.
fn odd(name: &Name, kv: &KeyValue) -> Error {
    let key = String::from_utf8_lossy(&kv.key);
    let why = if kv.lease == 0 { "it has no lease" } else { "it is not named after its lease" };
    Error::new(
        ErrorKind::Refused,
        "lock",
        format!(
            "the key `{key}` lies where the contenders of the lock `{name}` are and is none ({why}); it was left as it \
             is; choose another name, or another `prefix` in the engine URL"
        ),
    )
}
