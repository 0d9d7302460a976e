//! The same for code without async: every call blocks the calling thread.
//!
//! A [`Client`] here brings its own runtime with one background thread, which renews what is held while the
//! caller does other things. Not to be used inside an async runtime: blocking there stops other tasks.
//!
//! ```
//! use leasehold::blocking;
//! # fn main() -> leasehold::Result<()> {
//! let locks = blocking::connect("memory:")?;
//! let guard = locks.mutex("inventory/42")?.lock()?;
//! println!("held with token {}", guard.token());
//! guard.release()?;
//! # Ok(()) }
//! ```

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use leasehold_core as core;
use leasehold_core::{Error, ErrorKind, Lease, Result};
use tokio::runtime::Runtime;

/// Connects to the engine of this URL; see [`leasehold::connect`](crate::connect()).
///
/// # Errors
/// As there.
pub fn connect(url: &str) -> Result<Client> {
    connect_with(crate::connect(url))
}

/// Connects with settings.
///
/// # Errors
/// As [`leasehold::connect`](crate::connect()).
pub fn connect_with(connect: crate::Connect) -> Result<Client> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("leasehold")
        .enable_all()
        .build()
        .map_err(|e| {
            Error::new(ErrorKind::Unexpected, "connect", "the runtime did not start").with_source(e)
        })?;
    let client = runtime.block_on(connect.into_future())?;
    Ok(Client { client, runtime: Arc::new(runtime) })
}

/// A client whose calls block. Cheap to clone; clones share all.
#[derive(Clone, Debug)]
pub struct Client {
    client: core::Client,
    runtime: Arc<Runtime>,
}

impl Client {
    /// A mutex; see [`leasehold::Client::mutex`](core::Client::mutex).
    ///
    /// # Errors
    /// As there.
    pub fn mutex(&self, name: &str) -> Result<Mutex> {
        Ok(Mutex { lock: self.client.mutex(name)?, runtime: Arc::clone(&self.runtime) })
    }

    /// A reader/writer lock; see [`leasehold::Client::rwlock`](core::Client::rwlock).
    ///
    /// # Errors
    /// As there.
    pub fn rwlock(&self, name: &str) -> Result<RwLock> {
        Ok(RwLock { lock: self.client.rwlock(name)?, runtime: Arc::clone(&self.runtime) })
    }

    /// A semaphore; see [`leasehold::Client::semaphore`](core::Client::semaphore).
    ///
    /// # Errors
    /// As there.
    pub fn semaphore(&self, name: &str, permits: u32) -> Result<Semaphore> {
        Ok(Semaphore { lock: self.client.semaphore(name, permits)?, runtime: Arc::clone(&self.runtime) })
    }

    /// What the engine can do and what it guarantees.
    pub fn info(&self) -> &core::EngineInfo {
        self.client.info()
    }

    /// Who holds and who waits.
    ///
    /// # Errors
    /// Whatever the engine says.
    pub fn inspect(&self, query: core::Query) -> Result<core::Page> {
        self.runtime.block_on(self.client.inspect(query))
    }

    /// Refuses new locks and lets go of everything; see [`leasehold::Client::shutdown`](core::Client::shutdown).
    ///
    /// # Errors
    /// As there.
    pub fn shutdown(&self, patience: Duration) -> Result<()> {
        self.runtime.block_on(self.client.shutdown(patience))
    }
}

/// The terms of a lock, passed on.
macro_rules! terms {
    () => {
        /// How long the hold lives after each renewal.
        #[must_use]
        pub fn ttl(self, ttl: Duration) -> Self {
            Self { lock: self.lock.ttl(ttl), ..self }
        }

        /// Keeps the others out at least this long, even if it is released or the process dies earlier.
        #[must_use]
        pub fn at_least(self, span: Duration) -> Self {
            Self { lock: self.lock.at_least(span), ..self }
        }

        /// Ends the hold this long after it began.
        #[must_use]
        pub fn at_most(self, span: Duration) -> Self {
            Self { lock: self.lock.at_most(span), ..self }
        }

        /// What onlookers are told beside the owner.
        #[must_use]
        pub fn payload(self, payload: &str) -> Self {
            Self { lock: self.lock.payload(payload), ..self }
        }
    };
}

