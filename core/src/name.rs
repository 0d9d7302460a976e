//! Names of resources: what may be one, and why not otherwise.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};

/// The longest name, in bytes of UTF-8.
pub const NAME_BYTES_MAX: usize = 255;

/// The name of a resource: 1 to 255 bytes of UTF-8 without control characters.
///
/// Names are compared byte by byte: case, spaces, slashes, dots and braces all matter, on every engine. An
/// engine whose own keys are narrower escapes or hashes them and says so. Cloning is cheap.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Arc<str>);

impl Name {
    /// Checks and makes a name.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if it is empty, longer than [`NAME_BYTES_MAX`] bytes, or holds a control
    /// character (NUL and line breaks among them).
    pub fn new(name: &str) -> Result<Self> {
        let refuse = |why: String| Err(Error::new(ErrorKind::InvalidInput, "name", why));
        if name.is_empty() {
            return refuse("a lock's name is empty; give it 1 to 255 bytes".into());
        }
        if name.len() > NAME_BYTES_MAX {
            return refuse(format!(
                "a lock's name is {} bytes long, the limit is {NAME_BYTES_MAX}; shorten it or use a hash of it",
                name.len()
            ));
        }
        if let Some((at, c)) = name.char_indices().find(|(_, c)| c.is_control()) {
            return refuse(format!(
                "a lock's name has the control character U+{:04X} at byte {at}; use printable characters",
                u32::from(c)
            ));
        }
        Ok(Self(name.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl serde::Serialize for Name {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limits_are_where_the_docs_say() {
        assert!(Name::new("x").is_ok());
        assert!(Name::new(&"é".repeat(127)).is_ok());
        assert!(Name::new(&"x".repeat(255)).is_ok());
        for bad in ["", &"x".repeat(256), &"é".repeat(128), "a\0b", "a\nb", "\u{7f}", "\u{85}"] {
            assert_eq!(Name::new(bad).unwrap_err().kind(), ErrorKind::InvalidInput, "{bad:?}");
        }
    }

    #[test]
    fn refusals_say_what_to_do() {
        let said: Vec<String> =
            ["", &"x".repeat(300), "a\0b"].iter().map(|n| Name::new(n).unwrap_err().to_string()).collect();
        insta::assert_debug_snapshot!(said);
    }
}
