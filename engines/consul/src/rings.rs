//! Who of this client waits for what news, and what news there was lately.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use hashbrown::HashMap;
use leasehold_core::Name;
use leasehold_core::ordered::Key;
use tokio::sync::oneshot;

/// How many pieces of news are remembered for those who are about to listen.
const REMEMBERED: usize = 1024;

type What = (Name, Key);

/// News for waiters: that somebody in their way may be gone.
#[derive(Debug, Default)]
pub(crate) struct Rings(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// The number of the last piece of news.
    last: u64,
    /// What is older than this has been forgotten, or concerned everybody.
    floor: u64,
    recent: HashMap<What, u64>,
    order: VecDeque<(u64, What)>,
    waiting: HashMap<What, Vec<(u64, oneshot::Sender<()>)>>,
    /// The number of the last who listened.
    listeners: u64,
}

impl Rings {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing under this lock can panic between two changes that belong together.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of the last piece of news: whoever reads a line after this knows all that is older.
    pub(crate) fn stamp(&self) -> u64 {
        self.lock().last
    }

    /// That this one may be gone.
    pub(crate) fn ring(&self, name: &Name, key: &Key) {
        let what = (name.clone(), Arc::clone(key));
        let state = &mut *self.lock();
        state.last += 1;
        state.recent.insert(what.clone(), state.last);
        state.order.push_back((state.last, what.clone()));
        if state.order.len() > REMEMBERED
            && let Some((number, oldest)) = state.order.pop_front()
        {
            state.floor = number;
            if state.recent.get(&oldest) == Some(&number) {
                state.recent.remove(&oldest);
            }
        }
        wake(state.waiting.remove(&what));
    }

    /// News was missed: anybody may be gone.
    pub(crate) fn ring_all(&self) {
        let state = &mut *self.lock();
        state.last += 1;
        state.floor = state.last;
        state.recent.clear();
        state.order.clear();
        state.waiting.drain().for_each(|(_, waiting)| wake(Some(waiting)));
    }

    /// Resolves when there is news of this one that is newer than the stamp.
    pub(crate) fn heard(self: &Arc<Self>, name: &Name, key: &Key, stamp: u64) -> Heard {
        let what = (name.clone(), Arc::clone(key));
        let (tell, told) = oneshot::channel();
        let state = &mut *self.lock();
        state.listeners += 1;
        let number = state.listeners;
        if stamp < state.floor || state.recent.get(&what).is_some_and(|news| *news > stamp) {
            wake(Some(vec![(number, tell)]));
        } else {
            state.waiting.entry(what.clone()).or_default().push((number, tell));
        }
        Heard { rings: Arc::clone(self), what, number, told }
    }
}

fn wake(waiting: Option<Vec<(u64, oneshot::Sender<()>)>>) {
    for (_, tell) in waiting.into_iter().flatten() {
        // Whoever has gone need not be told.
        let _ = tell.send(());
    }
}

/// Waits for news.
#[derive(Debug)]
pub(crate) struct Heard {
    rings: Arc<Rings>,
    what: What,
    number: u64,
    told: oneshot::Receiver<()>,
}

impl Future for Heard {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.told).poll(cx).map(drop)
    }
}

impl Drop for Heard {
    fn drop(&mut self) {
        let state = &mut *self.rings.lock();
        if let Some(waiting) = state.waiting.get_mut(&self.what) {
            waiting.retain(|(number, _)| *number != self.number);
            if waiting.is_empty() {
                state.waiting.remove(&self.what);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn news_is_heard_before_and_after_it_is_listened_for_but_not_again() {
        let rings = Arc::new(Rings::default());
        let (name, key) = (Name::new("m").unwrap(), Key::from("k"));
        let before = rings.stamp();
        let waits = rings.heard(&name, &key, before);
        let other = rings.heard(&name, &Key::from("other"), before);
        rings.ring(&name, &key);
        assert!(waits.now_or_never().is_some());
        assert!(other.now_or_never().is_none());
        assert!(rings.heard(&name, &key, before).now_or_never().is_some());
        assert!(rings.heard(&name, &key, rings.stamp()).now_or_never().is_none());
        assert!(rings.lock().waiting.is_empty(), "whoever goes listens no more");
    }

    #[test]
    fn what_was_missed_or_forgotten_concerns_everybody() {
        let rings = Arc::new(Rings::default());
        let (name, key) = (Name::new("m").unwrap(), Key::from("k"));
        let before = rings.stamp();
        let waits = rings.heard(&name, &key, before);
        rings.ring_all();
        assert!(waits.now_or_never().is_some());
        let before = rings.stamp();
        for nth in 0..=REMEMBERED {
            rings.ring(&name, &Key::from(nth.to_string()));
        }
        assert!(rings.heard(&name, &key, before).now_or_never().is_some());
        assert!(rings.heard(&name, &key, rings.stamp()).now_or_never().is_none());
    }
}
