//! A connection that is made when it is needed, and made anew when it is lost.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use leasehold_core::inbox::Inbox;
use leasehold_core::{ClaimId, Env, Error, ErrorKind, Hint, Moment, Result, Token};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio_postgres::{AsyncMessage, Client, Notification};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::config::{Config, ssl_mode};
use crate::wire::Statements;
use crate::{failure, schema};

/// For so long after a connection could not be made nobody tries again.
const PAUSE: Duration = Duration::from_millis(100);

/// What our functions rely on; `leasehold_work` sees to it itself, for it also serves poolers. The tables may be empty when a plan is made and huge when it is used.
const SETTINGS: &str = "
    SET default_transaction_isolation = 'read committed'; SET TimeZone = 'UTC';
    SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET jit = off;
    SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'";

/// So long a request waits for a lock or a row that others have. Who connects waits longer for those who draw tokens.
const LOCK_TIMEOUT: &str = "SET lock_timeout = '500ms'";

/// What all connections of an engine share.
pub(crate) struct World {
    pub(crate) config: Config,
    /// The servers, for messages.
    pub(crate) place: String,
    pub(crate) env: Env,
    pub(crate) tls: MakeRustlsConnect,
    pub(crate) inbox: Inbox,
    pub(crate) runtime: Handle,
    /// The channel on which this engine is told.
    pub(crate) channel: String,
}

impl World {
    /// What comes in time, or `None`.
    pub(crate) async fn in_time<T>(&self, event: impl Future<Output = T>) -> Option<T> {
        let late = self.env.clock.sleep_until(self.env.now() + self.config.timeout);
        tokio::select! {
            biased;
            out = event => Some(out),
            () = late => None,
        }
    }

    /// Connects, and looks after the connection in a task.
    pub(crate) async fn connect(&self) -> Result<Connection> {
        let late = || failure::late("connect", &self.place);
        let mut server = self.config.server.clone();
        server.ssl_mode(ssl_mode(self.config.tls.as_ref())).connect_timeout(self.config.timeout);
        let connected = self.in_time(server.connect(self.tls.clone())).await.ok_or_else(late)?;
        let (client, mut connection) = connected.map_err(|e| failure::request("connect", &self.place, e))?;
        let (alive, closed) = watch::channel(());
        let inbox = self.inbox.clone();
        let task = self.runtime.spawn(async move {
            let _alive = alive;
            while let Some(Ok(message)) = poll_fn(|cx| connection.poll_message(cx)).await {
                if let AsyncMessage::Notification(note) = message {
                    hear(&inbox, &note);
                }
            }
        });
        Ok(Connection { client, closed, task: task.abort_handle() })
    }
}

/// A hand-over: `ID:TOKEN`.
fn hear(inbox: &Inbox, note: &Notification) {
    let Some((id, token)) = note.payload().split_once(':') else { return };
    if let (Ok(id), Ok(token)) = (id.parse::<ClaimId>(), token.parse()) {
        inbox.deliver(id, Token::new(token).map_or(Hint::Look, Hint::Held));
    }
}

/// A connection, which ends with this.
pub(crate) struct Connection {
    pub(crate) client: Client,
    /// Closed with the connection.
    closed: watch::Receiver<()>,
    task: AbortHandle,
}

impl Connection {
    /// Returns once the connection is lost.
    pub(crate) fn lost(&self) -> impl Future<Output = ()> + use<> {
        let mut closed = self.closed.clone();
        async move { while closed.changed().await.is_ok() {} }
    }

    pub(crate) fn abort_handle(&self) -> AbortHandle {
        self.task.clone()
    }

    /// Ends it at once. One that does not answer any more would not end by itself.
    pub(crate) fn end(&self) {
        self.task.abort();
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.end();
    }
}

/// A connection that has been looked over and set up.
pub(crate) struct Session {
    pub(crate) connection: Connection,
    /// `None` behind a pooler.
    pub(crate) work: Option<Statements>,
    /// How many characters a name may have.
    pub(crate) name_max: Option<usize>,
}

