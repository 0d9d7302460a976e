//! One connection, as long as it lasts: requests over it, and what is known of the server because of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use leasehold_core::gather::{Gather, Work};
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster_async::ClusterConnection;
use redis::{Cmd, RedisError, ServerErrorKind, Value};
use tokio::sync::{Notify, watch};

use crate::bits::Bits;
use crate::connect::Made;
use crate::script::{Script, Scripts};
use crate::sentinel::Master;
use crate::together::{self, Crowd, Many};
use crate::wire;

/// How many requests wait for replicas together.
const PATIENT_MAX: usize = 100;

/// Requests that wait for replicas, over a connection of their own.
pub(crate) type Patient = Gather<Cmd, redis::RedisResult<(Value, u32)>>;

/// One connection, as long as it lasts.
pub(crate) struct Session {
    pub(crate) wire: Wire,
    /// For requests that wait for replicas.
    pub(crate) patient: Option<Patient>,
    /// Where it leads, if Sentinels said so.
    pub(crate) master: Option<Master>,
    /// Whether another has taken its place: whatever it still says is not to be believed.
    replaced: watch::Sender<bool>,
    /// In a cluster: a node did not answer. The library would go on to ask it.
    hangs: AtomicBool,
    /// Slots whose counters have been raised to the clock over this connection.
    vouched: Bits,
    pub(crate) joins: Crowd<wire::Join>,
    pub(crate) leaves: Crowd<wire::Leave>,
    /// It is of no more use; or, in a cluster, a part of it was.
    pub(crate) broken: Arc<Notify>,
}

/// What is connected to.
#[derive(Clone)]
pub(crate) enum Wire {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

impl Wire {
    async fn send(&mut self, cmd: &Cmd) -> redis::RedisResult<Value> {
        match self {
            Self::One(connection) => connection.send_packed_command(cmd).await,
            Self::Cluster(connection) => connection.req_packed_command(cmd).await,
        }
    }
}

impl Session {
    pub(crate) fn new(made: Made, broken: Arc<Notify>, replaced: watch::Sender<bool>) -> Self {
        let Made { wire, patient, master } = made;
        let (hangs, vouched) = (AtomicBool::new(false), Bits::default());
        let (joins, leaves) = (Crowd::default(), Crowd::default());
        Self { wire, patient, master, replaced, hangs, vouched, joins, leaves, broken }
    }

    /// Ends it: requests under way fail, and its news are not listened to.
    pub(crate) fn replace(&self) {
        self.replaced.send_replace(true);
    }

    /// Whether a node of the cluster has not answered since this was asked last.
    pub(crate) fn take_hangs(&self) -> bool {
        self.hangs.swap(false, Ordering::Relaxed)
    }

    /// Whether the slot's counter has been raised to the clock since this connection was made. In a cluster the slot
    /// may have moved meanwhile: never.
    pub(crate) fn vouches(&self, slot: usize) -> bool {
        matches!(self.wire, Wire::One(_)) && self.vouched.has(slot)
    }

    /// A token of this slot has been minted over this connection.
    pub(crate) fn vouch(&self, slot: usize) {
        self.vouched.set(slot, true);
    }

    /// Sends a command.
    pub(crate) async fn send(&self, cmd: &Cmd) -> redis::RedisResult<Value> {
        let mut wire = self.wire.clone();
        let answer = self.unless_replaced(wire.send(cmd)).await.and_then(whole);
        if let Ok(Value::Array(parts)) = &answer {
            for part in parts {
                if let Value::ServerError(error) = part {
                    self.heed(&error.clone().into());
                }
            }
        }
        answer.inspect_err(|error| self.heed(error))
    }

    /// An answer, unless the Sentinels name another master first: a demoted one that was paused may think for a
    /// moment that it is one still.
    async fn unless_replaced<T>(
        &self,
        answer: impl Future<Output = redis::RedisResult<T>>,
    ) -> redis::RedisResult<T> {
        if self.master.is_none() {
            return answer.await;
        }
        let mut replaced = self.replaced.subscribe();
        tokio::select! {
            biased;
            Ok(_) = replaced.wait_for(|replaced| *replaced) => {
                Err((redis::ErrorKind::Io, "the server is the master no more").into())
            }
            answer = answer => answer,
        }
    }

    /// Sees to it that the connection is made anew if it is of no more use.
    pub(crate) fn heed(&self, error: &RedisError) {
        let over = match self.wire {
            Wire::One(_) => is_over(error),
            Wire::Cluster(_) => error.is_timeout(),
        };
        if over {
            self.hangs.store(true, Ordering::Relaxed);
            self.broken.notify_one();
        }
    }

