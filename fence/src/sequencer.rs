//! A lock's name, token and mode: what a fence is shown, and what one service hands to another.

use std::fmt;
use std::str::FromStr;

use leasehold_core::engine::ClaimView;
use leasehold_core::{Client, Guard, Mode, Name, Query, Token};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::invalid;

/// What text keeps as it is: all that a header may hold, but for the sign that escapes.
const ESCAPED: &AsciiSet = &CONTROLS.add(b' ').add(b'%');

/// A lock's name, token and mode, made from a guard: what every fence asks for.
///
/// As text it is `exclusive:34:inventory/42`, in visible ASCII, so that it fits into a header, an argument or a
/// message. Whoever is handed one checks it against the fence of its own storage, or asks the engine
/// ([`is_held`](Self::is_held)). It is no secret and no proof: it keeps the late out, not the malicious.
///
/// A permit of a semaphore has none, for several permits are valid at once and fence nothing:
/// ```compile_fail,E0277
/// # async fn example(permit: leasehold_core::Permit) {
/// leasehold_fence::Memory::new().enter(&permit).await;
/// # }
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Sequencer {
    name: Name,
    token: Token,
    mode: Mode,
}

impl Sequencer {
    /// One from its parts, as another program has stored or sent them.
    pub fn new(name: Name, token: Token, mode: Mode) -> Self {
        Self { name, token, mode }
    }

    /// The lock.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// The fencing token.
    pub fn token(&self) -> Token {
        self.token
    }

    /// How the lock is held.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Asks the engine whether the lock is still held under this token, and in this mode.
    ///
    /// The answer is about the past by the time it arrives. It is for a service that has no storage of its own to
    /// keep marks in; where there is one, its fence is better, and cheaper.
    ///
    /// # Errors
    /// Whatever the engine says.
    ///
    /// # Cancel safety
    /// Changes nothing, so it may be dropped at any time.
    pub async fn is_held(&self, client: &Client) -> leasehold_core::Result<bool> {
        let page = client.inspect(Query::exactly(&self.name)).await?;
        let queue = page.queues.into_iter().find(|queue| queue.name == self.name);
        let Some(queue) = queue else { return Ok(false) };
        let exclusive = self.mode == Mode::Exclusive;
        let is_this = |claim: &ClaimView| {
            claim.token == Some(self.token) && (claim.weight == queue.capacity) == exclusive
        };
        Ok(queue.claims.iter().any(is_this))
    }
}

impl From<&Guard> for Sequencer {
    fn from(guard: &Guard) -> Self {
        Self::new(guard.name().clone(), guard.token(), guard.mode())
    }
}

impl From<&Self> for Sequencer {
    fn from(other: &Self) -> Self {
        other.clone()
    }
}

impl fmt::Display for Sequencer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = match self.mode {
            Mode::Exclusive => "exclusive",
            Mode::Shared => "shared",
        };
        write!(f, "{mode}:{}:{}", self.token, utf8_percent_encode(self.name.as_str(), ESCAPED))
    }
}

impl FromStr for Sequencer {
    type Err = leasehold_core::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let form = |what: &str| {
            invalid("sequencer", format!("{what}; a sequencer looks like `exclusive:34:inventory/42`"))
        };
        let mut parts = text.splitn(3, ':');
        let mode = match parts.next() {
            Some("exclusive") => Mode::Exclusive,
            Some("shared") => Mode::Shared,
            _ => return Err(form("it begins with neither `exclusive:` nor `shared:`")),
        };
        let digits = parts.next().filter(|part| part.bytes().all(|b| b.is_ascii_digit()));
        let token = digits
            .and_then(|part| part.parse().ok())
            .and_then(Token::new)
            .ok_or_else(|| form("its token is no number from 1 to below 2^53"))?;
        let name = parts.next().ok_or_else(|| form("it has no name"))?;
        let name = percent_decode_str(name).decode_utf8().map_err(|_| form("its name is no UTF-8"))?;
        Ok(Self::new(Name::new(&name)?, token, mode))
    }
}

impl Serialize for Sequencer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Sequencer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequencer(name: &str) -> Sequencer {
        Sequencer::new(Name::new(name).unwrap(), Token::new(34).unwrap(), Mode::Exclusive)
    }

    #[test]
    fn text_and_back() {
        for name in ["inventory/42", "a:b:c", "50 %", "%41", "Größe", "{tag}", "\u{1f512}"] {
            let before = sequencer(name);
            let text = before.to_string();
            assert!(text.bytes().all(|b| b.is_ascii_graphic()), "{text}");
            assert_eq!(text.parse::<Sequencer>().unwrap(), before);
        }
        assert_eq!(sequencer("a b").to_string(), "exclusive:34:a%20b");
    }

    #[test]
    fn what_is_none_is_refused_with_what_to_write() {
        for bad in [
            "",
            "34",
            "exclusive",
            "exclusive:34",
            "exclusive:34:",
            "exclusive:0:x",
            "exclusive:-1:x",
            "exclusive:+1:x",
            "exclusive::x",
            "exclusive:9007199254740992:x",
            "both:1:x",
            "shared:1:%ff",
            "shared:1:%00",
        ] {
            let error = bad.parse::<Sequencer>().unwrap_err();
            assert_eq!(error.kind(), leasehold_core::ErrorKind::InvalidInput, "{bad}");
        }
        assert_eq!(
            "34".parse::<Sequencer>().unwrap_err().to_string(),
            "it begins with neither `exclusive:` nor `shared:`; a sequencer looks like `exclusive:34:inventory/42`"
        );
    }
}
