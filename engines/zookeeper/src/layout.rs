//! The path of a lock: its name as one component, spelled so that any name can be one and can be read back.

use std::fmt::Write as _;

use leasehold_core::Name;
use leasehold_core::url::decode;

/// The node in which ZooKeeper keeps its own things, where there is no chroot.
const RESERVED: &str = "zookeeper";

/// Where the locks are.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    chroot: String,
}

impl Layout {
    pub(crate) fn new(chroot: &str) -> Self {
        Self { chroot: chroot.to_owned() }
    }

    /// The node of which the locks are children.
    pub(crate) fn top(&self) -> &str {
        if self.chroot.is_empty() { "/" } else { &self.chroot }
    }

    /// The node of a lock, of which its contenders are children.
    pub(crate) fn path(&self, name: &Name) -> String {
        format!("{}/{}", self.chroot, self.component(name.as_str()))
    }

    /// The name of the lock at this child of [`top`](Self::top); `None` if it is none that we would have written.
    pub(crate) fn name(&self, component: &str) -> Option<Name> {
        let name = Name::new(&decode(component).ok()?).ok()?;
        (self.component(name.as_str()) == component).then_some(name)
    }

    /// The name of the lock in whose line this node stands, and the node's own name.
    pub(crate) fn split<'a>(&self, node: &'a str) -> Option<(Name, &'a str)> {
        let (component, child) =
            node.strip_prefix(self.chroot.as_str())?.strip_prefix('/')?.split_once('/')?;
        Some((self.name(component)?, child))
    }

    /// Spelled as percent-encoding has it, but only what ZooKeeper does not take as it is.
    fn component(&self, name: &str) -> String {
        let is_reserved = name == "." || name == ".." || (self.chroot.is_empty() && name == RESERVED);
        let mut out = String::with_capacity(name.len());
        for (at, c) in name.char_indices() {
            if takes(c) && !(is_reserved && at == 0) {
                out.push(c);
            } else {
                let mut bytes = [0; 4];
                for byte in c.encode_utf8(&mut bytes).bytes() {
                    write!(out, "%{byte:02X}").expect("a string takes everything");
                }
            }
        }
        out
    }
}

/// Whether ZooKeeper takes this character in the name of a node, and it means nothing else.
fn takes(c: char) -> bool {
    !matches!(c, '/' | '%' | '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{e000}'..='\u{f8ff}' | '\u{fff0}'..)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    #[test]
    fn plain_names_are_spelled_as_they_are() {
        let (bare, rooted) = (Layout::new(""), Layout::new("/a/b"));
        assert_eq!((bare.top(), rooted.top()), ("/", "/a/b"));
        for plain in ["orders", "a.b-c_d", "...", "größe 5", "zookeeper2"] {
            assert_eq!(bare.path(&name(plain)), format!("/{plain}"));
            assert_eq!(rooted.path(&name(plain)), format!("/a/b/{plain}"));
        }
        assert_eq!(rooted.path(&name("zookeeper")), "/a/b/zookeeper");
    }

    #[test]
    fn all_names_can_be_read_back() {
        let long = "/".repeat(255);
        let odd =
            ["a/b", "/", "//", ".", "..", "../..", "zookeeper", "50%", "%2F", "😀", "\u{e000}", "\u{fffd}"];
        for layout in [Layout::new(""), Layout::new("/x")] {
            for text in odd.iter().copied().chain([long.as_str()]) {
                let path = layout.path(&name(text));
                let component = path.rsplit('/').next().unwrap();
                assert_eq!(layout.name(component), Some(name(text)), "{path}");
                assert!(component.chars().all(takes_or_percent) && component != "." && component != "..");
                let node = format!("{path}/child");
                assert_eq!(layout.split(&node), Some((name(text), "child")));
            }
        }
    }

    fn takes_or_percent(c: char) -> bool {
        takes(c) || c == '%'
    }

    #[test]
    fn what_we_would_have_spelled_otherwise_is_not_ours() {
        let layout = Layout::new("");
        for component in ["zookeeper", "a%2fb", "%61", "50%", "%FF", "."] {
            assert_eq!(layout.name(component), None, "{component}");
        }
        assert_eq!(Layout::new("/x").split("/y/name/child"), None);
        assert_eq!(Layout::new("/x").split("/xname/child"), None);
    }
}
