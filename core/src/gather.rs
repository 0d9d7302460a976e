//! One request for what arrives together: engines whose requests cost more than their items gather here.
//!
//! What is submitted while a batch is under way waits for the next one, which takes it all. There is no timer, no
//! task and no thread: a batch is polled by whichever of its callers is polled first, in that caller's own task,
//! and if that caller goes away another one goes on where it stopped. A lone caller's batch runs in its own poll.
//!
//! What a batch does is not known here, only that it takes items and answers each.

mod slots;

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker, ready};

use tokio::task::coop;

use slots::Slots;

/// Something that is to be done, in a box.
pub type Work<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Gathers items into batches, one batch at a time, in the order in which they were submitted.
///
/// Clones share.
pub struct Gather<Op, Out>(Arc<Shared<Op, Out>>);

struct Shared<Op, Out> {
    state: Mutex<State<Op, Out>>,
    run: Box<dyn Fn(Vec<Op>) -> Work<Vec<Out>> + Send + Sync>,
    orphans: Box<dyn Fn(Work<()>) + Send + Sync>,
    size_max: usize,
}

struct State<Op, Out> {
    /// What waits for the next batch.
    line: VecDeque<Waiting<Op>>,
    /// The batch under way.
    flight: Option<Flight<Out>>,
    slots: Slots<Out>,
    /// How many places are taken.
    seats: usize,
    /// How many callers have been polled and so will be polled again when they are woken.
    attending: usize,
    /// Whether what callers left behind is being driven.
    driver: bool,
    /// Which task led the last batch, by the address of its waker.
    last_task: Option<usize>,
    /// Whether the last batch had more than one item.
    crowd: bool,
}

struct Waiting<Op> {
    slot: usize,
    size: usize,
    op: Op,
}

struct Flight<Out> {
    slots: Vec<usize>,
    /// `None` while somebody polls it.
    work: Option<Work<Vec<Out>>>,
    /// Whether it has asked to be polled since it was polled last.
    woken: bool,
}

/// What a caller does next.
enum Step<Op, Out> {
    /// With what nobody else will do if this one does not hand it on.
    Answer(Option<Out>, Option<Work<()>>),
    Start(Vec<Op>),
    Resume(Work<Vec<Out>>),
    Wait,
    Idle,
}

impl<Op, Out> Clone for Gather<Op, Out> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<Op, Out> fmt::Debug for Gather<Op, Out> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gather").finish_non_exhaustive()
    }
}

impl<Op: Send + 'static, Out: Send + 'static> Gather<Op, Out> {
    /// `run` does a batch and answers each item, in order. A batch takes no further item once the sizes in it add
    /// up to `size_max`. `orphans` gets what is left to drive when the last caller has gone away; it should spawn
    /// it, for what has been submitted shall be done whether or not somebody waits for the answer.
    pub fn new(
        size_max: usize,
        run: impl Fn(Vec<Op>) -> Work<Vec<Out>> + Send + Sync + 'static,
        orphans: impl Fn(Work<()>) + Send + Sync + 'static,
    ) -> Self {
        let state = State {
            line: VecDeque::new(),
            flight: None,
            slots: Slots::default(),
            seats: 0,
            attending: 0,
            driver: false,
            last_task: None,
            crowd: false,
        };
        Self(Arc::new(Shared {
            state: Mutex::new(state),
            run: Box::new(run),
            orphans: Box::new(orphans),
            size_max,
        }))
    }

    /// Submits an item, now; the future is its answer.
    ///
    /// # Cancel safety
    /// Dropping the future does not take the item back. It is done with the next batch, by whoever is there.
    pub fn submit(&self, op: Op, size: usize) -> Submitted<Op, Out> {
        let mut state = self.0.lock();
        let slot = state.seat();
        state.line.push_back(Waiting { slot, size, op });
        drop(state);
        Submitted { seat: Seat::new(&self.0, slot, false) }
    }
}

/// The answer to a submitted item.
#[must_use = "a future does nothing unless it is polled"]
pub struct Submitted<Op: Send + 'static, Out: Send + 'static> {
    seat: Seat<Op, Out>,
}

