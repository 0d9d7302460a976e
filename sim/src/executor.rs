//! One thread, simulated time: runs the tasks of all nodes, picks who is next by the seed, and lets time jump to
//! the next timer when nobody is ready.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use crate::dice::Dice;

/// True time, in nanoseconds since the run began. No node can read it.
pub type True = u64;

/// A node: a machine with a clock, whose tasks pause and die together.
pub type NodeId = usize;

/// How much time a poll may take, unless it takes none.
const POLL_NANOS: u64 = 3_000;

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;
type TaskId = usize;

/// The key of a timer, to cancel it by.
pub type TimerKey = (True, u64);

enum Action {
    Wake(Waker),
    Run(Box<dyn FnOnce() + Send>),
}

struct Task {
    node: NodeId,
    /// Empty while it is being polled and when it has ended.
    work: Option<Work>,
    waker: Waker,
    queued: Arc<TaskWaker>,
}

#[derive(Default)]
struct Node {
    paused: bool,
    /// Ready tasks of a paused node.
    parked: Vec<TaskId>,
}

struct TaskWaker {
    id: TaskId,
    queued: AtomicBool,
    ready: Arc<Mutex<Vec<TaskId>>>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::Relaxed) {
            lock(&self.ready).push(self.id);
        }
    }
}

struct State {
    tasks: Vec<Task>,
    nodes: Vec<Node>,
    timers: BTreeMap<TimerKey, Action>,
    timer_count: u64,
    dice: Dice,
    /// How much time a poll may take.
    poll_nanos: u64,
}

struct Inner {
    now: AtomicU64,
    ready: Arc<Mutex<Vec<TaskId>>>,
    state: Mutex<State>,
}

/// The executor. Cheap to clone; clones share all.
#[derive(Clone)]
pub struct Executor(Arc<Inner>);

/// What a step did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// A task of this node was polled.
    Polled(NodeId),
    /// A timer fired, or a ready task was put aside.
    Event,
    /// Nothing is left to do before the given time, which is now.
    Idle,
}

/// Locks what cannot be left half-changed: a panic ends the whole run.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl std::fmt::Debug for Executor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Executor").field("now", &Duration::from_nanos(self.now())).finish_non_exhaustive()
    }
}

impl Executor {
    /// An executor with so many nodes, nothing to do, at time 0.
    pub fn new(nodes: usize, dice: Dice) -> Self {
        let state = State {
            tasks: Vec::new(),
            nodes: (0..nodes).map(|_| Node::default()).collect(),
            timers: BTreeMap::new(),
            timer_count: 0,
            dice,
            poll_nanos: POLL_NANOS,
        };
        Self(Arc::new(Inner { now: AtomicU64::new(0), ready: Arc::default(), state: Mutex::new(state) }))
    }

    /// The same where only messages and sleep take time, not work.
    pub fn instant(nodes: usize, dice: Dice) -> Self {
        let executor = Self::new(nodes, dice);
        lock(&executor.0.state).poll_nanos = 0;
        executor
    }

    /// True time.
    pub fn now(&self) -> True {
        self.0.now.load(Ordering::Relaxed)
    }

    /// Starts a task on a node.
    pub fn spawn(&self, node: NodeId, work: impl Future<Output = ()> + Send + 'static) {
        let mut state = lock(&self.0.state);
        let queued = Arc::new(TaskWaker {
            id: state.tasks.len(),
            queued: AtomicBool::new(false),
            ready: Arc::clone(&self.0.ready),
        });
        let waker = Waker::from(Arc::clone(&queued));
        queued.wake_by_ref();
        state.tasks.push(Task { node, work: Some(Box::pin(work)), waker, queued });
    }

    /// Does something at a time (or now, if that is past). It must not be long: it takes no time.
    pub fn at(&self, at: True, run: impl FnOnce() + Send + 'static) -> TimerKey {
        self.timer(at, Action::Run(Box::new(run)))
    }

    fn timer(&self, at: True, action: Action) -> TimerKey {
        let mut state = lock(&self.0.state);
        state.timer_count += 1;
        let key = (at, state.timer_count);
        state.timers.insert(key, action);
        key
    }

