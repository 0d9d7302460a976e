//! One session of the database, whose locks end with it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use leasehold_core::{Error, ErrorKind, Moment, Result, Token, desk};
use tokio::sync::OnceCell;
use tokio::task::AbortHandle;
use tokio_postgres::Statement;
use tokio_postgres::types::{ToSql, Type};

use crate::advisory::Inner;
use crate::advisory::key::Key;
use crate::lane::{Connection, Opened, World};
use crate::{failure, schema};

/// `idle_session_timeout` came with this release.
const VERSION_MIN: i32 = 140_000;

/// Whatever the role or the database has set, a wait is as long as it is, and a lone token is not waited for until the
/// disk has it: after a crash tokens are raised to the clock.
const SETTINGS: &str = "
    SET statement_timeout = 0; SET lock_timeout = 0; SET idle_session_timeout = 0; SET synchronous_commit = off;
    SELECT set_config('transaction_timeout', '0', false) FROM pg_settings WHERE name = 'transaction_timeout'";

/// A session that waits is not idle; this is how the server notices that its client is gone. Not on all systems.
const CHECK: &str = "SET client_connection_check_interval = '1s'";

/// What is done to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    /// Takes it if it is free, and then draws a token.
    Try,
    /// Takes it and draws a token if nobody has it alone or waits for that, and lets go of it again.
    Probe,
    /// Waits for it.
    Lock,
    Unlock,
}

impl Verb {
    fn sql(self, shared: bool, pair: bool) -> String {
        let mode = if shared { "_shared" } else { "" };
        let key = if pair { "$1, $2" } else { "$1" };
        let draw = format!(
            "CASE WHEN pg_advisory_xact_lock_shared({}) IS NOT NULL THEN nextval('leasehold_token') END",
            schema::RAISING
        );
        // Only a CASE keeps an order.
        match self {
            Self::Try => format!("SELECT CASE WHEN pg_try_advisory_lock{mode}({key}) THEN {draw} END"),
            Self::Probe => format!(
                "SELECT CASE WHEN pg_try_advisory_lock{mode}({key})
                             THEN CASE WHEN pg_advisory_unlock{mode}({key}) THEN {draw} END END"
            ),
            Self::Lock => format!("SELECT pg_advisory_lock{mode}({key})"),
            Self::Unlock => format!("SELECT pg_advisory_unlock{mode}({key})"),
        }
    }
}

/// One session.
pub(crate) struct Link {
    connection: Connection,
    world: Arc<World>,
    life: Arc<Life>,
    statements: [OnceCell<Statement>; 16],
    draw: OnceCell<Statement>,
    /// When the last request was sent that has been answered, in nanoseconds.
    heard: AtomicU64,
    /// How long the server keeps it after the receipt of a request, in nanoseconds; 0 before that has been set.
    kept: AtomicU64,
}

/// What is known of a session by whoever does not use it.
pub(super) struct Life {
    /// Its process in the server.
    pub(super) pid: i32,
    over: AtomicBool,
    end: AbortHandle,
}

impl Life {
    /// It is over, or will be at once.
    pub(super) fn give_up(&self) {
        self.over.store(true, Ordering::Release);
        self.end.abort();
    }
}

type Answer<T> = std::result::Result<T, tokio_postgres::Error>;

impl Opened for Link {
    type With = Weak<Inner>;

    async fn on(connection: Connection, world: &Arc<World>, inner: &Weak<Inner>) -> Result<Self> {
        let ready = Self::look_over(&connection, world);
        let ready = world.in_time(ready).await.unwrap_or_else(|| Err(failure::late("connect", &world.place)));
        let (pid, sent) = ready?;
        let life = Arc::new(Life { pid, over: AtomicBool::new(false), end: connection.abort_handle() });
        if let Some(inner) = inner.upgrade() {
            inner.enlist(&life);
        }
        let (lost, inner, ended) = (connection.lost(), inner.clone(), Arc::clone(&life));
        world.runtime.spawn(async move {
            lost.await;
            ended.over.store(true, Ordering::Release);
            if let Some(inner) = inner.upgrade() {
                inner.bury();
            }
        });
        Ok(Self {
            connection,
            world: Arc::clone(world),
            life,
            statements: Default::default(),
            draw: OnceCell::new(),
            heard: AtomicU64::new(sent.as_nanos()),
            kept: AtomicU64::new(0),
        })
    }

    fn connection(&self) -> &Connection {
        &self.connection
    }
}

impl Link {
    async fn look_over(connection: &Connection, world: &World) -> Result<(i32, Moment)> {
        let fail = |e| failure::request("connect", &world.place, e);
        let client = &connection.client;
        let asked = "SELECT pg_backend_pid(), current_setting('server_version_num')::int";
        let row = client.query_typed_one(asked, &[]).await.map_err(fail)?;
        let (pid, version) = (row.try_get(0).map_err(fail)?, row.try_get::<_, i32>(1).map_err(fail)?);
        if version < VERSION_MIN {
            let message = "leasehold's advisory locks need PostgreSQL 14 or later, which ends sessions that are not heard of; \
                           use `postgres://`, which keeps locks in a table";
            return Err(Error::new(ErrorKind::Unsupported, "connect", message).with("database", &world.place));
        }
        client.batch_execute(SETTINGS).await.map_err(fail)?;
        drop(client.batch_execute(CHECK).await);
        schema::prepare_tokens(client, &world.place).await?;
        Ok((pid, world.env.now()))
    }