impl<Op: Send + 'static, Out: Send + 'static> Future for Submitted<Op, Out> {
    type Output = Out;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Out> {
        // A batch that is done within the poll would let a loop of requests keep its thread for ever.
        let progress = ready!(coop::poll_proceed(cx));
        let out = ready!(self.seat.poll(cx)).expect("a caller waits until its own item is answered");
        progress.made_progress();
        Poll::Ready(out)
    }
}

/// Drives what callers have left behind until nothing is left.
struct Drive<Op: Send + 'static, Out: Send + 'static> {
    seat: Seat<Op, Out>,
}

impl<Op: Send + 'static, Out: Send + 'static> Future for Drive<Op, Out> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.seat.poll(cx).map(|_idle| ())
    }
}

/// The place of one who may drive batches.
struct Seat<Op: Send + 'static, Out: Send + 'static> {
    shared: Arc<Shared<Op, Out>>,
    /// `None` once it has its answer.
    slot: Option<usize>,
    attending: bool,
    yielded: bool,
    driver: bool,
}

impl<Op: Send + 'static, Out: Send + 'static> Seat<Op, Out> {
    fn new(shared: &Arc<Shared<Op, Out>>, slot: usize, driver: bool) -> Self {
        Self { shared: shared.clone(), slot: Some(slot), attending: false, yielded: driver, driver }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Out>> {
        let mut driven = false;
        loop {
            match self.step(cx, driven) {
                Step::Answer(out, rest) => {
                    rest.into_iter().for_each(&self.shared.orphans);
                    return Poll::Ready(Some(out.expect("the batch with this item panicked")));
                }
                Step::Idle => return Poll::Ready(None),
                Step::Wait => return Poll::Pending,
                Step::Start(ops) => self.shared.advance(|shared| (shared.run)(ops)),
                Step::Resume(work) => self.shared.advance(|_| work),
            }
            driven = true;
        }
    }

    /// What to do, for one that has `driven` a batch in this poll or has not.
    fn step(&mut self, cx: &Context<'_>, driven: bool) -> Step<Op, Out> {
        let slot = self.slot.expect("polled after its answer");
        let shared = self.shared.clone();
        let state = &mut *shared.lock();
        if let Some(answer) = state.slots.answer(slot) {
            self.slot = None;
            state.seats -= 1;
            state.attending -= usize::from(self.attending);
            let rest = (state.seats == 0).then(|| state.rest(&shared)).flatten();
            return Step::Answer(answer, rest);
        }
        if !std::mem::replace(&mut self.attending, true) {
            state.attending += 1;
        }
        state.slots.attend(slot, None);
        if let Some(flight) = &mut state.flight {
            if flight.woken && driven {
                // It may ask for another turn until this task has given up its own: tokio lets a task that has done
                // much do nothing more before that.
                cx.waker().wake_by_ref();
            } else if flight.woken
                && let Some(work) = flight.work.take()
            {
                flight.woken = false;
                return Step::Resume(work);
            }
        } else if state.line.is_empty() {
            // In the same breath as the look: whoever goes away next must not count on this one.
            self.retire(state);
            return Step::Idle;
        } else if !std::mem::replace(&mut self.yielded, true) && state.crowded(cx.waker()) {
            // Others are about to come, as they did for the last batch: let them be polled first.
            cx.waker().wake_by_ref();
        } else {
            return Step::Start(state.start(self.shared.size_max));
        }
        state.slots.attend(slot, Some(cx.waker()));
        Step::Wait
    }

    /// Gives up the place.
    fn retire(&mut self, state: &mut State<Op, Out>) {
        let Some(slot) = self.slot.take() else { return };
        state.seats -= 1;
        state.attending -= usize::from(self.attending);
        if self.driver {
            state.driver = false;
            state.slots.release(slot);
        } else {
            state.slots.abandon(slot);
        }
    }
}

impl<Op: Send + 'static, Out: Send + 'static> Drop for Seat<Op, Out> {
    fn drop(&mut self) {
        if self.slot.is_none() {
            return;
        }
        let shared = self.shared.clone();
        let mut state = shared.lock();
        self.retire(&mut state);
        if state.attending > 0 {
            // It may have been the only one that was woken: pass that on.
            let wakers = state.slots.wakers();
            drop(state);
            wakers.into_iter().for_each(Waker::wake);
        } else if !self.driver
            && let Some(rest) = state.rest(&shared)
        {
            drop(state);
            (shared.orphans)(rest);
        }
    }
}

impl<Op, Out> Shared<Op, Out> {
    fn lock(&self) -> MutexGuard<'_, State<Op, Out>> {
        // No item's code runs under this lock, and nothing in here panics half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<Op: Send + 'static, Out: Send + 'static> Shared<Op, Out> {
    /// Polls the batch under way, outside of the lock: others submit and are polled meanwhile.
    fn advance(self: &Arc<Self>, work: impl FnOnce(&Self) -> Work<Vec<Out>>) {
        let broken = BreakOnPanic(self);
        let mut work = work(self);
        let waker = Waker::from(self.clone());
        let polled = work.as_mut().poll(&mut Context::from_waker(&waker));
        std::mem::forget(broken);
        let mut state = self.lock();
        match polled {
            Poll::Pending => {
                let flight = state.flight.as_mut().expect("only who polls a batch ends it");
                flight.work = Some(work);
            }
            Poll::Ready(outs) => {
                let wakers = state.finish(outs.into_iter().map(Some));
                drop(state);
                wakers.into_iter().for_each(Waker::wake);
            }
        }
    }
}

/// A batch that panics answers nobody: its callers panic too instead of waiting for ever.
struct BreakOnPanic<'a, Op, Out>(&'a Shared<Op, Out>);

