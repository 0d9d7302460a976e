//! Async mutexes within a process.

use crate::owned::owned;

owned! {
    /// async-lock's mutexes by name: whoever has waited long is let in before newcomers.
    AsyncLocks, AsyncSeat, async_lock::Mutex<()>, async_lock::MutexGuardArc<()>, lock_arc
}

owned! {
    /// futures' mutexes by name: whoever comes first has it.
    FuturesLocks, FuturesSeat,
    futures_util::lock::Mutex<()>, futures_util::lock::OwnedMutexGuard<()>, lock_owned
}
