//! A connection that is made when it is needed, and made anew when it is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use leasehold_core::inbox::Inbox;
use leasehold_core::{ClaimId, Env, Error, ErrorKind, Moment, Outcome, Result};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts};
use tokio::runtime::Handle;
use tokio::sync::{Mutex, MutexGuard};

use crate::config::Config;
use crate::{failure, schema};

/// For so long after a connection could not be made nobody tries again.
const PAUSE: Duration = Duration::from_millis(100);

/// What we need of a session, whatever the server's defaults are. What stands in `/*M! */` is for MariaDB.
const SETTINGS: &str = "
    SET SESSION autocommit = 0, time_zone = '+00:00', sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION',
        innodb_lock_wait_timeout = 1, wait_timeout = 31536000, group_concat_max_len = 1048576 /*M!100100 , max_statement_time = 0 */;
    SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED;
    SET SESSION TRANSACTION READ WRITE;
    SET NAMES utf8mb4";

/// What all connections of an engine share.
pub(crate) struct World {
    pub(crate) config: Config,
    pub(crate) opts: Opts,
    /// The server, for messages.
    pub(crate) place: String,
    pub(crate) env: Env,
    pub(crate) inbox: Inbox,
    pub(crate) runtime: Handle,
    /// Who this engine is to others.
    pub(crate) random: u128,
    /// Whether it hears of hand-overs, and until when, in nanoseconds.
    pub(crate) listening: AtomicBool,
    pub(crate) listens_until: AtomicU64,
}

impl World {
    /// Whom others are to tell: an even one does not listen.
    pub(crate) fn peer(&self) -> ClaimId {
        ClaimId(self.random << 1 | u128::from(self.config.listen))
    }

    /// What comes in time, or `None`.
    pub(crate) async fn in_time<T>(&self, event: impl Future<Output = T>) -> Option<T> {
        self.within(self.config.timeout, event).await
    }

    pub(crate) async fn within<T>(&self, span: Duration, event: impl Future<Output = T>) -> Option<T> {
        let late = self.env.clock.sleep_until(self.env.now() + span);
        tokio::select! {
            biased;
            out = event => Some(out),
            () = late => None,
        }
    }

    /// Connects, sets the session up, and looks the tables over; how many bytes a name may have.
    pub(crate) async fn connect(&self) -> Result<(Conn, schema::Found)> {
        let fail = |e| failure::request("connect", &self.place, e);
        let ready = async {
            let mut conn = Conn::new(self.opts.clone()).await.map_err(fail)?;
            conn.query_drop(SETTINGS).await.map_err(fail)?;
            let found = schema::prepare(&mut conn, &self.place).await?;
            Ok((conn, found))
        };
        let ready = self.in_time(ready).await;
        ready.unwrap_or_else(|| Err(failure::late("connect", &self.place))).map_err(|why| match why.kind() {
            // Whatever it is, the request that wants the connection has not been sent.
            ErrorKind::Unexpected | ErrorKind::Unavailable => why.with_outcome(Outcome::NotApplied),
            _ => why,
        })
    }
}

/// The place of a connection, for one request after the other.
pub(crate) struct Lane {
    world: Arc<World>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    conn: Option<Conn>,
    /// When the last try to connect failed, and why.
    failed: Option<(Moment, Error)>,
}

impl Lane {
    pub(crate) fn new(world: Arc<World>, conn: Option<Conn>) -> Self {
        Self { world, state: Mutex::new(State { conn, failed: None }) }
    }

    /// The connection, made if there is none, for one request.
    pub(crate) async fn session(&self) -> Result<Session<'_>> {
        let mut state = self.state.lock().await;
        if let Some(conn) = state.conn.take() {
            return Ok(Session { state, conn });
        }
        if let Some((_, why)) = state.failed.as_ref().filter(|(when, _)| self.world.env.now() < *when + PAUSE)
        {
            return Err(why.clone());
        }
        match self.world.connect().await {
            Ok((conn, _)) => {
                state.failed = None;
                Ok(Session { state, conn })
            }
            Err(why) => {
                state.failed = Some((self.world.env.now(), why.clone()));
                Err(why)
            }
        }
    }
}

/// A connection in use. It is closed with this unless it is kept: one on which a request was given up half-way is of no
/// more use.
pub(crate) struct Session<'a> {
    state: MutexGuard<'a, State>,
    conn: Conn,
}

impl Session<'_> {
    pub(crate) fn conn(&mut self) -> &mut Conn {
        &mut self.conn
    }

    /// For the next request.
    pub(crate) fn keep(mut self) {
        self.state.conn = Some(self.conn);
    }
}