    /// Takes a key if it is free.
    pub(super) async fn try_lock(&self, key: Key, shared: bool) -> Answer<Option<Token>> {
        self.number(Verb::Try, key, shared).await
    }

    /// A token for one more reader, unless somebody waits to write. The session itself must not have the key.
    pub(super) async fn probe(&self, key: Key) -> Answer<Option<Token>> {
        self.number(Verb::Probe, key, true).await
    }

    /// Waits for a key.
    pub(super) async fn lock(&self, key: Key, shared: bool) -> Answer<()> {
        self.ask(Verb::Lock, key, shared).await.map(drop)
    }

    /// Lets go of a key.
    pub(super) async fn unlock(&self, key: Key, shared: bool) -> Answer<()> {
        self.ask(Verb::Unlock, key, shared).await.map(drop)
    }

    /// From now on a release is sent when it is asked for, and so before all that is asked for after it.
    pub(super) async fn get_ready_to_unlock(&self, key: Key, shared: bool) -> Answer<()> {
        self.statement(Verb::Unlock, key, shared).await.map(drop)
    }

    async fn statement(&self, verb: Verb, key: Key, shared: bool) -> Answer<&Statement> {
        let pair = matches!(key, Key::Two(..));
        let types: &[Type] = if pair { &[Type::INT4, Type::INT4] } else { &[Type::INT8] };
        let statement = &self.statements[verb as usize * 4 + usize::from(pair) * 2 + usize::from(shared)];
        let client = &self.connection.client;
        statement.get_or_try_init(async || client.prepare_typed(&verb.sql(shared, pair), types).await).await
    }

    /// A token, for what this session has.
    pub(super) async fn draw(&self) -> Answer<Option<Token>> {
        let sql = format!(
            "SELECT CASE WHEN pg_advisory_xact_lock_shared({}) IS NOT NULL THEN nextval('leasehold_token') END",
            schema::RAISING
        );
        let sent = self.world.env.now();
        let statement = self.draw.get_or_try_init(|| self.connection.client.prepare_typed(&sql, &[])).await?;
        let row = self.connection.client.query_one(statement, &[]).await?;
        self.hear(sent);
        Ok(token(row.try_get(0)?))
    }

    async fn number(&self, verb: Verb, key: Key, shared: bool) -> Answer<Option<Token>> {
        let row = self.ask(verb, key, shared).await?;
        Ok(token(row.try_get(0)?))
    }

    async fn ask(&self, verb: Verb, key: Key, shared: bool) -> Answer<tokio_postgres::Row> {
        let sent = self.world.env.now();
        let statement = self.statement(verb, key, shared).await?;
        let parameters: &[&(dyn ToSql + Sync)] = match &key {
            Key::One(key) => &[key],
            Key::Two(high, low) => &[high, low],
        };
        let row = self.connection.client.query_one(statement, parameters).await?;
        if verb != Verb::Lock {
            // Who has waited was not idle, and since when it is, only the server knows.
            self.hear(sent);
        }
        Ok(row)
    }

    /// A heartbeat.
    pub(super) async fn beat(&self) -> Answer<()> {
        let sent = self.world.env.now();
        self.connection.client.batch_execute("").await?;
        self.hear(sent);
        Ok(())
    }

    /// Has the server keep it for so long after each request, at the least.
    pub(super) async fn keep(&self, time: Duration) -> Answer<()> {
        if self.kept() >= time {
            return Ok(());
        }
        // Whole milliseconds, and for the kernel of the server whole seconds: it must not give up earlier.
        let millis = time.as_nanos().div_ceil(1_000_000);
        let half = time.as_secs().div_ceil(2).max(1);
        let set = format!(
            "SET idle_session_timeout = {millis}; SET tcp_keepalives_idle = {half}; SET tcp_keepalives_interval = {half};
             SET tcp_keepalives_count = 2; SET tcp_user_timeout = 0"
        );
        let sent = self.world.env.now();
        self.connection.client.batch_execute(&set).await?;
        self.kept.fetch_max(nanos(time), Ordering::AcqRel);
        self.hear(sent);
        Ok(())
    }

    fn hear(&self, sent: Moment) {
        self.heard.fetch_max(sent.as_nanos(), Ordering::AcqRel);
    }

    pub(super) fn kept(&self) -> Duration {
        Duration::from_nanos(self.kept.load(Ordering::Acquire))
    }

    /// When the last request was sent that has been answered.
    pub(super) fn heard(&self) -> Moment {
        Moment::from_nanos(self.heard.load(Ordering::Acquire))
    }

    /// Its process in the server.
    pub(super) fn pid(&self) -> i32 {
        self.life.pid
    }

    /// It is over, or will be at once.
    pub(super) fn give_up(&self) {
        self.life.give_up();
    }
}

impl desk::Session for Link {
    fn is_over(&self) -> bool {
        self.life.over.load(Ordering::Acquire) || self.connection.client.is_closed()
    }

    fn left(&self, now: Moment) -> Duration {
        if self.is_over() { Duration::ZERO } else { self.kept().saturating_sub(now.since(self.heard())) }
    }
}

fn token(number: Option<i64>) -> Option<Token> {
    number.and_then(|number| Token::new(number.unsigned_abs()))
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
