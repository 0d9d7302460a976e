//! Where the answers of a [`Gather`](super::Gather) wait for their callers, and callers for their answers.

use std::task::Waker;

/// Where answers wait for their callers.
pub(super) struct Slots<Out> {
    all: Vec<Slot<Out>>,
    free: Vec<usize>,
    /// How many of them hold a waker.
    wakers: usize,
}

pub(super) enum Slot<Out> {
    Free,
    Waiting(Option<Waker>),
    /// `None` if its batch panicked.
    Done(Option<Out>),
    /// Nobody waits for the answer any more.
    Abandoned,
}

impl<Out> Default for Slots<Out> {
    fn default() -> Self {
        Self { all: Vec::new(), free: Vec::new(), wakers: 0 }
    }
}

impl<Out> Slots<Out> {
    /// Whether nobody has one.
    #[cfg(test)]
    pub(super) fn are_free(&self) -> bool {
        self.free.len() == self.all.len()
    }

    /// A slot for a new caller.
    pub(super) fn take(&mut self) -> usize {
        let slot = self.free.pop().unwrap_or(self.all.len());
        if slot == self.all.len() {
            self.all.push(Slot::Free);
        }
        self.all[slot] = Slot::Waiting(None);
        slot
    }

    pub(super) fn release(&mut self, slot: usize) -> Slot<Out> {
        self.attend(slot, None);
        self.free.push(slot);
        std::mem::replace(&mut self.all[slot], Slot::Free)
    }

    /// Whom to wake for a caller that waits.
    pub(super) fn attend(&mut self, slot: usize, waker: Option<&Waker>) {
        let Slot::Waiting(kept) = &mut self.all[slot] else { return };
        self.wakers -= usize::from(kept.is_some());
        self.wakers += usize::from(waker.is_some());
        *kept = waker.cloned();
    }

    /// Everybody who waits to be woken.
    pub(super) fn wakers(&mut self) -> Vec<Waker> {
        if self.wakers == 0 {
            return Vec::new();
        }
        self.wakers = 0;
        let take = |slot: &mut Slot<Out>| match slot {
            Slot::Waiting(waker) => waker.take(),
            _ => None,
        };
        self.all.iter_mut().filter_map(take).collect()
    }

    pub(super) fn fill(&mut self, slot: usize, out: Option<Out>) {
        match self.all[slot] {
            Slot::Abandoned => drop(self.release(slot)),
            _ => self.all[slot] = Slot::Done(out),
        }
    }

    /// The answer that came for a caller, whose slot is free then; the inner `None` is a broken batch.
    pub(super) fn answer(&mut self, slot: usize) -> Option<Option<Out>> {
        if !matches!(self.all[slot], Slot::Done(_)) {
            return None;
        }
        match self.release(slot) {
            Slot::Done(out) => Some(out),
            _ => None,
        }
    }

    pub(super) fn abandon(&mut self, slot: usize) {
        if let Slot::Waiting(_) = self.release(slot) {
            // Its item is in the line or under way, which still knows the slot.
            self.free.pop();
            self.all[slot] = Slot::Abandoned;
        }
    }
}
