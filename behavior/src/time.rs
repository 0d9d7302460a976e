//! Clocks that a test sets: one that stands still, and one whose wall is wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use leasehold::clock::{BootClock, Sleep};
use leasehold::{Clock, Env, Moment, Rng};
use tokio::sync::watch;

/// Time as the test says. The wall goes with it.
#[derive(Debug)]
pub(crate) struct SetClock {
    now: watch::Sender<Moment>,
    wall_at_boot: u64,
}

impl SetClock {
    pub(crate) fn new(now: Moment, wall_micros: u64) -> Arc<Self> {
        let wall_at_boot = wall_micros.saturating_sub(now.as_nanos() / 1000);
        Arc::new(Self { now: watch::Sender::new(now), wall_at_boot })
    }

    pub(crate) fn set(&self, now: Moment) {
        self.now.send_replace(now);
    }

    /// This clock, and real randomness: claim ids and the like decide nothing.
    pub(crate) fn env(self: &Arc<Self>, rng: &Arc<dyn Rng>) -> Env {
        let clock: Arc<dyn Clock> = self.clone();
        Env { clock, rng: Arc::clone(rng) }
    }
}

impl Clock for SetClock {
    fn now(&self) -> Moment {
        *self.now.borrow()
    }

    fn wall_micros(&self) -> u64 {
        self.wall_at_boot + self.now().as_nanos() / 1000
    }

    fn sleep_until(&self, at: Moment) -> Sleep {
        let mut now = self.now.subscribe();
        Box::pin(async move {
            if now.wait_for(|now| *now >= at).await.is_err() {
                // Nobody is left who could set it: time stands still for ever.
                std::future::pending().await
            }
        })
    }
}

/// The real clock, with a wall that is off.
#[derive(Debug, Default)]
pub(crate) struct WrongWall(AtomicI64);

impl WrongWall {
    /// Off by so many seconds.
    pub(crate) fn by(seconds: i64) -> Arc<Self> {
        let wall = Self::default();
        wall.set(seconds);
        Arc::new(wall)
    }

    pub(crate) fn set(&self, seconds: i64) {
        self.0.store(seconds * 1_000_000, Ordering::SeqCst);
    }
}

impl Clock for WrongWall {
    fn now(&self) -> Moment {
        BootClock.now()
    }

    fn wall_micros(&self) -> u64 {
        BootClock.wall_micros().saturating_add_signed(self.0.load(Ordering::SeqCst))
    }

    fn sleep_until(&self, at: Moment) -> Sleep {
        BootClock.sleep_until(at)
    }
}