/// A guard type: the async one, and the runtime to release it on.
macro_rules! guard {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[must_use = "it is released as soon as it is dropped"]
        pub struct $name {
            guard: core::$name,
            runtime: Arc<Runtime>,
        }

        impl $name {
            /// Releases, and returns when the engine has confirmed it.
            ///
            /// # Errors
            /// [`ErrorKind::Lost`] if the hold was over before; otherwise what the engine says.
            pub fn release(self) -> Result<()> {
                self.runtime.block_on(self.guard.release())
            }

            /// Blocks until the hold is over.
            pub fn wait_lost(&self) {
                self.runtime.block_on(self.guard.lost());
            }
        }

        impl Deref for $name {
            type Target = Lease;

            fn deref(&self) -> &Lease {
                &self.guard
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.guard.fmt(f)
            }
        }
    };
}

guard! {
    /// A held mutex, or a held side of a reader/writer lock. Released in the background when dropped.
    Guard
}
guard! {
    /// A held share of a semaphore. Released in the background when dropped.
    Permit
}

/// A lock that one holder has at a time.
#[derive(Clone, Debug)]
pub struct Mutex {
    lock: core::Mutex,
    runtime: Arc<Runtime>,
}

/// A lock that many readers or one writer have at a time.
#[derive(Clone, Debug)]
pub struct RwLock {
    lock: core::RwLock,
    runtime: Arc<Runtime>,
}

/// A number of permits that holders take and give back.
#[derive(Clone, Debug)]
pub struct Semaphore {
    lock: core::Semaphore,
    runtime: Arc<Runtime>,
}

/// One way to acquire in its three forms: for ever, not at all, for a while.
macro_rules! acquire {
    ($guard:ident: $now:ident / $try:ident / $timeout:ident ($($arg:ident: $of:ty),*)) => {
        /// Waits in the queue until it is held.
        ///
        /// # Errors
        /// As the async method of the same name.
        pub fn $now(&self, $($arg: $of),*) -> Result<$guard> {
            let guard = self.runtime.block_on(self.lock.$now($($arg),*))?;
            Ok($guard { guard, runtime: Arc::clone(&self.runtime) })
        }

        /// Acquires if that needs no waiting; `None` if it does.
        ///
        /// # Errors
        /// As the async method of the same name.
        pub fn $try(&self, $($arg: $of),*) -> Result<Option<$guard>> {
            let guard = self.runtime.block_on(self.lock.$try($($arg),*))?;
            Ok(guard.map(|guard| $guard { guard, runtime: Arc::clone(&self.runtime) }))
        }

        /// Waits in the queue for at most `span`; `None` if that was not enough.
        ///
        /// # Errors
        /// As the async method of the same name.
        pub fn $timeout(&self, $($arg: $of,)* span: Duration) -> Result<Option<$guard>> {
            let guard = self.runtime.block_on(self.lock.$timeout($($arg,)* span))?;
            Ok(guard.map(|guard| $guard { guard, runtime: Arc::clone(&self.runtime) }))
        }
    };
}

impl Mutex {
    terms!();
    acquire!(Guard: lock / try_lock / lock_timeout());

    /// Locks, does the work, releases. A thread cannot be cancelled: the work gets the [`Lease`] and should look
    /// at [`is_valid`](Lease::is_valid) between its steps.
    ///
    /// # Errors
    /// As [`lock`](Self::lock), and [`ErrorKind::Lost`] if the hold was over before the work was done.
    pub fn run<T>(&self, work: impl FnOnce(&Lease) -> T) -> Result<T> {
        let guard = self.lock()?;
        let out = work(&guard);
        match guard.release() {
            Err(error) if error.kind() == ErrorKind::Lost => Err(error),
            // Unconfirmed, it is repeated in the background; the work was done while the lock was held.
            _ => Ok(out),
        }
    }
}

impl RwLock {
    terms!();
    acquire!(Guard: read / try_read / read_timeout());
    acquire!(Guard: write / try_write / write_timeout());
}

impl Semaphore {
    terms!();
    acquire!(Permit: acquire / try_acquire / acquire_timeout());
    acquire!(Permit: acquire_many / try_acquire_many / acquire_many_timeout(permits: u32));
}