impl<Op, Out> Drop for BreakOnPanic<'_, Op, Out> {
    fn drop(&mut self) {
        let wakers = self.0.lock().finish(std::iter::empty());
        wakers.into_iter().for_each(Waker::wake);
    }
}

/// The batch under way asks to be polled: everybody is woken, and the first who comes polls it. Were it one
/// chosen caller, a caller that lives but is not polled would hold up all others.
impl<Op: Send + 'static, Out: Send + 'static> Wake for Shared<Op, Out> {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut state = self.lock();
        let Some(flight) = &mut state.flight else { return };
        flight.woken = true;
        if flight.work.is_none() {
            // Who polls it right now looks again.
            return;
        }
        let wakers = state.slots.wakers();
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl<Op: Send + 'static, Out: Send + 'static> State<Op, Out> {
    /// What is left to do, if there is something and nobody does it yet.
    fn rest(&mut self, shared: &Arc<Shared<Op, Out>>) -> Option<Work<()>> {
        if (self.flight.is_none() && self.line.is_empty()) || std::mem::replace(&mut self.driver, true) {
            return None;
        }
        Some(Box::pin(Drive { seat: Seat::new(shared, self.seat(), true) }))
    }
}

impl<Op, Out> State<Op, Out> {
    /// A slot for a new caller.
    fn seat(&mut self) -> usize {
        self.seats += 1;
        self.slots.take()
    }

    /// Whether more than one task has come lately.
    fn crowded(&mut self, waker: &Waker) -> bool {
        let task = waker.data().addr();
        let another = self.last_task.replace(task).is_some_and(|last| last != task);
        self.crowd || another
    }

    /// Takes what the next batch shall do.
    fn start(&mut self, size_max: usize) -> Vec<Op> {
        let mut slots = Vec::with_capacity(self.line.len());
        let mut ops = Vec::with_capacity(self.line.len());
        let mut size = 0;
        while size < size_max
            && let Some(next) = self.line.pop_front()
        {
            size += next.size;
            slots.push(next.slot);
            ops.push(next.op);
        }
        self.crowd = ops.len() > 1;
        self.flight = Some(Flight { slots, work: None, woken: false });
        ops
    }

    /// Ends the batch under way; items for which there is no answer are broken. Whoever waits is to be woken: for
    /// the answer or to start the next batch.
    fn finish(&mut self, mut outs: impl Iterator<Item = Option<Out>>) -> Vec<Waker> {
        let flight = self.flight.take().expect("only who polls a batch ends it");
        let wakers = self.slots.wakers();
        for slot in flight.slots {
            self.slots.fill(slot, outs.next().flatten());
        }
        wakers
    }
}

#[cfg(test)]
mod tests;
