//! Requests and answers on the wire: what the scripts are given and what they say.

use std::time::Duration;

use leasehold_core::claim::{ClaimId, Manner, Meta, Refresh, WAITING_TTL_MAX};
use leasehold_core::engine::Refusal;
use leasehold_core::{Claim, Error, ErrorKind, Outcome, Result, Standing, Token};
use redis::{Cmd, Value};

use crate::script::{Script, Scripts};
use crate::session::Session;
use crate::slots::{self, Tag};
use crate::together::{Crowd, Many};

/// The name of a client's inbox.
pub(crate) type InboxName = [u8; 8];

/// Where a lock is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The plain key.
    pub(crate) key: String,
    pub(crate) slot: usize,
    pub(crate) tag: Tag,
}

impl Place {
    pub(crate) fn new(prefix: &str, name: &str) -> Self {
        let key = [prefix, name].concat();
        let slot = slots::of(key.as_bytes());
        Self { key, slot, tag: slots::tag(slot) }
    }
}

/// A TTL in milliseconds, with one more: the server counts whole ones from a clock that it reads now and then.
pub(crate) fn millis(ttl: Duration) -> u64 {
    u64::try_from(ttl.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX / 2) + 1
}

fn call<'a>(script: &Script, places: impl ExactSizeIterator<Item = &'a Place>) -> Cmd {
    let mut cmd = Cmd::with_capacity(8, 384);
    cmd.arg("EVALSHA").arg(&script.sha).arg(places.len() * if script.names_all { 3 } else { 1 });
    for place in places {
        cmd.arg(&place.key);
        if script.names_all {
            let counter = [b"leasehold:{", &place.tag[..], b"}"].concat();
            cmd.arg([&counter[..], b":", place.key.as_bytes()].concat()).arg(counter);
        }
    }
    cmd
}

/// The same request with the script itself, for a server that does not know it.
pub(crate) fn with_source(cmd: &Cmd, script: &Script) -> Cmd {
    let mut full = Cmd::new();
    full.arg("EVAL").arg(&script.source);
    for arg in cmd.args_iter().skip(2) {
        if let redis::Arg::Simple(bytes) = arg {
            full.arg(bytes);
        }
    }
    full
}

/// A `join`, before it is known whether it goes alone.
#[derive(Clone, Debug)]
pub(crate) struct Join {
    pub(crate) place: Place,
    /// A queue in which the claim is alone, without its token.
    alone: Vec<u8>,
    ttl: u64,
    raise: Option<Token>,
}

impl Join {
    pub(crate) fn new(place: Place, claim: &Claim, inbox: InboxName) -> Self {
        let ttl = millis(claim.ttl);
        let mut alone = Vec::with_capacity(128);
        alone.push(b'A');
        alone.extend_from_slice(&place.tag);
        alone.extend_from_slice(&hex(claim.id));
        alone.extend_from_slice(&claim.capacity.to_be_bytes());
        alone.extend_from_slice(&claim.weight.to_be_bytes());
        let at_least = u64::try_from(claim.at_least.as_micros()).unwrap_or(u64::MAX >> 12);
        alone.extend_from_slice(&at_least.to_be_bytes());
        alone.extend_from_slice(&(ttl * 1000).to_be_bytes());
        alone.extend_from_slice(&inbox);
        meta_to(&mut alone, &claim.meta);
        Self { place, alone, ttl, raise: claim.raise }
    }

    /// By itself. `script` is the one that fits the claim.
    pub(crate) fn cmd(&self, script: &Script, vouched: bool) -> Cmd {
        let mut cmd = call(script, std::iter::once(&self.place));
        cmd.arg(&self.alone[..]).arg(self.ttl);
        if self.raise.is_some() || !vouched {
            cmd.arg(self.raise.map_or(0, Token::get));
        }
        if !vouched {
            cmd.arg("0");
        }
        cmd
    }
}

impl Many for Join {
    fn crowd(session: &Session) -> &Crowd<Self> {
        &session.joins
    }

    fn request<'a>(scripts: &'a Scripts, some: &[Self]) -> (&'a Script, Cmd) {
        if let [one] = some {
            return (&scripts.join_all, one.cmd(&scripts.join_all, true));
        }
        let script = &scripts.join_each;
        let mut cmd = call(script, some.iter().map(|join| &join.place));
        let raises = some.iter().any(|join| join.raise.is_some());
        for join in some {
            cmd.arg(&join.alone[..]).arg(join.ttl);
            if raises {
                cmd.arg(join.raise.map_or(0, Token::get));
            }
        }
        (script, cmd)
    }
}

/// A `refresh` of several claims, each with whether its counter is vouched for.
pub(crate) fn refresh<'a>(
    script: &Script,
    asks: impl ExactSizeIterator<Item = (&'a Place, &'a Refresh, bool)> + Clone,
) -> Cmd {
    let mut cmd = call(script, asks.clone().map(|(place, _, _)| place));
    for (place, ask, vouched) in asks {
        let mut arg = Vec::with_capacity(50);
        arg.extend_from_slice(&place.tag);
        arg.extend_from_slice(&millis(ask.ttl).to_be_bytes()[2..]);
        arg.push(if vouched { b'1' } else { b'0' });
        arg.extend_from_slice(&ask.raise.map_or(0, Token::get).to_be_bytes());
        arg.extend_from_slice(&hex(ask.claim.id));
        cmd.arg(&arg[..]);
    }
    cmd
}

/// A `leave`, before it is known whether it goes alone.
#[derive(Clone, Debug)]
pub(crate) struct Leave {
    pub(crate) place: Place,
    arg: [u8; 37],
}

