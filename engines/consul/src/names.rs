//! Which keys belong to a lock.
//!
//! A plain name is its own part of the key. Whatever would leave its place is escaped as in URLs: a segment that begins
//! with a dot, for such are our own and Consul's; a slash that has not something on either side, for Consul makes one
//! of two; and the percent sign, so that all can be told from what they stand for.

use leasehold_core::Name;
use leasehold_core::url::decode;

use crate::config::Config;

/// The folder, beside a lock, of those who wait for it; and the folder of the bells.
pub(crate) const OURS: &str = ".leasehold";

/// How the keys of this client's locks are made.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    prefix: String,
    suffix: String,
}

impl Keys {
    pub(crate) fn of(config: &Config) -> Self {
        Self { prefix: config.prefix.clone(), suffix: config.suffix.clone() }
    }

    /// The lock itself, as other programs know it.
    pub(crate) fn lock(&self, name: &Name) -> String {
        format!("{}{}{}", self.prefix, escape(name.as_str()), self.suffix)
    }

    /// Where those stand who wait for it, or share it; ends with a slash.
    pub(crate) fn line(&self, name: &Name) -> String {
        format!("{}{}/{OURS}/", self.prefix, escape(name.as_str()))
    }

    /// What tells the owner of a session that something has happened.
    pub(crate) fn bell(&self, session: &str) -> String {
        format!("{}{OURS}/{session}", self.prefix)
    }

    /// What the keys of all names that begin so begin with.
    pub(crate) fn beginning(&self, prefix: &str) -> String {
        // How a slash at the end is written depends on what follows.
        let whole = escape(prefix.trim_end_matches('/'));
        format!("{}{whole}", self.prefix)
    }

    /// Whose lock or line a key is, if it is one.
    pub(crate) fn name(&self, key: &str) -> Option<Name> {
        let key = key.strip_prefix(self.prefix.as_str())?;
        let of_line = key.split_once(&format!("/{OURS}/")).map(|(name, _)| name);
        let escaped = of_line.or_else(|| key.strip_suffix(self.suffix.as_str()))?;
        let name = Name::new(&decode(escaped).ok()?).ok()?;
        // What is written in another way is another program's.
        (escape(name.as_str()) == escaped).then_some(name)
    }
}

fn escape(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len() + 8);
    // As before the first segment, and after a slash.
    let mut begins = true;
    let mut rest = name.chars().peekable();
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

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> Name {
        Name::new(name).unwrap()
    }

    fn keys() -> Keys {
        Keys::of(&Config::new(Vec::new()))
    }

    #[test]
    fn a_plain_name_is_itself() {
        let keys = keys();
        assert_eq!(keys.lock(&name("inventory/42")), "inventory/42/.lock");
        assert_eq!(keys.line(&name("Größe b.c")), "Größe b.c/.leasehold/");
        assert_eq!(keys.name("inventory/42/.lock"), Some(name("inventory/42")));
        assert_eq!(keys.name("inventory/42/.leasehold/a-1"), Some(name("inventory/42")));
    }

    #[test]
    fn whatever_would_leave_its_place_is_escaped_and_comes_back() {
        let keys = keys();
        for (odd, escaped) in [
            ("/", "%2F"),
            ("//a", "%2F%2Fa"),
            ("a//b/", "a%2F%2Fb%2F"),
            ("a/.lock", "a/%2Elock"),
            ("a/../b", "a/%2E./b"),
            ("..", "%2E."),
            (".leasehold/x", "%2Eleasehold/x"),
            ("100%", "100%25"),
            ("a%2Fb", "a%252Fb"),
        ] {
            assert_eq!(keys.lock(&name(odd)), format!("{escaped}/.lock"));
            assert_eq!(keys.name(&keys.lock(&name(odd))), Some(name(odd)));
            assert_eq!(keys.name(&format!("{}x", keys.line(&name(odd)))), Some(name(odd)));
        }
    }

    #[test]
    fn other_programs_keys_are_no_names() {
        let keys = keys();
        for key in ["a/b", ".lock", ".leasehold/3-4", "a%2Fb/.lock", "a/.x/.lock", "/.lock", "%2G/.lock"] {
            assert_eq!(keys.name(key), None, "{key}");
        }
    }

    #[test]
    fn with_prefix_and_suffix() {
        let mut config = Config::new(Vec::new());
        config.prefix = "service/".into();
        config.suffix = "/leader".into();
        let keys = Keys::of(&config);
        assert_eq!(keys.lock(&name("db")), "service/db/leader");
        assert_eq!(keys.bell("5"), "service/.leasehold/5");
        assert_eq!(keys.name("service/db/leader"), Some(name("db")));
        assert_eq!(keys.name("db/leader"), None);
        assert_eq!(keys.beginning("d"), "service/d");
    }
}