    /// Runs a script, and gives it to the server first if it does not know it.
    pub(crate) async fn run(&self, script: &Script, cmd: &Cmd) -> redis::RedisResult<Value> {
        match self.send(cmd).await {
            Err(error) if is_unknown_script(&error) => self.send(&wire::with_source(cmd, script)).await,
            answer => answer,
        }
    }

    /// Runs what does this.
    pub(crate) async fn run_one<T: Many>(
        &self,
        scripts: &'static Scripts,
        one: &T,
    ) -> redis::RedisResult<Value> {
        let (script, cmd) = T::request(scripts, std::slice::from_ref(one));
        self.run(script, &cmd).await
    }

    /// The same, or, in a crowd, for several at a time.
    pub(crate) async fn run_together<T: Many>(
        self: &Arc<Self>,
        scripts: &'static Scripts,
        one: &T,
    ) -> redis::RedisResult<Value> {
        let crowd = T::crowd(self);
        let (_turn, crowded) = crowd.enter();
        // The keys of several would be in several slots.
        if !crowded || matches!(self.wire, Wire::Cluster(_)) {
            return self.run_one(scripts, one).await;
        }
        let (answer, first) = crowd.line_up(one.clone());
        if first {
            self.run_line::<T>(scripts);
        }
        let gone = || Err(std::io::Error::other("the runtime of the connection has ended").into());
        answer.await.unwrap_or_else(|_| gone())
    }

    /// Runs what lines up in this turn of the runtime, in a task of its own: nobody's request ends with whoever came
    /// first.
    fn run_line<T: Many>(self: &Arc<Self>, scripts: &'static Scripts) {
        let session = Arc::clone(self);
        tokio::spawn(async move {
            tokio::task::yield_now().await;
            let (items, askers, left) = T::crowd(&session).next();
            if left {
                session.run_line::<T>(scripts);
            }
            let (script, cmd) = T::request(scripts, &items);
            together::tell(askers, session.run(script, &cmd).await);
        });
    }

    /// Runs a script, and then waits for replicas; says how many have it.
    pub(crate) async fn run_patiently(&self, script: &Script, cmd: &Cmd) -> redis::RedisResult<(Value, u32)> {
        let Some(patient) = &self.patient else { return Ok((self.run(script, cmd).await?, 0)) };
        let answer = match self.unless_replaced(patient.submit(cmd.clone(), 1)).await {
            Err(error) if is_unknown_script(&error) => {
                self.unless_replaced(patient.submit(wire::with_source(cmd, script), 1)).await
            }
            answer => answer,
        };
        answer.inspect_err(|error| self.heed(error))
    }
}

/// Sends requests that wait until so many replicas have them, or not longer than that. `WAIT` is for all writes of its
/// own connection, which it blocks: what comes meanwhile goes together next.
pub(crate) fn patient(connection: MultiplexedConnection, replicas: u32, patience: Duration) -> Patient {
    let mut wait = redis::cmd("WAIT");
    wait.arg(replicas).arg(u64::try_from(patience.as_millis()).unwrap_or(u64::MAX));
    let run = move |cmds: Vec<Cmd>| -> Work<Vec<redis::RedisResult<(Value, u32)>>> {
        let (mut connection, wait) = (connection.clone(), wait.clone());
        Box::pin(async move {
            let count = cmds.len();
            let mut batch = redis::Pipeline::with_capacity(count + 1);
            cmds.into_iter().chain([wait]).for_each(|cmd| {
                batch.add_command(cmd);
            });
            match connection.send_packed_commands(&batch, 0, count + 1).await {
                Ok(mut answers) => {
                    let have = answers
                        .pop()
                        .and_then(|n| if let Value::Int(n) = n { n.try_into().ok() } else { None });
                    let told = |answer: Value| Ok((whole(answer)?, have.unwrap_or(0)));
                    answers.into_iter().map(told).collect()
                }
                Err(error) => vec![Err(error); count],
            }
        })
    };
    Gather::new(PATIENT_MAX, run, |rest| drop(tokio::spawn(rest)))
}

/// An answer, or the error that is all of it: one within an answer is about one claim of several.
fn whole(answer: Value) -> redis::RedisResult<Value> {
    match answer {
        Value::ServerError(error) => Err(error.into()),
        answer => Ok(answer),
    }
}

fn is_unknown_script(error: &RedisError) -> bool {
    error.kind() == redis::ErrorKind::Server(ServerErrorKind::NoScript)
}

/// Whether a connection is of no more use after this error: it is lost, hangs, or leads to a server that is no
/// master any more.
fn is_over(error: &RedisError) -> bool {
    use redis::ErrorKind as K;
    matches!(
        error.kind(),
        K::Io | K::Parse | K::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown)
    )
}
