//! The client: it owns claims, renews them, and makes sure that none outlives the wish for it.
//!
//! [`hold`] knows one claim and its deadline, [`roll`] all of them by when something is due, [`driver`] is the
//! one task that renews and leaves, [`ask`] is what a caller may ask for, [`acquire`], [`join`] and [`wait`] are the way to
//! it, [`rules`] are the decisions that safety rests on.

mod acquire;
mod ask;
mod driver;
pub(crate) mod hold;
mod join;
mod race;
mod roll;
pub mod rules;
mod wait;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::claim::{ClaimRef, Leave, Manner};
use crate::clock::{Clock, Env};
use crate::engine::{Engine, EngineInfo, Guarantee, Page, Query};
use crate::error::{Error, ErrorKind, Outcome, Result};
use crate::observe::{Event, Observer, What};

pub(crate) use acquire::{Started, lost};
pub(crate) use ask::{Ask, Patience, Terms};
pub use driver::Driver;
use hold::Hold;
use roll::Roll;
use rules::Rules;

/// How long a lock lives after each renewal, unless it says otherwise.
pub const TTL_DEFAULT: Duration = Duration::from_secs(30);

/// A client of one engine: makes locks, owns their claims and renews them. Cheap to clone; clones share all.
///
/// Everything that is held is let go when it is dropped or when [`shutdown`](Self::shutdown) is called; if the
/// process dies, when the TTL ends (or at once, where the engine notices).
#[derive(Clone, Debug)]
pub struct Client {
    life: Arc<Life>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) info: EngineInfo,
    pub(crate) env: Env,
    pub(crate) rules: Rules,
    pub(crate) owner: Arc<str>,
    pub(crate) ttl: Duration,
    roll: Roll,
    observer: Option<Arc<dyn Observer>>,
}

/// Tells the driver when the last client is gone. Guards and their views hold a client, so they count.
#[derive(Debug)]
struct Life {
    shared: Arc<Shared>,
}

impl Drop for Life {
    fn drop(&mut self) {
        self.shared.roll.abandon();
    }
}

/// Where a client's engine comes from, if it is not open yet.
pub trait Open: Send + 'static {
    /// Opens it.
    fn open(self) -> impl Future<Output = Result<Arc<dyn Engine>>> + Send;
}

/// Makes a [`Client`]: of an engine, or of one that is opened when this is awaited.
#[derive(Debug)]
#[must_use = "nothing is connected before it is built, spawned or awaited"]
pub struct Builder<E = Arc<dyn Engine>> {
    engine: E,
    env: Env,
    rules: Rules,
    owner: Option<Arc<str>>,
    ttl: Duration,
    required: Vec<Guarantee>,
    observer: Option<Arc<dyn Observer>>,
}

impl<E> Builder<E> {
    /// With default settings.
    pub fn new(engine: E) -> Self {
        Self {
            engine,
            env: Env::system(),
            rules: Rules::default(),
            owner: None,
            ttl: TTL_DEFAULT,
            required: Vec::new(),
            observer: None,
        }
    }

    /// Who claims, as others see it in the queue; by default `host:pid`.
    pub fn owner(mut self, owner: &str) -> Self {
        self.owner = Some(owner.into());
        self
    }

    /// The TTL of locks that do not set their own; 30 s by default.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// Refuses an engine that does not give these guarantees.
    pub fn require(mut self, guarantees: impl IntoIterator<Item = Guarantee>) -> Self {
        self.required.extend(guarantees);
        self
    }

    /// Who hears of what happens to claims; nobody by default, which costs nothing.
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// The clock and the randomness; those of this machine by default.
    pub fn env(mut self, env: Env) -> Self {
        self.env = env;
        self
    }

    /// Other decisions than the right ones: for the simulator.
    #[doc(hidden)]
    pub fn rules(mut self, rules: Rules) -> Self {
        self.rules = rules;
        self
    }
}

impl<E: Open> IntoFuture for Builder<E> {
    type Output = Result<Client>;
    type IntoFuture = Pin<Box<dyn Future<Output = Result<Client>> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Self { engine, env, rules, owner, ttl, required, observer } = self;
            let engine = engine.open().await?;
            Builder { engine, env, rules, owner, ttl, required, observer }.spawn()
        })
    }
}

impl Builder {
    /// The client, and its driver, which the caller must run until it ends.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] if the engine lacks a required guarantee, and which one.
    pub fn build(self) -> Result<(Client, Driver)> {
        let info = self.engine.info().clone();
        if let Some(why) = self.required.iter().find_map(|&g| info.lacks(g)) {
            return Err(Error::new(ErrorKind::Unsupported, "connect", why));
        }
        let owner = self.owner.unwrap_or_else(default_owner);
        let shared = Arc::new(Shared {
            engine: self.engine,
            info,
            env: self.env,
            rules: self.rules,
            owner,
            ttl: self.ttl,
            roll: Roll::default(),
            observer: self.observer,
        });
        let client = Client { life: Arc::new(Life { shared: Arc::clone(&shared) }) };
        Ok((client, Driver::new(shared)))
    }

