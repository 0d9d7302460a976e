//! One session of the server, whose locks end with it, and the places where sessions are used.

use std::fmt::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use leasehold_core::desk::Session as _;
use leasehold_core::gather::Gather;
use leasehold_core::{Error, ErrorKind, Moment, Outcome, Result, Token, desk};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};
use tokio::sync::Notify;

use crate::failure;
use crate::getlock::name::Key;
use crate::getlock::{Inner, Place};
use crate::wire::{get, hex, rows};

/// For so long after a connection could not be made nobody tries again.
const PAUSE: Duration = Duration::from_millis(100);
/// The most in one request; a row has at most 4,096 columns.
const BATCH_MAX: usize = 1000;
/// How long the server is told to wait for a lock: a year is the longest that all of them take.
const WAIT: u32 = 31_536_000;

/// Nothing is written, so a session that waits for a lock is in nobody's way, however long that is.
const SETTINGS: &str = "SET SESSION autocommit = 1 /*M!100100 , max_statement_time = 0 */";

/// `UUID_SHORT()` counts up from a number that the server makes of its id and the second in which it started; two of them are
/// never the same and the later is the higher. Without the id, and with the seconds of this decade, it fits into a token,
/// for starts from 2026 until 2042.
const STARTS: u64 = 1_767_225_600 << 24;
const COUNTED: u64 = (1 << 56) - 1;

/// Whether it is still the second in which the server started.
async fn is_just_started(conn: &mut Conn) -> mysql_async::Result<bool> {
    let uptime: Option<(String, String)> = conn.query_first("SHOW GLOBAL STATUS LIKE 'Uptime'").await?;
    Ok(uptime.is_some_and(|(_, seconds)| seconds == "0"))
}

/// One request: lets go of a key first, and then takes one if it is free.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) free: Option<Key>,
    pub(super) take: Option<Key>,
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Done {
    /// `None` if it was not asked for, or is somebody else's.
    pub(super) token: Option<Token>,
}

/// One session.
pub(super) struct Link {
    session: Arc<Session>,
    gather: Gather<Ask, Result<Done>>,
}

struct Session {
    place: Arc<Place>,
    inner: Weak<Inner>,
    /// Its number in the server.
    id: u32,
    /// `None` while it is used, and once it is over.
    conn: tokio::sync::Mutex<Option<Conn>>,
    over: AtomicBool,
    /// Whoever waits for an answer waits no longer.
    ended: Notify,
    /// When the last request was sent that has been answered, in nanoseconds.
    heard: AtomicU64,
    /// How long the server keeps it after the receipt of a request, in nanoseconds; 0 before that has been set.
    kept: AtomicU64,
}

impl Link {
    /// Connects, and sets the session up.
    pub(super) async fn open(place: &Arc<Place>, inner: Weak<Inner>) -> Result<Arc<Self>> {
        let ready = place.in_time(Self::look_over(place)).await;
        let ready = ready.unwrap_or_else(|| Err(failure::late("connect", &place.name)));
        // Whatever it is, the request that wants the session has not been sent.
        let (conn, id, sent) = ready.map_err(|why| match why.kind() {
            ErrorKind::Unexpected | ErrorKind::Unavailable => why.with_outcome(Outcome::NotApplied),
            _ => why,
        })?;
        let session = Arc::new(Session {
            place: Arc::clone(place),
            inner,
            id,
            conn: tokio::sync::Mutex::new(Some(conn)),
            over: AtomicBool::new(false),
            ended: Notify::new(),
            heard: AtomicU64::new(sent.as_nanos()),
            kept: AtomicU64::new(0),
        });
        let (worker, runtime) = (Arc::clone(&session), place.runtime.clone());
        let gather = Gather::new(
            BATCH_MAX,
            move |asks: Vec<Ask>| {
                let session = Arc::clone(&worker);
                Box::pin(async move { session.batch(&asks).await })
            },
            move |rest| drop(runtime.spawn(rest)),
        );
        Ok(Arc::new(Self { session, gather }))
    }

