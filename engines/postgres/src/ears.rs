//! Who holds now is told: within this engine at once, and others by NOTIFY.
//!
//! NOTIFY takes a lock that all who notify in the whole server share, until its transaction is over. Were that the
//! transaction of the hand-over, everybody would wait for everybody's disk. So it is one of its own, behind it, that
//! writes nothing; if it is lost, the next holder looks.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use leasehold_core::Hint;
use tokio_postgres::types::Type;

use crate::engine::Inner;
use crate::wire::Heir;

const NOTIFY: &str = "SELECT pg_notify(c, p) FROM unnest($1, $2) n (c, p)";

/// The pauses between two tries to listen.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

impl Inner {
    /// Tells whoever holds now.
    pub(crate) fn hand_over(self: &Arc<Self>, heirs: &[Heir]) {
        let (mut channels, mut payloads) = (Vec::new(), Vec::new());
        for heir in heirs {
            if heir.peer == self.world.channel {
                self.world.inbox.deliver(heir.id, Hint::Held(heir.token));
            } else if !heir.peer.is_empty() {
                channels.push(heir.peer.clone());
                payloads.push(format!("{}:{}", heir.id, heir.token));
            }
        }
        if channels.is_empty() {
            return;
        }
        let inner = self.clone();
        // Nobody waits for it: it is a hint, and who does not get it looks.
        self.world.runtime.spawn(async move {
            if let Ok(session) = inner.main.session().await {
                let parameters: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 2] =
                    [(&channels, Type::TEXT_ARRAY), (&payloads, Type::TEXT_ARRAY)];
                let notify = session.connection.client.query_typed(NOTIFY, &parameters);
                drop(inner.world.in_time(notify).await);
            }
        });
    }

    /// Somebody of ours waits: from now on this engine listens.
    pub(crate) fn listen(self: &Arc<Self>) {
        if !self.hears || self.listening.swap(true, Ordering::Relaxed) {
            return;
        }
        let (inner, runtime) = (Arc::downgrade(self), self.world.runtime.clone());
        runtime.spawn(async move {
            let mut pause = PAUSE.0;
            // As long as somebody has the engine.
            while let Some(inner) = inner.upgrade() {
                match inner.hear().await {
                    Some(session) => {
                        pause = PAUSE.0;
                        let clock = inner.world.env.clock.clone();
                        drop(inner);
                        session.connection.lost().await;
                        // What broke it may take a while.
                        clock.sleep_until(clock.now() + pause).await;
                    }
                    None => {
                        let clock = inner.world.env.clock.clone();
                        drop(inner);
                        clock.sleep_until(clock.now() + pause).await;
                        pause = (pause * 2).min(PAUSE.1);
                    }
                }
            }
        });
    }

    /// Listens, and then has everybody look who may have been told too early.
    async fn hear(&self) -> Option<Arc<crate::lane::Session>> {
        let session = self.side.session().await.ok()?;
        let listen = format!("LISTEN {}", self.world.channel);
        let heard = self.world.in_time(session.connection.client.batch_execute(&listen)).await;
        heard?.ok()?;
        self.world.inbox.look();
        Some(session)
    }
}