    /// Takes back what was to be done, if it has not been done.
    pub fn cancel(&self, key: TimerKey) {
        let action = lock(&self.0.state).timers.remove(&key);
        drop(action);
    }

    /// Sleeps until a true time.
    pub async fn sleep_until(&self, at: True) {
        let mut sleep = Timer { executor: self.clone(), at, key: None };
        poll_fn(|cx| Pin::new(&mut sleep).poll(cx)).await;
    }

    /// Sleeps for so long by true time.
    pub async fn sleep(&self, span: Duration) {
        self.sleep_until(self.now() + nanos(span)).await;
    }

    /// Stops polling the tasks of a node. Its timers and its messages go on.
    pub fn pause(&self, node: NodeId) {
        lock(&self.0.state).nodes[node].paused = true;
    }

    /// Polls them again.
    pub fn resume(&self, node: NodeId) {
        let mut state = lock(&self.0.state);
        state.nodes[node].paused = false;
        lock(&self.0.ready).append(&mut state.nodes[node].parked);
    }

    /// Ends all tasks of a node without letting them run. What their destructors do stays inside the node.
    pub fn kill(&self, node: NodeId) {
        let mut state = lock(&self.0.state);
        let dead: Vec<Work> =
            state.tasks.iter_mut().filter(|t| t.node == node).filter_map(|t| t.work.take()).collect();
        drop(state);
        drop(dead);
    }

    /// Ends all tasks of all nodes.
    pub fn clear(&self) {
        let mut state = lock(&self.0.state);
        let dead: Vec<Work> = state.tasks.iter_mut().filter_map(|t| t.work.take()).collect();
        let timers = std::mem::take(&mut state.timers);
        drop(state);
        drop((dead, timers));
    }

    /// One step, not beyond `limit`.
    pub fn step(&self, limit: True) -> Step {
        let mut state = lock(&self.0.state);
        let now = self.now();
        let next = state.timers.first_key_value().map(|(key, _)| *key);
        let ready = lock(&self.0.ready).len();
        match next {
            Some((at, _)) if at <= now || (ready == 0 && at <= limit) => {
                self.0.now.store(at.max(now), Ordering::Relaxed);
                let (_, action) = state.timers.pop_first().expect("it was just looked at");
                drop(state);
                match action {
                    Action::Wake(waker) => waker.wake(),
                    Action::Run(run) => run(),
                }
                Step::Event
            }
            _ if ready == 0 || now >= limit => {
                self.0.now.store(limit.max(now), Ordering::Relaxed);
                Step::Idle
            }
            _ => self.poll_one(state, ready),
        }
    }

    /// Polls one of the ready tasks.
    fn poll_one(&self, mut state: MutexGuard<'_, State>, ready: usize) -> Step {
        let pick = state.dice.below(ready as u64) as usize;
        let id = lock(&self.0.ready).swap_remove(pick);
        let node = state.tasks[id].node;
        if state.nodes[node].paused {
            state.nodes[node].parked.push(id);
            return Step::Event;
        }
        let task = &mut state.tasks[id];
        task.queued.queued.store(false, Ordering::Relaxed);
        let Some(mut work) = task.work.take() else { return Step::Event };
        let waker = task.waker.clone();
        let most = state.poll_nanos;
        let cost = state.dice.below(most);
        self.0.now.fetch_add(cost, Ordering::Relaxed);
        drop(state);
        let done = work.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
        if !done {
            lock(&self.0.state).tasks[id].work = Some(work);
        }
        Step::Polled(node)
    }
}

/// A span in nanoseconds.
pub(crate) fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

/// A timer in true time.
pub(crate) struct Timer {
    pub(crate) executor: Executor,
    pub(crate) at: True,
    pub(crate) key: Option<TimerKey>,
}

impl Future for Timer {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(key) = self.key.take() {
            self.executor.cancel(key);
        }
        if self.executor.now() >= self.at {
            return Poll::Ready(());
        }
        if self.at < True::MAX {
            self.key = Some(self.executor.timer(self.at, Action::Wake(cx.waker().clone())));
        }
        Poll::Pending
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            self.executor.cancel(key);
        }
    }
}
