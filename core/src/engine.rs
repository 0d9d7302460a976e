//! The engine trait: what keeps the queues must do.
//!
//! # To ensure correctness
//! The behaviour suite has a test for each line, and a deliberately broken engine that each must catch.
//! 1. `join` repeated renews exactly as `refresh` does, and never queues twice; a lost reply is cured by asking
//!    again.
//! 2. `refresh` of a waiter keeps its place; `Gone` is definitive; results are per claim.
//! 3. `leave` works for a claim whose `join` has an unknown outcome. A `join` that arrives after its own `leave`
//!    does not live on: it dies by its TTL.
//! 4. Only the owner's own request sets its deadline. A standing's `ttl` counts from the receipt of the request
//!    that it answers.
//! 5. A hint may carry `Held`: then the next holder starts with no further round trip, under the deadline of its
//!    own last refresh. Losing every hint costs latency, never correctness.
//! 6. The engine forgets a claim no earlier than receipt + ttl, by its own clock. No engine compares the wall
//!    clocks of two clients.
//! 7. Tokens of conflicting holds strictly increase: through release, expiry, engine restart, deletion of the
//!    lock's data and a backward step of the engine's clock, as far as [`EngineInfo`] promises.
//! 8. Two tasks of one client exclude each other as two clients do.
//! 9. A token that is proposed for a held claim is accepted if and only if it is above all tokens that the engine
//!    has given out or accepted for this resource, and durably as far as `info()` promises durability; repeated,
//!    it is accepted again.

use std::fmt;
use std::os::fd::BorrowedFd;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::Stream;
use smallvec::SmallVec;

use crate::claim::{Claim, ClaimId, ClaimRef, Leave, Meta, Refresh};
use crate::error::Result;
use crate::name::Name;
use crate::token::Token;

pub use crate::info::*;

/// A batch of items; the common batch of one needs no allocation.
pub type Batch<T> = SmallVec<[T; 1]>;

/// An engine's answer to a batch, one result an item in the order of the items: a future.
///
/// The request may have been sent when the method is called, before this is polled. Dropping it neither undoes nor
/// stops the request.
#[must_use = "an answer that nobody awaits tells nobody"]
pub struct Reply<T>(Answer<T>);

/// An engine that knows its answer at once must not pay for a box.
enum Answer<T> {
    Ready(Option<Batch<Result<T>>>),
    Later(Pin<Box<dyn Future<Output = Batch<Result<T>>> + Send>>),
}

impl<T> Reply<T> {
    /// An answer that is there.
    pub const fn ready(answers: Batch<Result<T>>) -> Self {
        Self(Answer::Ready(Some(answers)))
    }

    /// An answer that comes.
    pub fn later(answers: impl Future<Output = Batch<Result<T>>> + Send + 'static) -> Self {
        Self(Answer::Later(Box::pin(answers)))
    }
}

// Nothing in it is pinned in place.
impl<T> Unpin for Reply<T> {}

impl<T> Future for Reply<T> {
    type Output = Batch<Result<T>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Answer::Ready(answers) => Poll::Ready(answers.take().expect("polled after its answer")),
            Answer::Later(answers) => answers.as_mut().poll(cx),
        }
    }
}

impl<T> fmt::Debug for Reply<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            Answer::Ready(_) => "Reply(ready)",
            Answer::Later(_) => "Reply(later)",
        })
    }
}

/// A stream of hints about one claim.
pub type Hints = Pin<Box<dyn Stream<Item = Hint> + Send>>;

/// A stream of alarms: ask about all claims, now.
pub type Alarms = Pin<Box<dyn Stream<Item = ()> + Send>>;

/// The alarms of an engine that never raises one.
pub fn no_alarms() -> Alarms {
    Box::pin(futures_util::stream::pending())
}

