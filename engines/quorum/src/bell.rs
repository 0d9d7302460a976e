//! Wakes who waits for several answers once enough of them have come, and says which.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::task::{Wake, Waker};

use futures_util::task::AtomicWaker;

/// How many answers one bell can tell apart.
pub(crate) const ROPES_MAX: usize = u64::BITS as usize;

/// A bell with a rope for each answer. It rings when so many ropes have been pulled that something may be decided: to be
/// woken by each answer, and to poll all the others each time, is a good part of what several small requests cost.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    pulled: AtomicU64,
    enough: AtomicU32,
    waiter: AtomicWaker,
}

struct Rope {
    bell: Arc<Bell>,
    bit: u64,
}

impl Wake for Rope {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let before = self.bell.pulled.fetch_or(self.bit, Ordering::SeqCst);
        if before & self.bit == 0 && self.bell.rings(before | self.bit) {
            self.bell.waiter.wake();
        }
    }
}

impl Bell {
    /// The waker that pulls the rope of this number.
    pub(crate) fn rope(self: &Arc<Self>, nth: usize) -> Waker {
        Waker::from(Arc::new(Rope { bell: Arc::clone(self), bit: 1 << nth }))
    }

    /// Who is woken from now on.
    pub(crate) fn wakes(&self, waiter: &Waker) {
        self.waiter.register(waiter);
    }

    /// The ropes that have been pulled since this was asked last.
    pub(crate) fn take(&self) -> u64 {
        self.pulled.swap(0, Ordering::SeqCst)
    }

    /// Rings when so many have been pulled; `true` if that is so already.
    pub(crate) fn ring_at(&self, enough: usize) -> bool {
        self.enough.store(u32::try_from(enough).unwrap_or(u32::MAX), Ordering::SeqCst);
        self.rings(self.pulled.load(Ordering::SeqCst))
    }

    fn rings(&self, pulled: u64) -> bool {
        pulled.count_ones() >= self.enough.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn it_rings_once_when_enough_have_pulled() {
        let (bell, woken) = (Arc::new(Bell::default()), Arc::new(Woken::default()));
        let ropes: Vec<Waker> = (0..5).map(|nth| bell.rope(nth)).collect();
        let rung = || woken.0.load(Ordering::SeqCst);
        bell.wakes(&Waker::from(Arc::clone(&woken)));
        assert!(!bell.ring_at(3));
        ropes[0].wake_by_ref();
        ropes[0].wake_by_ref();
        ropes[4].wake_by_ref();
        assert_eq!(rung(), 0, "one has pulled twice");
        ropes[2].wake_by_ref();
        assert_eq!(rung(), 1);
        assert_eq!(bell.take(), 0b10101);
        assert!(!bell.ring_at(1));
        ropes[1].wake_by_ref();
        assert!(bell.ring_at(1), "it was pulled before anybody was registered again");
    }
}