/// What a connection is, once it has been looked over and set up.
pub(crate) trait Opened: Sized + Send + Sync {
    /// What it takes to set one up.
    type With: Send + Sync;

    fn on(
        connection: Connection,
        world: &Arc<World>,
        with: &Self::With,
    ) -> impl Future<Output = Result<Self>> + Send;

    fn connection(&self) -> &Connection;
}

impl Opened for Session {
    /// Whether a pooler is in between.
    type With = bool;

    /// Sets a new connection up. Behind a pooler it is not ours to set anything in.
    async fn on(connection: Connection, world: &Arc<World>, &pooled: &bool) -> Result<Self> {
        let fail = |e| failure::request("connect", &world.place, e);
        let ready = async {
            let client = &connection.client;
            if !pooled {
                let timeout = format!("SET statement_timeout = {}", world.config.timeout.as_millis());
                client.batch_execute(&format!("{SETTINGS}; {timeout}")).await.map_err(fail)?;
            }
            let name_max = schema::prepare(client, &world.place).await?;
            if pooled {
                return Ok((name_max, None));
            }
            client.batch_execute(LOCK_TIMEOUT).await.map_err(fail)?;
            Ok((name_max, Some(Statements::prepare(client).await.map_err(fail)?)))
        };
        let ready = world.in_time(ready).await.unwrap_or_else(|| Err(failure::late("connect", &world.place)));
        let (name_max, work) = ready?;
        Ok(Self { connection, work, name_max })
    }

    fn connection(&self) -> &Connection {
        &self.connection
    }
}

/// The place of a session.
pub(crate) struct Lane<S: Opened = Session> {
    world: Arc<World>,
    with: S::With,
    current: Mutex<Option<Arc<S>>>,
    /// Held by whoever connects; when the last try failed, and why.
    connecting: tokio::sync::Mutex<Option<(Moment, Error)>>,
}

impl<S: Opened> Lane<S> {
    pub(crate) fn new(world: Arc<World>, with: S::With, session: Option<Arc<S>>) -> Self {
        Self { world, with, current: Mutex::new(session), connecting: tokio::sync::Mutex::new(None) }
    }

    /// Has this one used from now on.
    pub(crate) fn put(&self, session: S) {
        *self.current() = Some(Arc::new(session));
    }

    fn current(&self) -> MutexGuard<'_, Option<Arc<S>>> {
        // Nothing in here panics half-way.
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The session, if there is one.
    pub(crate) fn open(&self) -> Option<Arc<S>> {
        self.current().clone().filter(|session| !session.connection().client.is_closed())
    }

    /// The session; made if there is none.
    pub(crate) async fn session(&self) -> Result<Arc<S>> {
        if let Some(session) = self.open() {
            return Ok(session);
        }
        let mut failed = self.connecting.lock().await;
        // Somebody else may have done it, or tried to, in the meantime.
        if let Some(session) = self.open() {
            return Ok(session);
        }
        if let Some((_, why)) = failed.as_ref().filter(|(when, _)| self.world.env.now() < *when + PAUSE) {
            return Err(why.clone());
        }
        let made = async { S::on(self.world.connect().await?, &self.world, &self.with).await }.await;
        match made {
            Ok(session) => {
                let session = Arc::new(session);
                *self.current() = Some(session.clone());
                *failed = None;
                Ok(session)
            }
            Err(why) => {
                // Whatever it is, the request that wants the session has not been sent.
                let why = match why.kind() {
                    ErrorKind::Unexpected => why.with_outcome(leasehold_core::Outcome::NotApplied),
                    _ => why,
                };
                *failed = Some((self.world.env.now(), why.clone()));
                Err(why)
            }
        }
    }

    /// This session is of no more use, whoever is using it.
    pub(crate) fn forget(&self, session: &Arc<S>) {
        session.connection().end();
        self.retire(session);
    }

    /// This session is not to be used for anything new.
    pub(crate) fn retire(&self, session: &Arc<S>) {
        let mut current = self.current();
        if current.as_ref().is_some_and(|other| Arc::ptr_eq(other, session)) {
            *current = None;
        }
    }
}
