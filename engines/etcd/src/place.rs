//! Where a lock's contenders are: its name in keys, and back.
//!
//! The contenders of a lock are the keys `PREFIX NAME / …`, as etcd's own lock has them. A slash in a name would put it
//! under another lock, so it is written `%2F`, and `%` is written `%25`; every other name is written as it is.

use leasehold_core::{ClaimId, Name};

/// What stands instead of a name before what sessions are told: no name is written like this.
const SESSIONS: &str = "%session";

/// The keys of one namespace.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    prefix: String,
}

/// What a key is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// A claim of ours.
    Claim(i64, ClaimId),
    /// A contender of etcd's own lock, Go's `concurrency.Mutex`.
    Foreign(i64),
}

/// A range of keys.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Span {
    pub(crate) from: Vec<u8>,
    pub(crate) to: Vec<u8>,
}

impl Places {
    pub(crate) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    /// What the keys of a lock begin with.
    pub(crate) fn lock(&self, name: &Name) -> String {
        format!("{}{}/", self.prefix, escape(name.as_str()))
    }

    /// The keys of a lock.
    pub(crate) fn line(&self, name: &Name) -> Span {
        Span::of(self.lock(name))
    }

    /// The keys of all locks whose names begin with this.
    pub(crate) fn names(&self, prefix: &str) -> Span {
        Span::of(format!("{}{}", self.prefix, escape(prefix)))
    }

    pub(crate) fn claim(&self, name: &Name, lease: i64, id: ClaimId) -> String {
        format!("{}{lease:x}-{id}", self.lock(name))
    }

    /// The key that a session has as long as it lasts.
    pub(crate) fn session(&self, lease: i64) -> String {
        format!("{}{SESSIONS}/{lease:x}", self.prefix)
    }

    /// The key by which a session is told of one of its claims.
    pub(crate) fn bell(&self, lease: i64, id: ClaimId) -> String {
        format!("{}/{id}", self.session(lease))
    }

    /// A session's key and all its bells.
    pub(crate) fn bells(&self, lease: i64) -> Span {
        let from = self.session(lease).into_bytes();
        // `0` comes after `/`, and before whatever else a lease may have there.
        let to = [&from[..], b"0"].concat();
        Span { from, to }
    }

    /// The claim that a bell is about.
    pub(crate) fn rung(&self, lease: i64, key: &str) -> Option<ClaimId> {
        key.strip_prefix(&self.session(lease))?.strip_prefix('/')?.parse().ok()
    }

    /// A key's lock, and which of its contenders it is.
    pub(crate) fn read(&self, key: &str) -> Option<(Name, Place)> {
        let (name, contender) = key.strip_prefix(&self.prefix)?.rsplit_once('/')?;
        Some((Name::new(&unescape(name)?).ok()?, Place::read(contender)?))
    }
}

impl Place {
    /// From what stands behind the name.
    pub(crate) fn read(contender: &str) -> Option<Self> {
        match contender.split_once('-') {
            Some((lease, id)) => Some(Self::Claim(hex(lease)?, id.parse().ok()?)),
            None => Some(Self::Foreign(hex(contender)?)),
        }
    }

    /// The lease that it ends with.
    pub(crate) fn lease(&self) -> i64 {
        match self {
            Self::Claim(lease, _) | Self::Foreign(lease) => *lease,
        }
    }
}

impl Span {
    /// All keys that begin with this.
    pub(crate) fn of(start: String) -> Self {
        let from = start.into_bytes();
        let mut to = from.clone();
        // UTF-8 has no byte of 255.
        match to.last_mut() {
            Some(last) => *last += 1,
            // All keys there are.
            None => return Self { from: vec![0], to: vec![0] },
        }
        Self { from, to }
    }
}

/// A number as etcd's own clients write it: no zeros before it, no capitals.
pub(crate) fn hex(text: &str) -> Option<i64> {
    let number = i64::from_str_radix(text, 16).ok()?;
    (format!("{number:x}") == text && number > 0).then_some(number)
}

fn escape(name: &str) -> String {
    name.replace('%', "%25").replace('/', "%2F")
}

/// The name that is written like this, if there is one.
fn unescape(written: &str) -> Option<String> {
    let name = written.replace("%2F", "/").replace("%25", "%");
    (escape(&name) == written).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_and_never_nest() {
        let places = Places::new("lock/");
        let long = "/".repeat(255);
        let names = ["a", "a/b", "a%2Fb", "a%252Fb", "%", "/", "..", "../a", ".", "é/%/日", "a b\"c", &long];
        for name in names {
            let name = Name::new(name).unwrap();
            let key = places.claim(&name, 0x1f, ClaimId(7));
            assert_eq!(places.read(&key), Some((name.clone(), Place::Claim(0x1f, ClaimId(7)))));
            let others = names.iter().filter(|other| **other != name.as_str());
            for other in others.map(|other| places.line(&Name::new(other).unwrap())) {
                assert!(!(other.from[..] <= *key.as_bytes() && *key.as_bytes() < other.to[..]), "{name:?}");
            }
        }
        assert_eq!(
            places.claim(&Name::new("a/b").unwrap(), 1, ClaimId(0)),
            format!("lock/a%2Fb/1-{:032x}", 0)
        );
    }

    #[test]
    fn what_others_keep_there_is_not_taken_for_a_contender() {
        let places = Places::new("lock/");
        assert_eq!(places.read("lock/a/1f"), Some((Name::new("a").unwrap(), Place::Foreign(0x1f))));
        let odd = [
            "lock/a",
            "lock/a/",
            "lock/a/x",
            "lock/a/1F",
            "lock/a/01",
            "lock/a/-1",
            "lock/a/1-2",
            "lock/a/b/1f",
            "a/1f",
            "lock//1f",
            "lock/%/1f",
            "lock/%2f/1f",
            "lock/%session/1f/1f",
            "lock/a/0",
            "lock/%session/1f",
        ];
        for key in odd {
            assert_eq!(places.read(key), None, "{key}");
        }
    }

    #[test]
    fn a_session_hears_its_own_bells() {
        let places = Places::new("lock/");
        let bells = places.bells(0x1f);
        let within = |key: &str| bells.from[..] <= *key.as_bytes() && *key.as_bytes() < bells.to[..];
        assert!(within(&places.session(0x1f)) && within(&places.bell(0x1f, ClaimId(1))));
        assert!(!within(&places.session(0x1f0)) && !within(&places.bell(0x1f0, ClaimId(1))));
        assert_eq!(places.rung(0x1f, &places.bell(0x1f, ClaimId(9))), Some(ClaimId(9)));
        assert_eq!(places.rung(0x1f, &places.session(0x1f)), None);
        assert_eq!(places.rung(0x1, &places.bell(0x1f, ClaimId(9))), None);
    }
}
