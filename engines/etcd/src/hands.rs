//! Hand-overs within a client: whoever ends a contender of ours that another one of ours waits for asks in the same
//! request who is first then, and the answer lets that one in. It watches all the same: contenders end in other ways too.

use std::sync::{Mutex, MutexGuard, PoisonError};

use hashbrown::HashMap;
use leasehold_core::ordered::Key;
use tokio::sync::oneshot;

use crate::messages::KeyValue;

/// Who waits for what, and what has been seen.
#[derive(Debug, Default)]
pub(crate) struct Hands(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    /// Who waits for the end of a contender.
    waiting: HashMap<Key, Vec<oneshot::Sender<()>>>,
    /// Contenders of ours that were seen to be the first of their line, and at which revision.
    first: HashMap<Key, (KeyValue, u64)>,
}

/// Waits for us to end a contender.
#[derive(Debug)]
pub(crate) struct Waiting<'a> {
    hands: &'a Hands,
    key: &'a Key,
    end: oneshot::Receiver<()>,
}

impl Hands {
    fn table(&self) -> MutexGuard<'_, Table> {
        // Maps of independent entries: no change of them can be half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody waits for the end of this contender.
    pub(crate) fn wait<'a>(&'a self, key: &'a Key) -> Waiting<'a> {
        let (tell, end) = oneshot::channel();
        self.table().waiting.entry(Key::clone(key)).or_default().push(tell);
        Waiting { hands: self, key, end }
    }

    /// Whether somebody waits for the end of this contender.
    pub(crate) fn is_awaited(&self, key: &Key) -> bool {
        self.table().waiting.contains_key(key)
    }

    /// We have ended this contender; then this one of ours was the first, at this revision.
    pub(crate) fn ended(&self, key: &Key, first: Option<(KeyValue, u64)>) {
        let mut table = self.table();
        table.first.remove(key);
        if let Some((kv, at)) = first
            && let Ok(key) = std::str::from_utf8(&kv.key)
        {
            table.first.insert(key.into(), (kv, at));
        }
        let waiting = table.waiting.remove(key);
        drop(table);
        // Whoever waits is told by that.
        drop(waiting);
    }

    /// All contenders of this lease have ended.
    pub(crate) fn ended_with(&self, lease: i64) {
        self.table().first.retain(|_, (kv, _)| kv.lease != lease);
    }

    /// What was seen of a contender that is the first of its line.
    pub(crate) fn take_first(&self, key: &str) -> Option<(KeyValue, u64)> {
        self.table().first.remove(key)
    }
}

impl Waiting<'_> {
    /// Returns when it has ended.
    pub(crate) async fn end(mut self) {
        // That nobody can tell any more is the news.
        let _ = (&mut self.end).await;
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.end.close();
        let mut table = self.hands.table();
        if let Some(waiting) = table.waiting.get_mut(self.key) {
            waiting.retain(|tell| !tell.is_closed());
            if waiting.is_empty() {
                table.waiting.remove(self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn seen(key: &str) -> Option<(KeyValue, u64)> {
        Some((KeyValue { key: key.into(), lease: 1, ..KeyValue::default() }, 7))
    }

    #[test]
    fn whoever_waits_is_told_and_finds_who_is_first() {
        let (hands, one, two): (_, Key, Key) = (Hands::default(), "one".into(), "two".into());
        assert!(!hands.is_awaited(&one));
        let end = hands.wait(&one).end();
        let mut end = Box::pin(end);
        assert!(hands.is_awaited(&one) && end.as_mut().now_or_never().is_none());
        hands.ended(&one, seen("two"));
        assert!(end.as_mut().now_or_never().is_some() && !hands.is_awaited(&one));
        assert_eq!(hands.take_first(&two), seen("two"));
        assert_eq!(hands.take_first(&two), None);
    }

    #[test]
    fn nothing_is_kept_of_those_who_go_away() {
        let (hands, one): (_, Key) = (Hands::default(), "one".into());
        let (first, second) = (hands.wait(&one), hands.wait(&one));
        drop(first);
        assert!(hands.is_awaited(&one));
        drop(second);
        assert!(!hands.is_awaited(&one));
        hands.ended(&one, seen("two"));
        hands.ended(&"two".into(), None);
        assert_eq!(hands.take_first("two"), None);
        hands.ended(&one, seen("two"));
        hands.ended_with(1);
        assert_eq!(hands.take_first("two"), None);
    }
}
