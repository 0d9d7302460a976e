//! What happens to a client's claims, as something that a test can wait for.

use leasehold::observe::{Event, Observer, What};
use tokio::sync::watch;

/// How often what has happened.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) queued: usize,
    pub(crate) renewed: usize,
}

/// An observer that counts.
#[derive(Debug, Default)]
pub(crate) struct Seen(watch::Sender<Counts>);

impl Observer for Seen {
    fn observe(&self, event: &Event<'_>) {
        self.0.send_modify(|counts| match event.what {
            What::Queued { .. } => counts.queued += 1,
            What::Renewed { .. } => counts.renewed += 1,
            _ => {}
        });
    }
}

impl Seen {
    /// Resolves when the counts are as wanted.
    pub(crate) async fn until(&self, so: impl FnMut(&Counts) -> bool) {
        // The sender is this very object, so the wait cannot end without it.
        drop(self.0.subscribe().wait_for(so).await);
    }

    /// Resolves when so many claims have been answered that they wait.
    pub(crate) async fn queued(&self, n: usize) {
        self.until(move |counts| counts.queued >= n).await;
    }
}
