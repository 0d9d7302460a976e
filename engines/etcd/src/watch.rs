//! Watches: many of them share one stream of a connection.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::stream;
use hashbrown::HashMap;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::failure::is_about_login;
use crate::member::Member;
use crate::messages::{Watch, WatchCancelRequest, WatchCreateRequest, WatchRequest, WatchResponse, revision};

/// How often a watch is asked for anew that may be one of the past.
const TRIES: usize = 8;

/// What a watcher hears.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum News {
    /// It hears of everything that happens after this revision.
    Since(u64),
    /// Something happened; the last revision at which it did.
    Happened(u64),
}

/// A stream of watches. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Watches {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    table: Mutex<Table>,
    requests: mpsc::UnboundedSender<WatchRequest>,
}

#[derive(Debug, Default)]
struct Table {
    over: bool,
    last: u64,
    /// Who has asked for a watch and not been answered, in order: so come the answers.
    asked: VecDeque<u64>,
    watchers: HashMap<u64, Watcher>,
    /// Whose the server's numbers are.
    numbers: HashMap<i64, u64>,
}

#[derive(Debug)]
struct Watcher {
    news: mpsc::UnboundedSender<News>,
    number: Option<i64>,
}

/// One watch; ends when dropped.
#[derive(Debug)]
pub(crate) struct Watching {
    shared: Arc<Shared>,
    watcher: u64,
    news: mpsc::UnboundedReceiver<News>,
}

impl Watching {
    /// What comes next; `None` if nothing does any more.
    pub(crate) async fn next(&mut self) -> Option<News> {
        self.news.recv().await
    }
}

impl Watches {
    /// A watch on this member.
    pub(crate) fn watch(member: &Member, what: WatchCreateRequest) -> Watching {
        Self::stream(member).add(what)
    }

    /// A watch of what happens from now on on this member, and the revision after which it hears of everything. `None` if
    /// there is none to be had.
    pub(crate) fn watch_from_now(
        member: &Member,
        what: WatchCreateRequest,
    ) -> impl Future<Output = Option<(Watching, u64)>> + Send + use<> {
        let stream = Self::stream(member);
        async move { stream.watch_from_now(&what).await }
    }

    /// The stream that there is, or a new one.
    fn stream(member: &Member) -> Arc<Shared> {
        let mut watches = member.watches();
        let open = watches.take().filter(|watches| !watches.shared.table().over);
        Arc::clone(&watches.insert(open.unwrap_or_else(|| Self::open(member))).shared)
    }

    fn open(member: &Member) -> Self {
        let (requests, mut sent) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared { table: Mutex::default(), requests });
        let end = End(Arc::clone(&shared));
        // Not the member, which has the task and ends it when it goes.
        let answers = member.stream(stream::poll_fn(move |cx| sent.poll_recv(cx)));
        let task = tokio::spawn(async move {
            let Ok(mut answers) = answers.await else { return };
            while let Ok(Some(answer)) = answers.message().await
                && end.0.hear(&answer)
            {}
        });
        Self { shared, task }
    }
}

impl Drop for Watches {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// However the stream ends, nobody waits for it any more.
struct End(Arc<Shared>);

impl Drop for End {
    fn drop(&mut self) {
        *self.0.table() = Table { over: true, ..Table::default() };
    }
}

impl Shared {
    fn table(&self) -> MutexGuard<'_, Table> {
        // Nothing in here panics half-way.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(self: &Arc<Self>, what: WatchCreateRequest) -> Watching {
        let (tell, news) = mpsc::unbounded_channel();
        let mut table = self.table();
        table.last += 1;
        let watcher = table.last;
        if !table.over {
            table.asked.push_back(watcher);
            table.watchers.insert(watcher, Watcher { news: tell, number: None });
            // Within the lock, for the answers come in the order of the requests.
            self.send(Watch::Create(what));
        }
        drop(table);
        Watching { shared: Arc::clone(self), watcher, news }
    }

    /// etcd reads the revision from which a new watch is to hear, and takes up the watch, in two steps. A write in between
    /// makes it a watch of the past, which is served when there is time for that: ten times a second. So two watches are
    /// asked for in a row. If both are to hear from the same revision on, nothing was written before the first was taken up.
    async fn watch_from_now(self: &Arc<Self>, what: &WatchCreateRequest) -> Option<(Watching, u64)> {
        let mut tries = 0;
        loop {
            let (mut watching, mut next) = (self.add(what.clone()), self.add(what.clone()));
            let (News::Since(since), News::Since(later)) = (watching.next().await?, next.next().await?)
            else {
                return None;
            };
            tries += 1;
            if since == later || tries == TRIES {
                return Some((watching, since));
            }
        }
    }