impl Leave {
    pub(crate) fn new(place: Place, id: ClaimId, manner: Manner, vouched: bool) -> Self {
        let mut arg = [0; 37];
        arg[0] = match manner {
            Manner::Release => b'r',
            Manner::Revoke => b'd',
            Manner::Evict => b'e',
        };
        arg[1] = if vouched { b'1' } else { b'0' };
        arg[2..5].copy_from_slice(&place.tag);
        arg[5..].copy_from_slice(&hex(id));
        Self { place, arg }
    }
}

impl Many for Leave {
    fn crowd(session: &Session) -> &Crowd<Self> {
        &session.leaves
    }

    fn request<'a>(scripts: &'a Scripts, some: &[Self]) -> (&'a Script, Cmd) {
        let script = if some.len() == 1 { &scripts.leave } else { &scripts.leave_each };
        let mut cmd = call(script, some.iter().map(|leave| &leave.place));
        for leave in some {
            cmd.arg(&leave.arg[..]);
        }
        (script, cmd)
    }
}

/// A look.
pub(crate) fn view(script: &Script, place: &Place) -> Cmd {
    let mut cmd = call(script, std::iter::once(place));
    cmd.arg(&place.tag[..]);
    cmd
}

/// What a claim says about itself: a byte that says whether there is a payload, the length of the owner, both.
fn meta_to(out: &mut Vec<u8>, meta: &Meta) {
    let owner = meta.owner.as_bytes();
    // A name that long is cut where the engine is opened by hand; the client's own are short.
    let owner = &owner[..owner.len().min(usize::from(u16::MAX))];
    out.push(u8::from(meta.payload.is_some()));
    out.extend_from_slice(&u16::try_from(owner.len()).unwrap_or(u16::MAX).to_be_bytes());
    out.extend_from_slice(owner);
    out.extend_from_slice(meta.payload.as_deref().unwrap_or_default().as_bytes());
}

/// The same back.
pub(crate) fn meta_from(bytes: &[u8]) -> Option<Meta> {
    let (payload, rest) = bytes.split_first()?;
    let (length, rest) = rest.split_at_checked(2)?;
    let (owner, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(length.try_into().ok()?)))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Some(Meta { owner: text(owner).into(), payload: (*payload == 1).then(|| text(rest).into()) })
}

/// An id as the scripts have it: 32 hexadecimal digits.
pub(crate) fn hex(id: ClaimId) -> [u8; 32] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [0; 32];
    for (pair, byte) in text.chunks_exact_mut(2).zip(id.0.to_be_bytes()) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    text
}

/// The same back.
pub(crate) fn id_from(text: &[u8]) -> Option<ClaimId> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// What a message in the inbox says: which claim is held now, and its token.
pub(crate) fn news_from(payload: &[u8]) -> Option<(ClaimId, Token)> {
    let (id, token) = payload.split_at_checked(32)?;
    let token = std::str::from_utf8(token).ok()?.parse().ok().and_then(Token::new)?;
    Some((id_from(id)?, token))
}

/// How a claim stands, and whether a lock of another client is ahead of it.
pub(crate) struct Told {
    pub(crate) standing: Standing,
    pub(crate) foreign: bool,
}

/// The answer to a `join` or `refresh`: a token, 0 for gone, or `[what, …]`.
pub(crate) fn standing(operation: &'static str, value: &Value, ttl: Duration) -> Result<Told> {
    let told = |standing| Ok(Told { standing, foreign: false });
    let odd = || odd(operation, value);
    match value {
        Value::Int(0) => told(Standing::Gone),
        Value::Int(token) => {
            let token = u64::try_from(*token).ok().and_then(Token::new).ok_or_else(odd)?;
            told(Standing::Held { token, ttl })
        }
        Value::Array(parts) => {
            let numbers: Vec<i64> =
                parts.iter().map(|v| if let Value::Int(n) = v { *n } else { i64::MIN }).collect();
            let small = |n: i64| u32::try_from(n).map_err(|_| odd());
            match numbers[..] {
                [0, ahead, look, foreign] => Ok(Told {
                    standing: Standing::Queued {
                        ahead: small(ahead)?,
                        ttl: ttl.min(WAITING_TTL_MAX),
                        look_again: Duration::from_micros(u64::try_from(look).unwrap_or(0)),
                    },
                    foreign: foreign == 1,
                }),
                [1, capacity] => told(Standing::Refused(Refusal::Capacity { current: small(capacity)? })),
                [2, max] => told(Standing::Refused(Refusal::QueueFull { max: small(max)? })),
                _ => Err(odd()),
            }
        }
        _ => Err(odd()),
    }
}

/// An answer that no script of ours gives.
pub(crate) fn odd(operation: &'static str, value: &Value) -> Error {
    Error::new(ErrorKind::Unexpected, operation, format!("the server answered {value:?}"))
        .with_outcome(Outcome::Unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_metas_come_back() {
        let id = ClaimId(0x0123_4567_89ab_cdef_0011_2233_4455_6677);
        assert_eq!(hex(id), *b"0123456789abcdef0011223344556677");
        assert_eq!(id_from(&hex(id)), Some(id));
        for meta in [
            Meta::default(),
            Meta { owner: "host:1".into(), payload: None },
            Meta { owner: "ü".into(), payload: Some("".into()) },
            Meta { owner: "".into(), payload: Some("p\u{1F600}".into()) },
        ] {
            let mut bytes = Vec::new();
            meta_to(&mut bytes, &meta);
            assert_eq!(meta_from(&bytes), Some(meta));
        }
        assert_eq!(meta_from(b"\0\0"), None);
    }

    #[test]
    fn a_ttl_is_never_cut_short() {
        assert_eq!(millis(Duration::from_nanos(1)), 2);
        assert_eq!(millis(Duration::from_millis(5)), 6);
    }
}