    async fn look_over(place: &Place) -> Result<(Conn, u32, Moment)> {
        let fail = |e| failure::request("connect", &place.name, e);
        let refuse = |message: String| {
            Error::new(ErrorKind::Unsupported, "connect", message).with("database", &place.name)
        };
        let mut conn = Conn::new(place.opts.clone()).await.map_err(fail)?;
        conn.query_drop(SETTINGS).await.map_err(fail)?;
        let sent = place.env.now();
        let asked = "SELECT CONNECTION_ID(), VERSION(), UUID_SHORT()";
        let row: Option<Row> = conn.query_first(asked).await.map_err(fail)?;
        let row = row.ok_or_else(|| refuse("the server does not say who it is".into()))?;
        let version: String = get(&row, 1).map_err(fail)?;
        if crate::schema::is_before(&version, (10, 0, 2), (5, 7, 5)) {
            return Err(refuse(format!(
                "in {version} a session has one lock of `GET_LOCK`, no more; leasehold needs MySQL 5.7.5 or MariaDB 10.0.2, or \
                 later"
            )));
        }
        if token(get(&row, 2).map_err(fail)?).is_none() {
            return Err(refuse(
                "the server's clock was not between 2026 and 2042 when it started, and fencing tokens are made of that; set it \
                 and restart the server"
                    .into(),
            ));
        }
        // One that is started again within the second in which it was started would give the same numbers again.
        while is_just_started(&mut conn).await.map_err(fail)? {
            place.env.clock.sleep_until(place.env.now() + PAUSE).await;
        }
        let id: u64 = get(&row, 0).map_err(fail)?;
        Ok((conn, u32::try_from(id).unwrap_or_default(), sent))
    }

    /// Lets go of a key and takes one, in this order.
    pub(super) async fn ask(&self, ask: Ask) -> Result<Done> {
        self.gather.submit(ask, 2).await
    }

    /// Waits for a key, however long that takes.
    pub(super) async fn lock(&self, key: &Key) -> Result<bool> {
        let asked = self.session.query(format!("SELECT GET_LOCK({}, {WAIT})", literal(key))).await;
        // Who has waited was not idle, and since when it is, only the server knows.
        let row = asked?.0;
        get::<Option<i64>>(&row, 0).map(|got| got == Some(1)).map_err(|e| self.session.unread(e))
    }

    /// A token.
    pub(super) async fn draw(&self) -> Result<Option<Token>> {
        let (row, sent) = self.session.query("SELECT UUID_SHORT()".into()).await?;
        self.session.hear(sent);
        get(&row, 0).map(token).map_err(|e| self.session.unread(e))
    }

    /// Who has these keys: the number of the session, for each that is had.
    pub(super) async fn who_has(&self, keys: &[Key]) -> Result<Vec<Option<u32>>> {
        let mut holders = Vec::with_capacity(keys.len());
        for keys in keys.chunks(BATCH_MAX) {
            let columns: Vec<String> =
                keys.iter().map(|key| format!("IS_USED_LOCK({})", literal(key))).collect();
            let (row, sent) = self.session.query(format!("SELECT {}", columns.join(","))).await?;
            self.session.hear(sent);
            for column in 0..keys.len() {
                holders.push(get(&row, column).map_err(|e| self.session.unread(e))?);
            }
        }
        Ok(holders)
    }

    /// Ends another session.
    pub(super) async fn kill(&self, other: &Self) -> Result<()> {
        self.session.run(format!("KILL {}", other.id())).await.map(drop)
    }

    /// A heartbeat.
    pub(super) async fn beat(&self) -> Result<()> {
        let (_, sent) = self.session.run("DO 0".into()).await?;
        self.session.hear(sent);
        Ok(())
    }

    /// Has the server keep it for so long after each request, at the least.
    pub(super) async fn keep(&self, time: Duration) -> Result<()> {
        if self.kept() >= time {
            return Ok(());
        }
        let seconds = time.as_nanos().div_ceil(1_000_000_000).max(1);
        let (_, sent) = self.session.run(format!("SET SESSION wait_timeout = {seconds}")).await?;
        self.session.kept.fetch_max(nanos(time), Ordering::AcqRel);
        self.session.hear(sent);
        Ok(())
    }

    pub(super) fn kept(&self) -> Duration {
        Duration::from_nanos(self.session.kept.load(Ordering::Acquire))
    }

    /// When the last request was sent that has been answered.
    pub(super) fn heard(&self) -> Moment {
        Moment::from_nanos(self.session.heard.load(Ordering::Acquire))
    }

    /// Its number in the server.
    pub(super) fn id(&self) -> u32 {
        self.session.id
    }

    /// It is over: what it holds counts as lost, and its connection is closed.
    pub(super) fn give_up(&self) {
        self.session.end();
        let session = Arc::clone(&self.session);
        self.session.place.runtime.spawn(async move { drop(session.conn.lock().await.take()) });
    }
}

impl desk::Session for Link {
    fn is_over(&self) -> bool {
        self.session.is_over()
    }

    fn left(&self, now: Moment) -> Duration {
        if self.is_over() { Duration::ZERO } else { self.kept().saturating_sub(now.since(self.heard())) }
    }
}

