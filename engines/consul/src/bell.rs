//! How one client tells another: a key for each session, which ends with it, and at which its owner listens.
//!
//! One question that waits at the server is enough for all claims of a session, however many of them wait. Whoever
//! changes a line rings in the same transaction; how often it was rung is counted by Consul, so that its owner knows if
//! it has missed something, and then looks at everything.

use std::sync::{Arc, Weak};
use std::time::Duration;

use leasehold_core::ordered::Key;
use leasehold_core::{ErrorKind, Name};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::names::Keys;
use crate::own::Own;
use crate::rings::Rings;
use crate::wire::{Api, Entry, Op, Undone, Why};

/// After a question that failed, how long until the next.
const PAUSE: Duration = Duration::from_secs(1);

/// What is told.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Message {
    name: String,
    /// These may be gone, or may look at themselves.
    keys: Vec<Key>,
    /// These have been let in by this very transaction: its index is their token.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    let_in: Vec<Key>,
    /// Something was done to claims of this session by somebody else.
    #[serde(default)]
    upset: bool,
}

impl Message {
    pub(crate) fn new(name: &Name, keys: Vec<Key>, let_in: Vec<Key>, upset: bool) -> Self {
        Self { name: name.as_str().to_owned(), keys, let_in, upset }
    }

    /// What is done at the bell of a session: taken anew, for that is what is counted.
    pub(crate) fn ops(&self, keys: &Keys, session: &str) -> [Op; 3] {
        let bell = keys.bell(session);
        let value = serde_json::to_string(self).expect("a plain struct is always JSON");
        // It may not be there yet.
        let there = Op::lock(&bell, session, 0, "");
        [there, Op::unlock(&bell, session, 0), Op::lock(&bell, session, 0, &value)]
    }
}

/// What is known of a session by listening.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    /// How often something was done to its claims by others.
    Upset(u64),
    /// It is over.
    Over,
}

/// What a listener needs.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) api: Weak<Api>,
    pub(crate) keys: Keys,
    pub(crate) own: Arc<Own>,
    pub(crate) rings: Arc<Rings>,
    pub(crate) session: Arc<str>,
    pub(crate) mood: watch::Sender<Mood>,
    pub(crate) clock: Arc<dyn leasehold_core::Clock>,
}

impl Listener {
    /// Listens until the session is over.
    pub(crate) async fn listen(self) {
        let bell = self.keys.bell(&self.session);
        // How often it has been taken, and the index of the last answer.
        let (mut taken, mut index) = (0, 0);
        while let Some(api) = self.api.upgrade() {
            let news = match index {
                0 => self.hang(&api, &bell).await,
                _ => api.news_of_key(&bell, index).await.map(|(entry, at)| entry.map(|entry| (entry, at))),
            };
            match news {
                Ok(Some((entry, at))) => {
                    self.hear(&entry, taken);
                    taken = entry.lock_index;
                    // It goes back if the cluster was restored from a snapshot.
                    index = if at < index { 0 } else { at.max(1) };
                }
                // Deleted with its session, or by hand.
                Ok(None) => (taken, index) = (0, 0),
                Err(error) if error.kind() == ErrorKind::Lost => {
                    self.mood.send_replace(Mood::Over);
                    self.rings.ring_all();
                    return;
                }
                Err(_) => self.clock.sleep_until(self.clock.now() + PAUSE).await,
            }
        }
    }

    /// Makes sure that the bell is there.
    async fn hang(&self, api: &Api, bell: &str) -> leasehold_core::Result<Option<(Entry, u64)>> {
        let ops = [Op::lock(bell, &self.session, 0, ""), Op::get(bell)];
        match api.transact("watch", &ops).await {
            Ok(entries) => Ok(entries.into_iter().next_back().map(|entry| {
                let index = entry.modify_index;
                (entry, index)
            })),
            Err(undone) if undone.is(&Why::NoSession) => Err(crate::failure::lost("watch")),
            Err(Undone::Failed(error)) => Err(error),
            Err(undone) => Err(undone.error("watch").unwrap_or_else(|| crate::failure::restless("watch"))),
        }
    }

    /// Takes in how the bell is now, after it had been taken so often.
    fn hear(&self, entry: &Entry, before: u64) {
        let message = (entry.lock_index == before + 1 && before > 0)
            .then(|| serde_json::from_str::<Message>(&entry.text()).ok())
            .flatten();
        match message {
            Some(message) => {
                message.let_in.iter().for_each(|key| self.own.admit(key, entry.modify_index));
                if let Ok(name) = Name::new(&message.name) {
                    let news = message.let_in.iter().chain(&message.keys);
                    news.for_each(|key| self.rings.ring(&name, key));
                }
                if message.upset {
                    self.upset();
                }
            }
            None if entry.lock_index == before => {}
            // It has been hung up just now, and nobody has rung.
            None if before == 0 && entry.lock_index == 1 => {}
            None => {
                self.rings.ring_all();
                self.upset();
            }
        }
    }

    fn upset(&self) {
        self.mood.send_modify(|mood| {
            if let Mood::Upset(times) = mood {
                *times += 1;
            }
        });
    }
}
