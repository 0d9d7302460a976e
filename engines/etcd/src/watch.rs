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
    /// A watch on this member, over the stream that there is or a new one.
    pub(crate) fn watch(member: &Member, what: WatchCreateRequest) -> Watching {
        let mut watches = member.watches();
        let open = watches.take().filter(|watches| !watches.shared.table().over);
        watches.insert(open.unwrap_or_else(|| Self::open(member))).add(what)
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

    fn add(&self, what: WatchCreateRequest) -> Watching {
        let (tell, news) = mpsc::unbounded_channel();
        let mut table = self.shared.table();
        table.last += 1;
        let watcher = table.last;
        if !table.over {
            table.asked.push_back(watcher);
            table.watchers.insert(watcher, Watcher { news: tell, number: None });
            // Within the lock, for the answers come in the order of the requests.
            self.shared.send(Watch::Create(what));
        }
        drop(table);
        Watching { shared: Arc::clone(&self.shared), watcher, news }
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
