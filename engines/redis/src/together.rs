//! Requests of many tasks in one script: a script costs the server as much as what it does for a claim or two, and a
//! crowd shares that.
//!
//! Nobody waits for company. While few requests are under way, each is sent at once and on its own. In a crowd, what
//! the tasks ask for in one turn of the runtime is sent at the end of that turn, whatever else is still under way: the
//! connection is a pipeline, and core's `Gather`, which has one batch under way, would let it run dry.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use redis::{Cmd, ErrorKind, RedisResult, Value};
use tokio::sync::oneshot;

use crate::script::{Script, Scripts};
use crate::session::Session;

/// So many requests of a kind under way are a crowd.
const CROWD: usize = 8;
/// The most that go together: a fraction of a millisecond of the server's time.
const TOGETHER_MAX: usize = 64;

/// A kind of request that can go together with others of its kind.
pub(crate) trait Many: Clone + Send + Sync + 'static {
    /// Where those of this kind gather.
    fn crowd(session: &Session) -> &Crowd<Self>;

    /// One request for one of them, answered for it, or for several, answered for each.
    fn request<'a>(scripts: &'a Scripts, some: &[Self]) -> (&'a Script, Cmd);
}

/// Who waits for an answer.
type Asker = oneshot::Sender<RedisResult<Value>>;

/// The requests of a kind on one connection.
pub(crate) struct Crowd<T> {
    under_way: AtomicUsize,
    /// Those that go with the next script.
    line: Mutex<Vec<(T, Asker)>>,
}

/// A request that is under way.
pub(crate) struct Turn<'a>(&'a AtomicUsize);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<T> Default for Crowd<T> {
    fn default() -> Self {
        Self { under_way: AtomicUsize::default(), line: Mutex::default() }
    }
}

impl<T> Crowd<T> {
    /// One more is under way until the turn is dropped; and whether there is a crowd already.
    pub(crate) fn enter(&self) -> (Turn<'_>, bool) {
        let before = self.under_way.fetch_add(1, Ordering::Relaxed);
        (Turn(&self.under_way), before >= CROWD)
    }

    fn line(&self) -> MutexGuard<'_, Vec<(T, Asker)>> {
        // Nothing in here panics half-way.
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Joins those who go next. The first of them must see to it that they do.
    pub(crate) fn line_up(&self, item: T) -> (oneshot::Receiver<RedisResult<Value>>, bool) {
        let (asker, answer) = oneshot::channel();
        let mut line = self.line();
        let first = line.is_empty();
        line.push((item, asker));
        (answer, first)
    }

    /// What goes now, in the order in which it came, and who asked for it; and whether others are left.
    pub(crate) fn next(&self) -> (Vec<T>, Vec<Asker>, bool) {
        let mut line = self.line();
        let some = line.len().min(TOGETHER_MAX);
        let (items, askers) = line.drain(..some).unzip();
        (items, askers, !line.is_empty())
    }
}

/// Tells each what it was answered, or all what went wrong.
pub(crate) fn tell(askers: Vec<Asker>, answer: RedisResult<Value>) {
    let answers: Vec<RedisResult<Value>> = match answer {
        Ok(answer) if askers.len() == 1 => vec![Ok(answer)],
        Ok(Value::Array(answers)) if answers.len() == askers.len() => {
            answers.into_iter().map(Value::extract_error).collect()
        }
        Ok(odd) => {
            let odd = (ErrorKind::UnexpectedReturnType, "no answer to each", format!("{odd:?}"));
            vec![Err(odd.into()); askers.len()]
        }
        Err(error) => vec![Err(error); askers.len()],
    };
    for (asker, answer) in askers.into_iter().zip(answers) {
        // Whoever went away has no use for it.
        let _ = asker.send(answer);
    }
}
