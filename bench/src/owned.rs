//! Async mutexes with owned guards as lockers: floors and peers alike.

/// A locker of somebody's async mutex that has an owned guard.
macro_rules! owned {
    ($(#[$doc:meta])* $locks:ident, $seat:ident, $mutex:ty, $guard:ty, $lock:ident) => {
        $(#[$doc])*
        #[derive(Debug, Default)]
        pub(crate) struct $locks(dashmap::DashMap<String, std::sync::Arc<$mutex>>);

        /// One task's hand on it.
        #[derive(Debug)]
        pub(crate) struct $seat {
            mutex: std::sync::Arc<$mutex>,
            guard: Option<$guard>,
        }

        impl crate::entrant::Locker for $locks {
            type Seat = $seat;

            async fn seat(&self, name: &str) -> leasehold_core::Result<$seat> {
                let mutex = std::sync::Arc::clone(&self.0.entry(name.to_owned()).or_default());
                Ok($seat { mutex, guard: None })
            }

            fn requests(&self) -> Option<u64> {
                None
            }
        }

        impl crate::entrant::Seat for $seat {
            async fn acquire(&mut self) -> leasehold_core::Result<()> {
                self.guard = Some(std::sync::Arc::clone(&self.mutex).$lock().await);
                Ok(())
            }

            async fn release(&mut self) -> leasehold_core::Result<()> {
                self.guard = None;
                Ok(())
            }
        }
    };
}
pub(crate) use owned;
