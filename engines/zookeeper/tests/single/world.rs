//! One server for all tests that do not harm it, each with a chroot of its own.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use leasehold_testkit::zookeeper::{Builder, TICK, ZooKeeper as Server};

/// The server, as long as some test uses it.
static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());

/// A place of a test's own.
pub(crate) struct Place {
    pub(crate) server: Arc<Server>,
    /// The path under which its locks are.
    pub(crate) chroot: String,
}

impl Place {
    pub(crate) fn new() -> Self {
        static PLACES: AtomicU32 = AtomicU32::new(0);
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        let server = shared.upgrade().unwrap_or_else(|| Arc::new(builder().start().unwrap()));
        *shared = Arc::downgrade(&server);
        Self { server, chroot: format!("/place{}", PLACES.fetch_add(1, Ordering::Relaxed)) }
    }

    /// The URL of the engine.
    pub(crate) fn url(&self) -> String {
        url(&self.server, &self.chroot)
    }
}

/// The URL of the engine under this path.
pub(crate) fn url(server: &Server, chroot: &str) -> String {
    // Its longest session is not twenty ticks.
    format!("{}{chroot}?tick={}ms", server.url(), TICK.as_millis())
}

/// Keeps sessions for as long as a test takes.
fn builder() -> Builder {
    Server::builder().option("maxSessionTimeout", "60000")
}

/// A server that removes what is empty at once, not once a minute.
pub(crate) fn start() -> Server {
    builder().property("znode.container.checkIntervalMs", "100").start().unwrap()
}
