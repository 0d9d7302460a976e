//! Hash slots: which part of a cluster a key belongs to, and names that belong there too.
//!
//! Whatever belongs to one lock must live in the slot of its plain key, whose name is the user's and may have braces in
//! it. So our own keys wrap a tag, not the name: one short tag a slot, found once.

use std::sync::LazyLock;

use crc16::{State, XMODEM};

/// How many slots there are.
pub(crate) const SLOTS: usize = 16_384;

/// The letters of tags.
const LETTERS: &[u8; 62] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

/// A text whose slot is known.
pub(crate) type Tag = [u8; 3];

/// A tag a slot: the first in alphabetical order. 62^3 texts do for all slots; a test says so.
static TAGS: LazyLock<Vec<Tag>> = LazyLock::new(|| {
    let mut tags = vec![[0; 3]; SLOTS];
    let texts = LETTERS
        .iter()
        .flat_map(|a| LETTERS.iter().flat_map(move |b| LETTERS.iter().map(move |c| [*a, *b, *c])));
    for text in texts {
        let tag = &mut tags[of_tagged(&text)];
        if *tag == [0; 3] {
            *tag = text;
        }
    }
    tags
});

fn of_tagged(tag: &[u8]) -> usize {
    usize::from(State::<XMODEM>::calculate(tag)) % SLOTS
}

/// The slot of a key, by the rule of Redis Cluster: if there is something between the first `{` and the next `}`, only
/// that counts.
pub(crate) fn of(key: &[u8]) -> usize {
    let tagged = key.iter().position(|&b| b == b'{').and_then(|open| {
        let inner = &key[open + 1..];
        let close = inner.iter().position(|&b| b == b'}')?;
        (close > 0).then(|| &inner[..close])
    });
    of_tagged(tagged.unwrap_or(key))
}

/// The tag of a slot.
pub(crate) fn tag(slot: usize) -> Tag {
    TAGS[slot]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slot_has_a_tag() {
        for slot in 0..SLOTS {
            let tag = tag(slot);
            assert_ne!(tag, [0; 3], "no tag of three letters for slot {slot}");
            assert_eq!(of(&[b"leasehold:{", &tag[..], b"}:x{y}"].concat()), slot);
        }
    }

    #[test]
    fn slots_are_those_of_the_server() {
        // What `CLUSTER KEYSLOT` says.
        assert_eq!(of(b"123456789"), 12739);
        assert_eq!(of(b"{user1000}.following"), of(b"user1000"));
        assert_eq!(of(b"foo{}{bar}"), of_tagged(b"foo{}{bar}"));
        assert_eq!(of(b"foo{{bar}}zap"), of_tagged(b"{bar"));
        assert_eq!(of(b"foo{bar"), of_tagged(b"foo{bar"));
    }
}