/// What keeps the queues: one trait for every engine, every layer and the simulator.
///
/// A batch is unordered between resources, in order within one, and not atomic; no claim's failure fails
/// another; a transport failure is [`Unknown`](crate::Outcome::Unknown) for each. See the [module](self) for the contract.
///
/// There are no default methods: whoever wraps an engine must say what happens to each verb.
pub trait Engine: fmt::Debug + Send + Sync + 'static {
    /// What this engine can do and what it guarantees, as data.
    fn info(&self) -> &EngineInfo;

    /// Queues claims. Idempotent by claim id: repeated, it renews.
    fn join(&self, claims: &[Claim]) -> Reply<Standing>;

    /// Renews held and waiting claims alike; it is also how a waiter looks.
    fn refresh(&self, claims: &[Refresh]) -> Reply<Standing>;

    /// Ends claims. Idempotent: "not there" is success.
    fn leave(&self, claims: &[Leave]) -> Reply<()>;

    /// Hints about a claim that waits: it may be worth a look, or it is held now. They may be late, doubled or
    /// missing. A hand-over between the answer to `join` and the opening of the stream is told by the stream, as
    /// far as the engine can.
    fn watch(&self, claim: &ClaimRef) -> Hints;

    /// Who holds and who waits, by name.
    fn inspect(&self, query: Query) -> Pin<Box<dyn Future<Output = Result<Page>> + Send>>;

    /// News that concerns claims that are held or waiting, whichever they are: a session was lost, a claim was ended by
    /// hand. The client then asks about all of them at once, and not only when their renewal is due. They may be late,
    /// doubled or missing; an engine that hears of nothing never yields any.
    fn alarms(&self) -> Alarms;

    /// The open file that tells this engine that the client's process lives: once every process that has
    /// inherited it is gone, its claims are passed over early. `None` where the engine cannot tell.
    fn lifeline(&self) -> Option<BorrowedFd<'_>>;
}

/// How a claim stands, as the answer to its own request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Standing {
    /// It is held.
    Held {
        /// Its fencing token.
        token: Token,
        /// How long the engine keeps it from the receipt of the request, at the least.
        ttl: Duration,
    },
    /// It waits.
    Queued {
        /// How many claims are before it.
        ahead: u32,
        /// How long the engine keeps its place from the receipt of the request, at the least.
        ttl: Duration,
        /// When the earliest claim ahead can die, from the receipt of the request: nobody tells the waiter of an
        /// expiry, so it must look then.
        look_again: Duration,
    },
    /// It is not queued, and why.
    Refused(Refusal),
    /// It is not there, and will not be under this id again.
    Gone,
}

/// Why an engine refuses a claim.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Refusal {
    /// The resource is in use with another capacity: as another kind of lock, or as a semaphore of another size.
    Capacity {
        /// The capacity that the queue has now.
        current: u32,
    },
    /// Too many claims stand in the queue.
    QueueFull {
        /// How many it takes.
        max: u32,
    },
}

/// Something that may be of interest to a waiter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hint {
    /// Something changed: look.
    Look,
    /// The claim is held since the hint was sent, under the deadline of its own last request.
    Held(Token),
}

/// Which queues to look at.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Query {
    /// Only names that start with this.
    pub prefix: String,
    /// Only names after this one, in the order of their bytes: where the last page ended.
    pub after: Option<Name>,
    /// How many queues at the most; an engine may return fewer.
    pub limit: usize,
}

impl Query {
    /// Just this resource.
    pub fn exactly(name: &Name) -> Self {
        // Names sort by bytes, so the name itself comes first of all that start with it.
        Self { prefix: name.as_str().to_owned(), after: None, limit: 1 }
    }
}

/// A page of queues, in the order of their names.
#[derive(Clone, PartialEq, Eq, Debug, Default, serde::Serialize)]
pub struct Page {
    /// The queues that somebody stands in.
    pub queues: Vec<QueueView>,
    /// Where the next page starts; `None` if this was the last.
    pub next: Option<Name>,
}

/// One resource as an onlooker sees it.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub struct QueueView {
    /// The resource.
    pub name: Name,
    /// Its capacity.
    pub capacity: u32,
    /// The live claims in the order of the queue.
    pub claims: Vec<ClaimView>,
}

/// One claim as an onlooker sees it.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub struct ClaimView {
    /// Which claim; all zeros for a lock of another program's client, see [`is_foreign`](Self::is_foreign).
    pub id: ClaimId,
    /// How much of the capacity it takes.
    pub weight: u32,
    /// Its token, if it is held.
    pub token: Option<Token>,
    /// How long ago it joined.
    #[serde(rename = "age_ms", serialize_with = "millis")]
    pub age: Duration,
    /// How long the engine keeps it if its owner is not heard of again.
    #[serde(rename = "ttl_left_ms", serialize_with = "millis")]
    pub ttl_left: Duration,
    /// Whether it has been revoked: no more renewals.
    pub revoked: bool,
    /// What it says about itself.
    #[serde(flatten)]
    pub meta: Meta,
}

impl ClaimView {
    /// Whether it is the lock of another program's client on the same engine, not a claim of leasehold. It is held,
    /// has no token, and can only be ended by that client or by hand.
    pub fn is_foreign(&self) -> bool {
        self.id == ClaimId(0)
    }
}

fn millis<S: serde::Serializer>(span: &Duration, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_u64(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
}
