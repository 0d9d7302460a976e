//! The name of a contender's node: who it is, what it takes, and where in the line it stands. As Curator has it, so that
//! Curator's locks and ours are contenders for each other.

use std::fmt::Write as _;

use leasehold_core::ClaimId;
use leasehold_core::claim::{CAPACITY_MAX, Claim};

/// What a contender takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) weight: u32,
    pub(crate) capacity: u32,
}

const MUTEX: Share = Share { weight: 1, capacity: 1 };
const READER: Share = Share { weight: 1, capacity: CAPACITY_MAX };
const WRITER: Share = Share { weight: CAPACITY_MAX, capacity: CAPACITY_MAX };
/// Whatever somebody else means, it is not less than all.
const FOREIGN: Share = Share { weight: u32::MAX, capacity: CAPACITY_MAX };

/// What stands before the number in a node's name, and what that means. `permits-` says more, and ends as a mutex does, so
/// that mutexes of others wait for permits too.
const BASES: [(&str, Share); 3] = [("lock-", MUTEX), ("__READ__", READER), ("__WRIT__", WRITER)];

/// What kazoo's readers are known by.
const KAZOO_READER: &str = "__rlock__";

/// Where the number that orders contenders ends, and begins to be something else; see [`order`].
const WRAP: i32 = i32::MAX;

/// A contender's node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    /// Its name, without its parent's path.
    pub(crate) child: String,
    /// Its claim, if it is spelled as ours are. Curator's are spelled alike.
    pub(crate) id: Option<ClaimId>,
    pub(crate) share: Share,
    /// The number that the server has appended.
    pub(crate) number: i32,
}

impl Node {
    /// Reads a node's name; `None` if it is not that of a contender.
    pub(crate) fn parse(child: String) -> Option<Self> {
        if let Some((id, share, number)) = protected(&child) {
            return Some(Self { child, id: Some(id), share, number });
        }
        let (base, number) = numbered(&child)?;
        let share = if base.ends_with(KAZOO_READER) { READER } else { FOREIGN };
        Some(Self { child, id: None, share, number })
    }
}

/// The claim of a contender, by the path of its node.
pub(crate) fn id_of(path: &str) -> Option<ClaimId> {
    let child = path.rsplit('/').next()?;
    protected(child).map(|(id, _, _)| id)
}

/// The name that a claim's node begins with; the server appends the number.
pub(crate) fn prefix(claim: &Claim) -> String {
    let share = Share { weight: claim.weight, capacity: claim.capacity };
    let mut out = protection(claim.id);
    match BASES.iter().find(|(_, s)| *s == share) {
        Some((base, _)) => out.push_str(base),
        None => write!(out, "permits-{}-of-{}-lock-", share.weight, share.capacity)
            .expect("a string takes everything"),
    }
    out
}

