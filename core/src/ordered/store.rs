//! What a store must do for [`Ordered`](super::Ordered): keep sessions, and lines of contenders that end with them.
//!
//! A store decides nothing about who holds: it tells the line, and the rule is applied to it in one place.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::claim::{Claim, ClaimId, ClaimRef, Meta};
use crate::engine::EngineInfo;
use crate::error::Result;
use crate::gather::Work;
use crate::name::Name;
use crate::token::Token;

/// How the store finds a contender again: its key, its path.
pub type Key = Arc<str>;

/// Which session, in the store's own words.
pub type SessionId = Arc<str>;

/// A session that has just been opened or confirmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Which.
    pub id: SessionId,
    /// How long the store keeps it from the receipt of this request, at the least: what a holder may count on. A
    /// store that cannot prove all of the time-out says less here.
    pub ttl: Duration,
}

/// One that stands in a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contender {
    /// How the store finds it.
    pub key: Key,
    /// Its claim; `None` for the contender of another program's client, which counts as one that takes everything.
    pub id: Option<ClaimId>,
    /// The capacity that it named.
    pub capacity: u32,
    /// How much of it it takes.
    pub weight: u32,
    /// Its token, above those of all contenders that came before it, unless the store has still to let it in: a
    /// contender without one is not held.
    pub token: Option<Token>,
    /// The time-out of its session, as far as it is known.
    pub ttl: Option<Duration>,
    /// When it came, in microseconds since 1970 by the wall clock of whoever made it: only for people to read.
    pub since: Option<u64>,
    /// Whether it has been revoked.
    pub revoked: bool,
    /// What it says about itself.
    pub meta: Meta,
}

/// Who stands at a resource, in order, at one moment of the store.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Line {
    /// The contenders, the first first.
    pub contenders: Vec<Contender>,
    /// The store's own stamp of that moment, for [`Store::gone`].
    pub stamp: u64,
}

/// What keeps sessions and lines. All methods may send when they are called, not only when they are polled, and a
/// dropped answer neither undoes nor stops its request.
///
/// # To ensure correctness
/// 1. The order of a line is the order in which the store took the contenders, for every onlooker the same: nobody
///    ever comes in before somebody who has been seen.
/// 2. A contender is there until [`exit`](Self::exit) or the end of its session, and no longer.
/// 3. [`enter`](Self::enter) repeated for the same claim in the same session makes no second contender.
/// 4. `open` and `beat` say a time that the session surely lasts from the receipt of the request.
/// 5. An error whose outcome is [`Unknown`](crate::Outcome::Unknown) may have happened. A session that is not there is
///    [`ErrorKind::Lost`](crate::ErrorKind::Lost): of `beat` or `enter`, it tells that all of the session's contenders
///    are gone or going.
pub trait Store: fmt::Debug + Send + Sync + 'static {
    /// What the engine made of it can do and guarantees.
    fn info(&self) -> &EngineInfo;

    /// Opens a session with this time-out, within the bounds of `info()`.
    fn open(&self, ttl: Duration) -> Work<Result<Session>>;

    /// Confirms a session: a heartbeat.
    fn beat(&self, session: &SessionId) -> Work<Result<Session>>;

    /// Ends a session and with it all its contenders. One that is not there is success.
    fn close(&self, session: &SessionId) -> Work<Result<()>>;

    /// Puts a contender for this claim at the end of the line, and tells the line up to and including it; who comes
    /// after it need not be told.
    fn enter(&self, session: &SessionId, claim: &Claim) -> Work<Result<Line>>;

    /// The whole line of a resource. A store that has still to let in the first contender does so in here, if that is
    /// one of this client's own.
    fn line(&self, name: &Name) -> Work<Result<Line>>;

    /// The line as this session sees it, in which none is missing that it has put there: for a store whose onlookers do
    /// not all see the same at the same time.
    fn line_of(&self, session: &SessionId, name: &Name) -> Work<Result<Line>> {
        let _ = session;
        self.line(name)
    }

    /// The same up to and including the contender of this claim, which this session has put there: asked when one that was
    /// ahead of it may be gone. For a store that may know the answer already.
    fn line_up_to(&self, session: &SessionId, claim: &ClaimRef) -> Work<Result<Line>> {
        self.line_of(session, &claim.name)
    }

    /// Fills in what is of interest to people only: tokens and time-outs of others, since when they are there, whether
    /// they are revoked and what they say about themselves. For a store that would have to ask for it each time.
    fn describe(&self, line: Line) -> Work<Result<Line>> {
        Box::pin(std::future::ready(Ok(line)))
    }

    /// Ends a contender. One that is not there is success.
    fn exit(&self, name: &Name, key: &Key) -> Work<Result<()>>;

    /// Marks a contender as revoked, for its owner to see. One that is not there is success.
    fn revoke(&self, name: &Name, key: &Key) -> Work<Result<()>>;

    /// Resolves when `key`, which stood in the line of this stamp, may be gone; at once if that cannot be watched any
    /// more. Asked for a contender that is first and has no token: when it may be let in. Dropping it ends the watch.
    fn gone(&self, name: &Name, key: &Key, stamp: u64) -> Work<()>;

    /// All contenders of a session.
    fn owned(&self, session: &SessionId) -> Work<Result<Vec<Owned>>>;

    /// The names that begin with `prefix`, come after `after` and have contenders, in the order of their bytes, at
    /// most `limit`.
    fn names(&self, prefix: &str, after: Option<&Name>, limit: usize) -> Work<Result<Vec<Name>>>;

    /// Resolves when something may have happened, after the call, to this session or its contenders that its client
    /// should hear of at once: the session is lost, a contender was revoked or removed by somebody else. At once if the
    /// session is lost already. A store that cannot tell never resolves it: it is found by the next heartbeat or sweep.
    fn upset(&self, session: &SessionId) -> Work<()>;
}

/// A contender as its session's owner finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owned {
    /// The resource.
    pub name: Name,
    /// How the store finds it.
    pub key: Key,
    /// Its claim.
    pub id: ClaimId,
    /// Whether it has been revoked.
    pub revoked: bool,
}