    /// The client, with its driver as a task of the tokio runtime that this is called in.
    ///
    /// # Errors
    /// As [`build`](Self::build); and [`ErrorKind::InvalidInput`] outside a tokio runtime.
    pub fn spawn(self) -> Result<Client> {
        let runtime = tokio::runtime::Handle::try_current().map_err(|e| {
            Error::new(
                ErrorKind::InvalidInput,
                "connect",
                "a client needs a tokio runtime; connect inside one or use leasehold::blocking",
            )
            .with_source(e)
        })?;
        let (client, driver) = self.build()?;
        runtime.spawn(driver.run());
        Ok(client)
    }
}

fn default_owner() -> Arc<str> {
    let host =
        nix::unistd::gethostname().ok().and_then(|h| h.into_string().ok()).unwrap_or_else(|| "?".into());
    format!("{host}:{}", std::process::id()).into()
}

impl Client {
    /// Starts building a client of this engine.
    pub fn builder(engine: impl Engine) -> Builder {
        Self::builder_dyn(Arc::new(engine))
    }

    /// The same for an engine that is shared already.
    pub fn builder_dyn(engine: Arc<dyn Engine>) -> Builder {
        Builder::new(engine)
    }

    /// A client with default settings, its driver spawned on the current tokio runtime.
    ///
    /// # Errors
    /// As [`Builder::spawn`].
    pub fn new(engine: impl Engine) -> Result<Self> {
        Self::builder(engine).spawn()
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.life.shared
    }

    /// What the engine can do and what it guarantees.
    pub fn info(&self) -> &EngineInfo {
        &self.shared().info
    }

    /// The engine itself.
    pub fn engine(&self) -> &Arc<dyn Engine> {
        &self.shared().engine
    }

    /// The clock that deadlines are on.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.shared().env.clock
    }

    /// Refuses if the engine does not give these guarantees.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] naming the first that it lacks, and what it has instead.
    pub fn require(&self, guarantees: impl IntoIterator<Item = Guarantee>) -> Result<()> {
        match guarantees.into_iter().find_map(|g| self.shared().info.lacks(g)) {
            Some(why) => Err(Error::new(ErrorKind::Unsupported, "require", why)),
            None => Ok(()),
        }
    }

    /// Who holds and who waits.
    ///
    /// # Errors
    /// Whatever the engine says.
    ///
    /// # Cancel safety
    /// Changes nothing, so it may be dropped at any time.
    pub async fn inspect(&self, query: Query) -> Result<Page> {
        self.shared().engine.inspect(query).await
    }

    /// Ends somebody's claim by hand: [`Manner::Revoke`] safely, [`Manner::Evict`] at once.
    ///
    /// # Errors
    /// Whatever the engine says. A claim that is not there is no error.
    ///
    /// # Fencing
    /// An evicted holder may go on believing until its own deadline: raise the fence at the storage above its
    /// token first.
    ///
    /// # Cancel safety
    /// If it is dropped, the claim may or may not be ended; calling it again is harmless.
    pub async fn unlock(&self, claim: ClaimRef, manner: Manner) -> Result<()> {
        let mut answers = self.shared().engine.leave(&[Leave { claim, manner }]).await;
        answers.pop().unwrap_or_else(|| Err(no_answer("unlock")))
    }

    /// Refuses new locks, lets go of everything that is held, waited for or just being asked for, and waits until
    /// the engine has confirmed it or `patience` is over. Guards that are still out are lost from now on.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] with an unknown outcome if something could not be confirmed in time: it ends
    /// with its TTL.
    ///
    /// # Cancel safety
    /// If it is dropped, the client stays closed and its driver goes on letting go.
    pub async fn shutdown(&self, patience: Duration) -> Result<()> {
        let shared = self.shared();
        let now = shared.env.now();
        for hold in shared.roll.close() {
            shared.let_go(&hold, now);
        }
        let all_left = async {
            loop {
                let idle = shared.roll.idle.notified();
                tokio::pin!(idle);
                idle.as_mut().enable();
                if shared.roll.outstanding() == 0 {
                    return;
                }
                idle.await;
            }
        };
        tokio::pin!(all_left);
        match race::race(&mut all_left, &*shared.env.clock, now + patience).await {
            Some(()) => Ok(()),
            None => Err(Error::new(
                ErrorKind::Unavailable,
                "shutdown",
                format!(
                    "not all claims were confirmed to be released in time; {} are left to end with their TTL",
                    shared.roll.outstanding()
                ),
            )
            .with_outcome(Outcome::Unknown)),
        }
    }
}

fn closed() -> Error {
    Error::new(ErrorKind::Closed, "lock", "the client has been shut down")
}

fn unanswered(operation: &'static str) -> Error {
    Error::new(ErrorKind::Unavailable, operation, "the engine did not answer in time")
        .with_outcome(Outcome::Unknown)
}

fn no_answer(operation: &'static str) -> Error {
    Error::new(ErrorKind::Unexpected, operation, "the engine returned fewer answers than it was asked for")
        .with_outcome(Outcome::Unknown)
}

impl Shared {
    /// Tells the observer, if there is one.
    pub(crate) fn tell(&self, claim: &ClaimRef, what: What) {
        if let Some(observer) = &self.observer {
            observer.observe(&Event { name: &claim.name, id: claim.id, what });
        }
    }

    /// Ends a claim on behalf of its owner, in the background.
    pub(crate) fn let_go(&self, hold: &Arc<Hold>, now: crate::clock::Moment) {
        // Unless somebody else sees to that.
        if let Some((held, _)) = hold.release(now) {
            self.tell(hold.key(), What::Released { held });
            self.end(hold, now);
            self.roll.strike(hold);
        }
    }
}
