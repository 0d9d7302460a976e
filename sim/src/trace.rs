//! What happened, in order: always hashed, kept only when somebody wants to read it.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use leasehold_core::observe::{Event as Observed, Observer, What};
use leasehold_core::{ClaimId, ErrorKind, Hint, Standing, Token};

use crate::executor::{Executor, NodeId, True, lock};
use crate::world::want::Want;

/// The number of a task's call of `lock` or its like.
pub type CallId = u32;

/// Something that happened.
#[derive(Clone, Hash, Debug)]
pub enum Event {
    /// A task calls.
    Calls(NodeId, CallId, Want),
    /// A call has ended.
    Returns(NodeId, CallId, Outcome),
    /// A task lets go, and how.
    LetsGo(NodeId, CallId, &'static str),
    /// A task does something else.
    Does(NodeId, &'static str),
    /// A client tells its observer.
    Tells(NodeId, ClaimId, Told),
    /// A request leaves a node.
    Sends(NodeId, u64, &'static str, Vec<ClaimId>),
    /// The engine applies a part of a request.
    Applies(u64, ClaimId, Seen),
    /// The engine is down and does not apply a request.
    Deaf(u64),
    /// A request is answered.
    Answers(u64),
    /// A request fails.
    Fails(u64, &'static str),
    /// A hint arrives.
    Hints(ClaimId, Told),
    /// Something is done to a node or to the engine.
    Nemesis(&'static str, NodeId),
    /// Somebody in a walk-through says what it does.
    Says(Speaker, String),
}

/// Who says something in a walk-through.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Speaker {
    /// A client.
    Client(NodeId),
    /// The storage.
    Storage,
    /// Nobody on the stage: the network, the clocks.
    World,
}

/// How a call ended.
#[derive(Clone, Copy, Hash, Debug)]
pub enum Outcome {
    /// It holds.
    Holds(Token, ClaimId),
    /// It was not the caller's turn in time.
    Busy,
    /// The caller dropped it.
    Dropped,
    /// It failed.
    Error(ErrorKind),
}

/// What an observer or a waiter was told.
#[derive(Clone, Copy, Debug)]
pub enum Told {
    /// Of a claim.
    What(What),
    /// By the engine.
    Hint(Hint),
}

impl Hash for Told {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Self::What(what) => std::mem::discriminant(what).hash(state),
            Self::Hint(Hint::Look) => 0.hash(state),
            Self::Hint(Hint::Held(token)) => token.hash(state),
        }
    }
}

/// A standing, or that a leave was applied.
#[derive(Clone, Copy, Hash, Debug)]
pub enum Seen {
    /// It is held.
    Held(Token, Duration),
    /// It waits.
    Queued(u32, Duration),
    /// It is refused.
    Refused,
    /// It is not there.
    Gone,
    /// It has been ended.
    Left,
}

impl From<&Standing> for Seen {
    fn from(standing: &Standing) -> Self {
        match standing {
            Standing::Held { token, ttl } => Self::Held(*token, *ttl),
            Standing::Queued { ahead, look_again, .. } => Self::Queued(*ahead, *look_again),
            Standing::Refused(_) => Self::Refused,
            Standing::Gone => Self::Gone,
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Calls(node, call, want) => write!(f, "n{node} call {call}: {want}"),
            Self::Returns(node, call, outcome) => write!(f, "n{node} call {call} returns {outcome:?}"),
            Self::LetsGo(node, call, how) => write!(f, "n{node} call {call} lets go: {how}"),
            Self::Does(node, what) => write!(f, "n{node} {what}"),
            Self::Tells(node, id, Told::What(what)) => write!(f, "n{node} tells of {id:?}: {what:?}"),
            Self::Tells(node, id, told) => write!(f, "n{node} tells of {id:?}: {told:?}"),
            Self::Sends(node, request, verb, ids) => write!(f, "n{node} sends {request}: {verb} {ids:?}"),
            Self::Applies(request, id, seen) => write!(f, "engine applies {request} to {id:?}: {seen:?}"),
            Self::Deaf(request) => write!(f, "engine is down for {request}"),
            Self::Answers(request) => write!(f, "answer to {request} arrives"),
            Self::Fails(request, why) => write!(f, "{request} fails: {why}"),
            Self::Hints(id, Told::Hint(hint)) => write!(f, "hint for {id:?} arrives: {hint:?}"),
            Self::Hints(id, told) => write!(f, "hint for {id:?} arrives: {told:?}"),
            Self::Nemesis(what, node) => write!(f, "nemesis: {what} n{node}"),
            Self::Says(who, what) => write!(f, "{who:?} {what}"),
        }
    }
}

/// The log of a run. Cheap to clone; clones share.
#[derive(Clone, Debug)]
pub struct Log(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    hasher: DefaultHasher,
    count: u64,
    events: Option<Vec<(True, Event)>>,
}

impl Log {
    /// An empty log that keeps what it hears if it shall.
    pub fn new(keep: bool) -> Self {
        let inner = Inner { hasher: DefaultHasher::new(), count: 0, events: keep.then(Vec::new) };
        Self(Arc::new(Mutex::new(inner)))
    }

    /// Adds an event.
    pub fn add(&self, now: True, event: &Event) {
        let mut inner = lock(&self.0);
        inner.count += 1;
        (now, event).hash(&mut inner.hasher);
        if let Some(events) = &mut inner.events {
            events.push((now, event.clone()));
        }
    }

    /// How many events there were, and their hash.
    pub fn digest(&self) -> (u64, u64) {
        let inner = lock(&self.0);
        (inner.count, inner.hasher.finish())
    }

    /// What happened when, if it was kept.
    pub fn take(&self) -> Vec<(True, Event)> {
        lock(&self.0).events.take().unwrap_or_default()
    }

    /// The same as text.
    pub fn take_lines(&self) -> Vec<String> {
        let line = |(now, event): (True, Event)| format!("{:>15.6} ms  {event}", now as f64 / 1e6);
        self.take().into_iter().map(line).collect()
    }
}

/// Puts what a client tells its observer into the log.
#[derive(Debug)]
pub(crate) struct Ear {
    pub(crate) node: NodeId,
    pub(crate) executor: Executor,
    pub(crate) log: Log,
}

impl Observer for Ear {
    fn observe(&self, event: &Observed<'_>) {
        self.log.add(self.executor.now(), &Event::Tells(self.node, event.id, Told::What(event.what)));
    }
}