    fn send(&self, request: Watch) {
        // If the stream is gone, so are its watches.
        let _ = self.requests.send(WatchRequest { request: Some(request) });
    }

    /// Takes in what the server says; `false` if the stream is of no more use.
    fn hear(&self, answer: &WatchResponse) -> bool {
        let mut table = self.table();
        let at = revision(answer.header);
        if answer.created {
            let Some(watcher) = table.asked.pop_front() else { return false };
            if answer.canceled {
                table.watchers.remove(&watcher);
                return !is_about_login(&answer.cancel_reason);
            }
            match table.watchers.get_mut(&watcher) {
                Some(waiting) => {
                    waiting.number = Some(answer.watch_id);
                    // Nobody who listens has gone without taking the watcher along.
                    let _ = waiting.news.send(News::Since(at));
                    table.numbers.insert(answer.watch_id, watcher);
                }
                None => self.send(Watch::Cancel(WatchCancelRequest { watch_id: answer.watch_id })),
            }
        } else if answer.canceled {
            if let Some(watcher) = table.numbers.remove(&answer.watch_id)
                && let Some(waiting) = table.watchers.remove(&watcher)
                && let Ok(compacted @ 1..) = u64::try_from(answer.compact_revision)
            {
                // What happened until then is not known any more.
                let _ = waiting.news.send(News::Happened(compacted));
            }
        } else if !answer.events.is_empty()
            && let Some(watcher) = table.numbers.get(&answer.watch_id)
            && let Some(waiting) = table.watchers.get(watcher)
        {
            let _ = waiting.news.send(News::Happened(at));
        }
        true
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let mut table = self.shared.table();
        // One that has not been answered is cancelled when it is.
        if let Some(Watcher { number: Some(number), .. }) = table.watchers.remove(&self.watcher) {
            table.numbers.remove(&number);
            self.shared.send(Watch::Cancel(WatchCancelRequest { watch_id: number }));
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::messages::Header;

    /// A stream, and what goes out on it.
    fn stream() -> (Arc<Shared>, mpsc::UnboundedReceiver<WatchRequest>) {
        let (requests, sent) = mpsc::unbounded_channel();
        (Arc::new(Shared { table: Mutex::default(), requests }), sent)
    }

    /// How many watches have been asked for, and which have been cancelled.
    fn asked(sent: &mut mpsc::UnboundedReceiver<WatchRequest>) -> (usize, Vec<i64>) {
        let (mut created, mut cancelled) = (0, Vec::new());
        while let Ok(request) = sent.try_recv() {
            match request.request {
                Some(Watch::Cancel(cancel)) => cancelled.push(cancel.watch_id),
                _ => created += 1,
            }
        }
        (created, cancelled)
    }

    fn created(shared: &Shared, watch_id: i64, revision: i64) {
        let header = Some(Header { revision });
        assert!(shared.hear(&WatchResponse { header, watch_id, created: true, ..WatchResponse::default() }));
    }

    #[test]
    fn a_watch_that_may_be_of_the_past_is_asked_for_anew() {
        let (shared, mut sent) = stream();
        let what = WatchCreateRequest::default();
        let mut watch = Box::pin(shared.watch_from_now(&what));
        assert!(watch.as_mut().now_or_never().is_none());
        assert_eq!(asked(&mut sent), (2, vec![]));
        created(&shared, 1, 7);
        created(&shared, 2, 8);
        assert!(watch.as_mut().now_or_never().is_none());
        let (created_anew, mut cancelled) = asked(&mut sent);
        cancelled.sort_unstable();
        assert_eq!((created_anew, cancelled), (2, vec![1, 2]));
        created(&shared, 3, 9);
        created(&shared, 4, 9);
        let (watching, since) = watch.as_mut().now_or_never().flatten().unwrap();
        assert_eq!((since, asked(&mut sent)), (9, (0, vec![4])));
        drop(watching);
        assert_eq!(asked(&mut sent), (0, vec![3]));
    }

    #[test]
    fn where_everything_is_written_to_all_the_time_that_ends() {
        let (shared, mut sent) = stream();
        let what = WatchCreateRequest::default();
        let mut watch = Box::pin(shared.watch_from_now(&what));
        let mut number = 0;
        let (_watching, since) = loop {
            if let Some(watch) = watch.as_mut().now_or_never() {
                break watch.unwrap();
            }
            for _ in 0..asked(&mut sent).0 {
                number += 1;
                created(&shared, number, number);
            }
        };
        assert_eq!((number, since), (2 * TRIES as i64, 2 * TRIES as u64 - 1));
    }
}
