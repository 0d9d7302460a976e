//! Time and randomness, injected: the only file that reads a real clock or a real source of randomness.
//!
//! Deadlines live on the boot-time clock (`CLOCK_BOOTTIME` on Linux), which goes on while the machine is
//! suspended; `std::time::Instant` stops there, and a holder that slept would believe in a hold long lost.

use std::fmt;
use std::ops::{Add, Sub};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// A point on a boot-time clock, in nanoseconds since boot. Moments of two machines cannot be compared.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Moment(u64);

impl Moment {
    /// When the machine started.
    pub const BOOT: Self = Self(0);
    /// Later than anything.
    pub const NEVER: Self = Self(u64::MAX);

    /// From nanoseconds since boot.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since boot.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// How much later this is than `earlier`; zero if it is not.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.nanos_since(earlier))
    }

    /// The same in nanoseconds.
    pub(crate) const fn nanos_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// So many nanoseconds later.
    pub(crate) const fn plus(self, nanos: u64) -> Self {
        Self(self.0.saturating_add(nanos))
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(nanos(span)))
    }
}

impl Sub<Duration> for Moment {
    type Output = Self;

    fn sub(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(span)))
    }
}

/// A span in nanoseconds, at most 584 years. Arithmetic on these is much cheaper than on `Duration`, and every
/// lock does some.
pub(crate) const fn nanos(span: Duration) -> u64 {
    span.as_secs().saturating_mul(1_000_000_000).saturating_add(span.subsec_nanos() as u64)
}

impl fmt::Debug for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::NEVER {
            f.write_str("never")
        } else {
            write!(f, "{:?}", Duration::from_nanos(self.0))
        }
    }
}

/// A sleep on a clock.
pub type Sleep = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A boot-time clock that can be slept on.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// Now. Never goes back, and goes on while the machine is suspended.
    fn now(&self) -> Moment;

    /// Microseconds since 1970. May jump; only ever used as a floor for tokens.
    fn wall_micros(&self) -> u64;

    /// Resolves at `at` or a little later, never earlier. It may be dropped at any time.
    fn sleep_until(&self, at: Moment) -> Sleep;
}

/// A source of random numbers.
pub trait Rng: fmt::Debug + Send + Sync + 'static {
    /// 128 random bits. Claim ids come from here, so a real one must not be predictable or repeat itself.
    fn next(&self) -> u128;
}

/// What a client or an engine knows of the world besides its peers: a clock and a source of randomness.
#[derive(Clone, Debug)]
pub struct Env {
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The source of randomness.
    pub rng: Arc<dyn Rng>,
}

impl Env {
    /// The real ones of this machine.
    pub fn system() -> Self {
        Self { clock: Arc::new(BootClock), rng: Arc::new(SystemRng) }
    }

    /// Now.
    pub fn now(&self) -> Moment {
        self.clock.now()
    }
}

/// The boot-time clock of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct BootClock;

#[cfg(any(target_os = "linux", target_os = "android"))]
const BOOT: ClockId = ClockId::CLOCK_BOOTTIME;
/// Elsewhere the monotonic clock is the nearest there is; it stops in suspend on some systems.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const BOOT: ClockId = ClockId::CLOCK_MONOTONIC;

impl Clock for BootClock {
    #[expect(clippy::cast_sign_loss, reason = "neither part of a boot-time reading is negative")]
    fn now(&self) -> Moment {
        let time = clock_gettime(BOOT).expect("the boot-time clock can always be read");
        Moment(time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64)
    }

    #[expect(clippy::cast_sign_loss, reason = "a clock set before 1970 is taken as 1970")]
    fn wall_micros(&self) -> u64 {
        let time = clock_gettime(ClockId::CLOCK_REALTIME).expect("the wall clock can always be read");
        time.tv_sec().max(0) as u64 * 1_000_000 + time.tv_nsec() as u64 / 1000
    }

    #[expect(clippy::disallowed_methods, reason = "this is the clock that others must use")]
    fn sleep_until(&self, at: Moment) -> Sleep {
        let clock = *self;
        Box::pin(async move {
            // tokio's timers stop in suspend: look again after each of them, and never sleep for long at once.
            loop {
                let left = at.since(clock.now());
                if left.is_zero() {
                    return;
                }
                tokio::time::sleep(left.min(Duration::from_secs(1))).await;
            }
        })
    }
}

/// The operating system's randomness, through a thread-local generator fit for cryptography.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemRng;

impl Rng for SystemRng {
    #[expect(clippy::disallowed_methods, reason = "this is the source that others must use")]
    fn next(&self) -> u128 {
        rand::random()
    }
}
