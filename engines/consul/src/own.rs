//! What this client has at Consul, or may have: its claims, by session.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashbrown::{HashMap, HashSet};
use leasehold_core::{Claim, ClaimId, Name};

use crate::line::{Seen, of_key};

/// A claim that has been let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Admitted {
    pub(crate) claim: ClaimId,
    pub(crate) weight: u32,
    pub(crate) capacity: u32,
    pub(crate) token: u64,
}

/// What is done to a claim is done one after the other: a request may come twice, and at the same time.
pub(crate) type Turn = tokio::sync::OwnedMutexGuard<()>;

/// A claim.
#[derive(Debug)]
struct Mine {
    name: Name,
    weight: u32,
    capacity: u32,
    /// The number of its key in the line, if it has had one. Numbers are used again, for every key that Consul has ever
    /// had costs it something for a while: it keeps the graves of deleted keys, and walks over all of them to read a line.
    slot: Option<u32>,
    /// A request for it was sent of which nobody knows what became: it may still arrive, so it is never forgotten.
    doubtful: bool,
    /// What was last seen of the resource, if the lock's own key was its place.
    hold: Option<Arc<Seen>>,
    /// Its token, if it was told that it has been let in.
    token: Option<u64>,
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl Mine {
    fn new(claim: &Claim) -> Self {
        let Claim { name, weight, capacity, .. } = claim.clone();
        let (slot, hold, token) = (None, None, None);
        Self { name, weight, capacity, slot, doubtful: false, hold, token, turn: Arc::default() }
    }
}

#[derive(Debug, Default)]
struct Session {
    claims: HashMap<ClaimId, Mine>,
    slots: HashMap<Name, HashSet<u32>>,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Own(Mutex<HashMap<Arc<str>, Session>>);

/// A claim that may be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Suspect {
    pub(crate) claim: ClaimId,
    pub(crate) name: Name,
    pub(crate) slot: Option<u32>,
}

impl Own {
    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Session>> {
        // Nothing under this lock can panic between two changes that belong together.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A session has been opened.
    pub(crate) fn open(&self, session: &Arc<str>) {
        self.lock().insert(Arc::clone(session), Session::default());
    }

    /// A session is over.
    pub(crate) fn close(&self, session: &str) {
        self.lock().remove(session);
    }

    /// Whether a session is one of ours.
    pub(crate) fn has(&self, session: &str) -> bool {
        self.lock().contains_key(session)
    }

    /// A claim is about to be sent: whether it has been before, and the turn to do so. `None` if the session is over.
    pub(crate) async fn begin(&self, session: &str, claim: &Claim) -> Option<(bool, Turn)> {
        loop {
            let (known, turn) = self.add(session, claim)?;
            let turn = turn.lock_owned().await;
            // It may have ended while this one waited, and then it begins anew.
            if self.is_of(session, claim.id, &turn) {
                return Some((known, turn));
            }
        }
    }

    fn add(&self, session: &str, claim: &Claim) -> Option<(bool, Arc<tokio::sync::Mutex<()>>)> {
        let mut all = self.lock();
        let claims = &mut all.get_mut(session)?.claims;
        let known = claims.contains_key(&claim.id);
        let mine = claims.entry(claim.id).or_insert_with(|| Mine::new(claim));
        Some((known, Arc::clone(&mine.turn)))
    }

    fn is_of(&self, session: &str, claim: ClaimId, turn: &Turn) -> bool {
        let all = self.lock();
        let mine = all.get(session).and_then(|session| session.claims.get(&claim));
        mine.is_some_and(|mine| Arc::ptr_eq(&mine.turn, Turn::mutex(turn)))
    }

    /// The turn to end it, once nobody brings it in any more; `None` if it is not known.
    pub(crate) async fn turn(&self, session: &str, claim: ClaimId) -> Option<Turn> {
        let turn = Arc::clone(&self.lock().get(session)?.claims.get(&claim)?.turn);
        Some(turn.lock_owned().await)
    }

    /// The number of its key in the line.
    pub(crate) fn slot(&self, session: &str, claim: ClaimId) -> Option<u32> {
        let mut all = self.lock();
        let session = all.get_mut(session)?;
        let mine = session.claims.get_mut(&claim)?;
        if mine.slot.is_none() {
            let taken = session.slots.entry(mine.name.clone()).or_default();
            let free = (0..).find(|slot| taken.insert(*slot)).expect("there are more numbers than claims");
            mine.slot = Some(free);
        }
        mine.slot
    }

    /// Another number: the key of the one it had is in use.
    pub(crate) fn skip_slot(&self, session: &str, claim: ClaimId) {
        if let Some(mine) = self.lock().get_mut(session).and_then(|s| s.claims.get_mut(&claim)) {
            mine.slot = None;
        }
    }

    /// A request for it was sent, and nobody knows what became of it.
    pub(crate) fn doubt(&self, session: &str, claim: ClaimId) {
        if let Some(mine) = self.lock().get_mut(session).and_then(|s| s.claims.get_mut(&claim)) {
            mine.doubtful = true;
        }
    }

    /// Remembers what was seen by the claim whose place the lock's own key is.
    pub(crate) fn note(&self, seen: &Arc<Seen>) {
        let Some(holder) = seen.holder() else { return };
        let mut all = self.lock();
        let session = all.get_mut(holder.session);
        if let Some(mine) = session.and_then(|s| s.claims.get_mut(&holder.place.claim)) {
            mine.hold = Some(Arc::clone(seen));
        }
    }

    /// What was last seen of its resource, if it holds in the lock's own key.
    pub(crate) fn hold(&self, session: &str, claim: ClaimId) -> Option<Arc<Seen>> {
        self.lock().get(session)?.claims.get(&claim)?.hold.clone()
    }

    /// A claim has been let in, if it is one of ours.
    pub(crate) fn admit(&self, key: &str, token: u64) {
        let Some((session, claim)) = of_key(key) else { return };
        if let Some(mine) = self.lock().get_mut(session).and_then(|s| s.claims.get_mut(&claim)) {
            mine.token = Some(token);
        }
    }

    /// How a claim has been let in, if it was told.
    pub(crate) fn admitted(&self, session: &str, claim: ClaimId) -> Option<Admitted> {
        let all = self.lock();
        let Mine { weight, capacity, token, .. } = *all.get(session)?.claims.get(&claim)?;
        Some(Admitted { claim, weight, capacity, token: token? })
    }

    /// Its place has ended, or never was.
    pub(crate) fn end(&self, session: &str, claim: ClaimId) {
        let mut all = self.lock();
        let Some(session) = all.get_mut(session) else { return };
        let Some(mine) = session.claims.get_mut(&claim) else { return };
        (mine.hold, mine.token) = (None, None);
        if mine.doubtful {
            return;
        }
        if let Some(slot) = mine.slot
            && let Some(taken) = session.slots.get_mut(&mine.name)
        {
            taken.remove(&slot);
            if taken.is_empty() {
                session.slots.remove(&mine.name);
            }
        }
        session.claims.remove(&claim);
    }

    /// All that may be there.
    pub(crate) fn suspects(&self, session: &str) -> Vec<Suspect> {
        let all = self.lock();
        let claims = all.get(session).into_iter().flat_map(|session| &session.claims);
        claims.map(|(id, mine)| Suspect { claim: *id, name: mine.name.clone(), slot: mine.slot }).collect()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use leasehold_core::Meta;

    use super::*;

    fn claim(id: u128) -> Claim {
        Claim {
            name: Name::new("m").unwrap(),
            id: ClaimId(id),
            capacity: 1,
            weight: 1,
            ttl: std::time::Duration::from_secs(10),
            at_least: std::time::Duration::ZERO,
            raise: None,
            meta: Meta::default(),
        }
    }

    #[tokio::test]
    async fn numbers_are_used_again_but_not_those_of_the_doubtful() {
        let (own, session) = (Own::default(), Arc::from("s"));
        own.open(&session);
        let slot = async |id| {
            assert!(!own.begin("s", &claim(id)).await.unwrap().0);
            own.slot("s", ClaimId(id)).unwrap()
        };
        assert_eq!([slot(1).await, slot(2).await, slot(3).await], [0, 1, 2]);
        own.doubt("s", ClaimId(2));
        own.end("s", ClaimId(2));
        own.end("s", ClaimId(1));
        assert!(own.begin("s", &claim(2)).await.unwrap().0, "it is still known");
        assert_eq!([slot(4).await, slot(5).await], [0, 3]);
        [3, 4, 5].into_iter().for_each(|id| own.end("s", ClaimId(id)));
        assert_eq!(own.suspects("s"), [Suspect { claim: ClaimId(2), name: claim(2).name, slot: Some(1) }]);
        own.close("s");
        assert!(own.suspects("s").is_empty() && !own.has("s"));
        assert!(own.begin("s", &claim(6)).await.is_none());
    }

    #[tokio::test]
    async fn a_claim_is_brought_in_once_at_a_time_and_ended_after_that() {
        let (own, session) = (Own::default(), Arc::from("s"));
        let (id, claim) = (ClaimId(1), claim(1));
        own.open(&session);
        let (known, first) = own.begin("s", &claim).await.unwrap();
        let mut second = std::pin::pin!(own.begin("s", &claim));
        let mut end = std::pin::pin!(own.turn("s", id));
        assert!(!known && second.as_mut().now_or_never().is_none() && end.as_mut().now_or_never().is_none());
        own.end("s", id);
        drop(first);
        let (known, _turn) = second.await.unwrap();
        assert!(!known, "the first has ended");
        assert!(end.await.is_some() && own.turn("s", ClaimId(2)).await.is_none());
    }
}