/// What the node of this claim begins with, whatever it takes.
pub(crate) fn protection(id: ClaimId) -> String {
    let hex = id.to_string();
    format!("_c_{}-{}-{}-{}-{}-", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// `_c_UUID-BASE NUMBER`, with a base that we know.
fn protected(child: &str) -> Option<(ClaimId, Share, i32)> {
    let rest = child.strip_prefix("_c_")?;
    let (uuid, rest) = rest.split_at_checked(36)?;
    let rest = rest.strip_prefix('-')?;
    let is_uuid = uuid.bytes().enumerate().all(|(at, byte)| matches!(at, 8 | 13 | 18 | 23) == (byte == b'-'));
    let id = is_uuid.then(|| uuid.replace('-', "").parse().ok()).flatten()?;
    for (base, share) in BASES {
        if let Some(number) = rest.strip_prefix(base) {
            return Some((id, share, number.parse().ok()?));
        }
    }
    let (weight, rest) = rest.strip_prefix("permits-")?.split_once("-of-")?;
    let (capacity, number) = rest.split_once("-lock-")?;
    let share = Share { weight: weight.parse().ok()?, capacity: capacity.parse().ok()? };
    Some((id, share, number.parse().ok()?))
}

/// Any name that ends with a number as the server appends it: ten digits, and a minus before them if it is below zero.
fn numbered(child: &str) -> Option<(&str, i32)> {
    let (base, last) = child.split_at_checked(child.len().checked_sub(10)?)?;
    if !last.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // A minus before ten digits that could be a number below zero, or the end of the base: order by something else.
    let unclear = base.ends_with('-') && !last.starts_with('0');
    Some((base, if unclear { WRAP } else { last.parse().unwrap_or(WRAP) }))
}

/// Sorts contenders by their numbers; `false` if these do not tell the order, so that it must be asked for.
///
/// A server counts the children that a node has ever had in 32 bits. Where the count ends it goes on below zero, or
/// does not go on: then all have the last number. The transactions that made them go on rising.
pub(crate) fn order(nodes: &mut [Node]) -> bool {
    nodes.sort_unstable_by_key(|node| node.number);
    nodes.iter().all(|node| (0..WRAP).contains(&node.number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use leasehold_core::Name;
    use leasehold_core::claim::Meta;
    use std::time::Duration;

    const UUID: &str = "_c_00000000-0000-0000-0000-0000000000ff-";

    fn claim(weight: u32, capacity: u32) -> Claim {
        Claim {
            name: Name::new("m").unwrap(),
            id: ClaimId(255),
            capacity,
            weight,
            ttl: Duration::from_secs(30),
            at_least: Duration::ZERO,
            raise: None,
            meta: Meta::default(),
        }
    }

    fn parse(child: &str) -> Option<Node> {
        Node::parse(child.to_owned())
    }

    #[test]
    fn what_is_written_is_read_back() {
        for (weight, capacity, base) in [
            (1, 1, "lock-"),
            (1, CAPACITY_MAX, "__READ__"),
            (CAPACITY_MAX, CAPACITY_MAX, "__WRIT__"),
            (2, 5, "permits-2-of-5-lock-"),
            (7, CAPACITY_MAX, "permits-7-of-2147483647-lock-"),
        ] {
            let prefix = prefix(&claim(weight, capacity));
            assert_eq!(prefix, format!("{UUID}{base}"));
            assert!(prefix.starts_with(&protection(ClaimId(255))));
            for (text, number) in [("0000000007", 7), ("2147483647", i32::MAX), ("-2147483648", i32::MIN)] {
                let node = parse(&format!("{prefix}{text}")).unwrap();
                assert_eq!((node.id, node.number), (Some(ClaimId(255)), number));
                assert_eq!(node.share, Share { weight, capacity });
            }
        }
    }

    #[test]
    fn others_are_known_by_their_numbers() {
        let (reader, whole) = (READER, FOREIGN);
        for (child, share, number) in [
            ("92f1b4b6e4a84e0d8d2a1c2d3e4f5a6b__lock__0000000012", whole, 12),
            ("92f1b4b6e4a84e0d8d2a1c2d3e4f5a6b__rlock__0000000012", reader, 12),
            ("lock-0000000003", whole, 3),
            ("n_0000000003", whole, 3),
            ("0000000003", whole, 3),
            ("_c_92f1b4b6-e4a8-4e0d-8d2a-1c2d3e4f5a6b-latch-0000000001", whole, 1),
            ("_c_92f1b4b6+e4a8-4e0d-8d2a-1c2d3e4f5a6b-lock-0000000001", whole, 1),
        ] {
            let node = parse(child).unwrap_or_else(|| panic!("{child}"));
            assert_eq!((node.id, node.share, node.number), (None, share, number), "{child}");
        }
    }

    #[test]
    fn what_has_no_number_is_no_contender() {
        for child in ["", "leases", "ids", "lock-000000003", "92f1b4b6e4a84e0d8d2a1c2d3e4f5a6b", "größe-é"]
        {
            assert_eq!(parse(child), None, "{child}");
        }
    }

    fn ordered(children: &[&str]) -> (bool, Vec<i32>) {
        let mut nodes: Vec<_> = children.iter().map(|child| parse(child).unwrap()).collect();
        (order(&mut nodes), nodes.iter().map(|node| node.number).collect())
    }

    #[test]
    fn numbers_order_until_they_wrap() {
        let (known, numbers) = ordered(&[
            &format!("{UUID}lock-0000000009"),
            "abc__lock__0000000003",
            &format!("{UUID}__READ__2147483646"),
        ]);
        assert_eq!((known, numbers), (true, vec![3, 9, i32::MAX - 1]));
        for near in [
            format!("{UUID}lock-2147483647"),
            format!("{UUID}lock--2147483648"),
            format!("{UUID}lock--000000001"),
            "abc__lock__-2147483648".to_owned(),
            "abc__lock__-2147483647".to_owned(),
            "abc__lock__2147483647".to_owned(),
        ] {
            assert!(!ordered(&["x-0000000001", &near]).0, "{near}");
        }
    }
}
