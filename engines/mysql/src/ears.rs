//! Who holds now is told: within this engine at once, and between engines by notes in a table.
//!
//! MySQL has nothing by which one session could wake another. So an engine of which somebody waits has one more
//! connection, on which the server itself looks for notes, every 10 ms.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use leasehold_core::{Hint, Moment};
use mysql_async::Conn;

use crate::engine::Inner;
use crate::lane::World;
use crate::wire::{get, heirs_of, rows};

/// How long one request listens, and how often it looks in that time.
const LISTENS: Duration = Duration::from_secs(5);
const LOOKS: u32 = 500;
/// So long after the last of ours was seen to wait nobody listens any more: who waits asks more often than that.
const LINGER: Duration = Duration::from_secs(10);
/// The pauses between two tries to listen.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

impl Inner {
    /// Somebody of ours waits: for a while from now on this engine listens.
    pub(crate) fn listen(self: &Arc<Self>) {
        if !self.world.config.listen {
            return;
        }
        self.world.somebody_waits();
        if self.world.listening.swap(true, Ordering::SeqCst) {
            return;
        }
        let (engine, world) = (Arc::downgrade(self), Arc::clone(&self.world));
        self.world.runtime.spawn(async move {
            let (mut conn, mut pause) = (None, PAUSE.0);
            // As long as somebody has the engine.
            while engine.strong_count() > 0 && !world.may_stop() {
                conn = match conn {
                    Some(conn) => world.hear(conn).await,
                    None => world.begin().await,
                };
                if conn.is_some() {
                    pause = PAUSE.0;
                    continue;
                }
                world.env.clock.sleep_until(world.env.now() + pause).await;
                pause = (pause * 2).min(PAUSE.1);
            }
        });
    }
}

impl World {
    fn somebody_waits(&self) {
        let until = self.env.now() + LINGER;
        self.listens_until.store(until.as_nanos(), Ordering::SeqCst);
    }

    fn nobody_waits(&self) -> bool {
        Moment::from_nanos(self.listens_until.load(Ordering::SeqCst)) < self.env.now()
    }

    /// Whether nobody waits any more; then nobody listens from now on.
    fn may_stop(&self) -> bool {
        if !self.nobody_waits() {
            return false;
        }
        self.listening.store(false, Ordering::SeqCst);
        // Somebody may have come meanwhile who saw that somebody listens.
        self.nobody_waits() || self.listening.swap(true, Ordering::SeqCst)
    }

    /// Connects, and has everybody look who may have been told too early.
    async fn begin(&self) -> Option<Conn> {
        let (conn, _) = self.connect().await.ok()?;
        self.inbox.look();
        Some(conn)
    }

    /// Waits for notes, and tells whom they are for.
    async fn hear(&self, mut conn: Conn) -> Option<Conn> {
        let call = format!("CALL leasehold_hear(x'{}', {LOOKS}); COMMIT", self.peer());
        let rows = self.within(LISTENS + self.config.timeout, rows(&mut conn, call)).await?.ok()?;
        let list: Option<String> = rows.first().and_then(|row| get(row, 0).ok()?);
        for heir in list.iter().flat_map(|list| heirs_of(list)) {
            self.inbox.deliver(heir.id, Hint::Held(heir.token));
        }
        Some(conn)
    }
}