impl Session {
    /// All that was asked meanwhile, from left to right.
    async fn batch(&self, asks: &[Ask]) -> Vec<Result<Done>> {
        let mut sql = "SELECT 0".to_owned();
        for ask in asks {
            if let Some(key) = &ask.free {
                let _ = write!(sql, ",RELEASE_LOCK({})", literal(key));
            }
            if let Some(key) = &ask.take {
                let _ = write!(sql, ",IF(GET_LOCK({},0),UUID_SHORT(),NULL)", literal(key));
            }
        }
        match self.query(sql).await {
            Ok((row, sent)) => {
                self.hear(sent);
                let mut column = 0;
                asks.iter().map(|ask| self.done(ask, &row, &mut column)).collect()
            }
            Err(why) => {
                // What it did before it failed, nobody knows: the session must not keep a key.
                if !self.is_over() {
                    self.end();
                }
                asks.iter().map(|_| Err(why.clone())).collect()
            }
        }
    }

    fn done(&self, ask: &Ask, row: &Row, column: &mut usize) -> Result<Done> {
        if ask.free.is_some() {
            *column += 1;
        }
        let Some(_) = &ask.take else { return Ok(Done { token: None }) };
        *column += 1;
        let drawn: Option<u64> = get(row, *column).map_err(|e| self.unread(e))?;
        Ok(Done { token: drawn.and_then(token) })
    }

    /// The row that a statement answers, and when it was sent.
    async fn query(&self, sql: String) -> Result<(Row, Moment)> {
        let (row, sent) = self.run(sql).await?;
        let none = || self.unread(mysql_async::Error::Other("it did not answer".into()));
        Ok((row.ok_or_else(none)?, sent))
    }

    async fn run(&self, sql: String) -> Result<(Option<Row>, Moment)> {
        let mut place = self.conn.lock().await;
        let Some(mut conn) = place.take().filter(|_| !self.is_over()) else { return Err(self.lost()) };
        let sent = self.place.env.now();
        let answer = tokio::select! {
            biased;
            answer = rows(&mut conn, sql) => answer,
            () = self.ended.notified() => return Err(self.lost()),
        };
        match answer {
            Ok(rows) => {
                *place = Some(conn);
                Ok((rows.into_iter().next(), sent))
            }
            Err(e) => {
                if failure::is_of_the_connection(&e) {
                    drop(place);
                    self.end();
                } else {
                    *place = Some(conn);
                }
                Err(failure::request("request", &self.place.name, e))
            }
        }
    }

    fn hear(&self, sent: Moment) {
        self.heard.fetch_max(sent.as_nanos(), Ordering::AcqRel);
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// Whoever holds by it hears of that.
    fn end(&self) {
        if self.over.swap(true, Ordering::AcqRel) {
            return;
        }
        self.ended.notify_one();
        if let Some(inner) = self.inner.upgrade() {
            inner.bury();
        }
    }

    fn lost(&self) -> Error {
        let message = "the connection to the database is lost";
        Error::new(ErrorKind::Unavailable, "request", message)
            .with("database", &self.place.name)
            .with_outcome(Outcome::Unknown)
    }

    fn unread(&self, cause: mysql_async::Error) -> Error {
        failure::request("request", &self.place.name, cause)
    }
}

/// Names are sent as numbers: no setting of the server gives them another meaning.
fn literal(key: &Key) -> String {
    format!("_utf8mb4 x'{}'", hex(key.as_str()))
}

fn token(drawn: u64) -> Option<Token> {
    (drawn & COUNTED).checked_sub(STARTS).and_then(Token::new)
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// The place of a session that is made when it is needed, and made anew when it is lost.
#[derive(Default)]
pub(super) struct Lane {
    current: Mutex<Option<Arc<Link>>>,
    /// Held by whoever connects; when the last try failed, and why.
    connecting: tokio::sync::Mutex<Option<(Moment, Error)>>,
}

impl Lane {
    /// Has this one used from now on.
    pub(super) fn put(&self, link: Arc<Link>) {
        *self.current() = Some(link);
    }

    fn current(&self) -> MutexGuard<'_, Option<Arc<Link>>> {
        // Nothing in here panics half-way.
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The session, if there is one.
    pub(super) fn open(&self) -> Option<Arc<Link>> {
        self.current().clone().filter(|link| !link.is_over())
    }

    /// The session; made if there is none.
    pub(super) async fn session(&self, inner: &Arc<Inner>) -> Result<Arc<Link>> {
        if let Some(link) = self.open() {
            return Ok(link);
        }
        let mut failed = self.connecting.lock().await;
        // Somebody else may have done it, or tried to, in the meantime.
        if let Some(link) = self.open() {
            return Ok(link);
        }
        let now = inner.place.env.now();
        if let Some((_, why)) = failed.as_ref().filter(|(when, _)| now < *when + PAUSE) {
            return Err(why.clone());
        }
        match inner.open().await {
            Ok(link) => {
                *failed = None;
                self.put(Arc::clone(&link));
                Ok(link)
            }
            Err(why) => {
                *failed = Some((inner.place.env.now(), why.clone()));
                Err(why)
            }
        }
    }

    /// Not used any more for what is asked from now on.
    pub(super) fn retire(&self) {
        *self.current() = None;
    }
}
