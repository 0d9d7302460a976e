//! The verbs: what a client asks of its claims.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{join, join_all};

use crate::claim::{Claim, ClaimId, Leave, Manner, Refresh, WAITING_TTL_MAX};
use crate::clock::Moment;
use crate::engine::{Batch, Standing};
use crate::error::{Error, ErrorKind, Outcome, Result};
use crate::gather::Work;
use crate::name::Name;
use crate::ordered::rule::{Place, place};
use crate::ordered::session::Session;
use crate::ordered::store::{Line, SessionId, Store};
use crate::ordered::table::{Found, Going, State};
use crate::ordered::{Inner, upkeep};

/// How often a join begins again because its session was lost under it.
const SESSIONS_TO_TRY: usize = 3;

/// Lines that were looked at, by the session that did.
type Lines = BTreeMap<(SessionId, Name), Result<Line>>;

/// Does something with each item: side by side for different resources, one after the other for the same.
async fn each<T, O>(
    items: Vec<T>,
    name: impl Fn(&T) -> &Name,
    run: impl Fn(T) -> Work<Result<O>>,
) -> Batch<Result<O>> {
    let mut lanes: BTreeMap<Name, Vec<(usize, T)>> = BTreeMap::new();
    for (at, item) in items.into_iter().enumerate() {
        lanes.entry(name(&item).clone()).or_default().push((at, item));
    }
    let run = &run;
    let lanes = lanes.into_values().map(|lane| async move {
        let mut answers = Vec::with_capacity(lane.len());
        for (at, item) in lane {
            answers.push((at, run(item).await));
        }
        answers
    });
    let mut answers: Vec<_> = join_all(lanes).await.into_iter().flatten().collect();
    answers.sort_unstable_by_key(|(at, _)| *at);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

impl<S: Store> Inner<S> {
    /// Queues claims.
    pub(super) async fn join(self: Arc<Self>, claims: Vec<Claim>) -> Batch<Result<Standing>> {
        match <[Claim; 1]>::try_from(claims) {
            Ok([claim]) => Batch::from_buf([self.join_one(&claim).await]),
            Err(claims) => {
                each(
                    claims,
                    |claim| &claim.name,
                    |claim| {
                        let inner = Arc::clone(&self);
                        Box::pin(async move { inner.join_one(&claim).await })
                    },
                )
                .await
            }
        }
    }

    async fn join_one(self: &Arc<Self>, claim: &Claim) -> Result<Standing> {
        let now = self.env.now();
        let found = self.table().admit(claim, now);
        match found {
            Found::Over => Ok(Standing::Gone),
            Found::Standing => {
                let ask = Refresh { claim: claim.key(), ttl: claim.ttl, raise: None };
                self.renew(&[ask], now).await.pop().expect("one answer an item")
            }
            Found::Enter => self.put_in_line(claim, now).await,
        }
    }

    async fn put_in_line(self: &Arc<Self>, claim: &Claim, now: Moment) -> Result<Standing> {
        self.look_at(now + claim.waiting_ttl());
        match self.enter(claim).await {
            Ok((session, line)) => Ok(self.entered(claim, &session, &line, now).await),
            Err(error) => {
                if error.outcome() == Outcome::NotApplied {
                    self.table().forget_unsent(claim.id);
                }
                Err(error)
            }
        }
    }

    /// Puts a contender in line, under a session that lives.
    async fn enter(self: &Arc<Self>, claim: &Claim) -> Result<(Arc<Session>, Line)> {
        let mut last = None;
        for _ in 0..SESSIONS_TO_TRY {
            let usable = match self.sessions.usable(claim.ttl, &self.store, &self.env).await {
                Ok(usable) => usable,
                Err(error) if error.kind() == ErrorKind::Lost => {
                    self.purge();
                    last = Some(error);
                    continue;
                }
                // Nothing of the claim has been sent.
                Err(error) => return Err(error.with_outcome(Outcome::NotApplied)),
            };
            let session = usable.session;
            if usable.new {
                self.runtime.spawn(upkeep::look_after(Arc::downgrade(self), Arc::clone(&session)));
            }
            if usable.stale {
                let (inner, session) = (Arc::clone(self), Arc::clone(&session));
                self.runtime.spawn(async move { inner.confirm(&session).await });
            }
            if let Some(entry) = self.table().get_mut(claim.id) {
                entry.session = Some(Arc::clone(&session));
            }
            match self.store.enter(&session.id, claim).await {
                Ok(line) => return Ok((session, line)),
                Err(error) if error.kind() == ErrorKind::Lost => {
                    self.sessions.forget(&session);
                    if let Some(entry) = self.table().get_mut(claim.id) {
                        // It begins again under another one.
                        entry.session = None;
                    }
                    self.purge();
                    last = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
        let lost = last.expect("only a lost session is tried again");
        Err(Error::new(ErrorKind::Unavailable, "join", "the session was lost again and again")
            .with_source(lost))
    }

    /// A contender stands in line: how.
    async fn entered(
        self: &Arc<Self>,
        claim: &Claim,
        session: &Arc<Session>,
        line: &Line,
        now: Moment,
    ) -> Standing {
        let place = place(line, claim.id);
        let key = line.contenders.iter().find(|c| c.id == Some(claim.id)).map(|c| c.key.clone());
        let stands = {
            let mut table = self.table();
            if let Some(entry) = table.get_mut(claim.id) {
                entry.key = key.clone();
            }
            table.settle(claim.id, &place, line.stamp, now, Some(claim.ttl))
        };
        if stands {
            return standing(place, claim.ttl, session.left(now));
        }
        // It has been left meanwhile, or has died, or is refused: either way its contender goes, whoever waits for that.
        let going = key.map(|key| {
            let going = Going { id: claim.id, name: claim.name.clone(), key: Some(key) };
            let inner = Arc::clone(self);
            self.runtime.spawn(async move { inner.exit(going).await })
        });
        match place {
            Place::Refused(why) => {
                // Who comes next in this very batch must not stand behind it. What fails is tried again.
                if let Some(going) = going {
                    drop(going.await);
                }
                Standing::Refused(why)
            }
            _ => Standing::Gone,
        }
    }

    /// Renews claims, and puts those in line of which nobody knows whether they are.
    pub(super) async fn refresh(self: Arc<Self>, asks: Vec<Refresh>) -> Batch<Result<Standing>> {
        let now = self.env.now();
        let uncertain: Vec<(usize, Claim)> = {
            let table = self.table();
            let alive =
                asks.iter().enumerate().filter_map(|(at, a)| Some((at, table.alive(a.claim.id, now)?)));
            alive.filter(|(_, e)| e.state == State::Entering).map(|(at, e)| (at, e.claim.clone())).collect()
        };
        let mut answers = self.renew(&asks, now).await;
        for (at, claim) in uncertain {
            answers[at] = self.put_in_line(&claim, now).await;
        }
        answers
    }

    /// Renews claims that stand in line: their sessions are confirmed once for all of them, and those that wait look at
    /// their line, once a line.
    async fn renew(&self, asks: &[Refresh], now: Moment) -> Batch<Result<Standing>> {
        let mut sessions: BTreeMap<usize, (Arc<Session>, Result<()>)> = BTreeMap::new();
        let mut lines: Lines = BTreeMap::new();
        {
            let table = self.table();
            for ask in asks {
                let Some(entry) = table.alive(ask.claim.id, now) else { continue };
                let Some(session) = &entry.session else { continue };
                sessions
                    .entry(Arc::as_ptr(session) as usize)
                    .or_insert_with(|| (Arc::clone(session), Ok(())));
                if entry.state == State::Waiting {
                    let line = (session.id.clone(), ask.claim.name.clone());
                    lines.entry(line).or_insert_with(|| Ok(Line::default()));
                }
            }
        }
        let confirming = join_all(sessions.values_mut().map(|(session, confirmed)| async {
            *confirmed = self.confirm(session).await;
        }));
        let looking = join_all(lines.iter_mut().map(|((session, name), line)| async {
            *line = self.store.line_of(session, name).await;
        }));
        join(confirming, looking).await;
        asks.iter().map(|ask| self.renewed(ask, now, &sessions, &lines)).collect()
    }

    fn renewed(
        &self,
        ask: &Refresh,
        now: Moment,
        sessions: &BTreeMap<usize, (Arc<Session>, Result<()>)>,
        lines: &Lines,
    ) -> Result<Standing> {
        let id = ask.claim.id;
        let mut table = self.table();
        let Some(entry) = table.alive(id, now) else { return Ok(Standing::Gone) };
        let Some(session) = entry.session.clone().filter(|_| entry.state != State::Entering) else {
            return Err(busy());
        };
        match sessions.get(&(Arc::as_ptr(&session) as usize)) {
            Some((_, Ok(()))) => {}
            Some((_, Err(error))) => return Err(error.clone()),
            // It came under another session meanwhile: ask again.
            None => return Err(busy()),
        }
        let (place, stamp) = match &entry.state {
            State::Held(token) => (Place::Held(*token), 0),
            _ => match lines.get(&(session.id.clone(), ask.claim.name.clone())) {
                Some(Ok(line)) => (place(line, id), line.stamp),
                Some(Err(error)) => return Err(error.clone()),
                None => return Err(busy()),
            },
        };
        if table.settle(id, &place, stamp, now, Some(ask.ttl)) {
            return Ok(standing(place, ask.ttl, session.left(now)));
        }
        self.look_at(now);
        Ok(match place {
            Place::Refused(why) => Standing::Refused(why),
            _ => Standing::Gone,
        })
    }

    /// Makes sure that a session was confirmed lately. If it is over, its claims are.
    pub(super) async fn confirm(&self, session: &Arc<Session>) -> Result<()> {
        match self.sessions.confirm(session, &self.store, &self.env).await {
            Err(error) if error.kind() == ErrorKind::Lost => {
                self.purge();
                // The table knows that they are gone.
                Ok(())
            }
            other => other,
        }
    }

    /// Ends claims.
    pub(super) async fn leave(self: Arc<Self>, asks: Vec<Leave>) -> Batch<Result<()>> {
        match <[Leave; 1]>::try_from(asks) {
            Ok([ask]) => Batch::from_buf([self.leave_one(&ask).await]),
            Err(asks) => {
                each(
                    asks,
                    |ask| &ask.claim.name,
                    |ask| {
                        let inner = Arc::clone(&self);
                        Box::pin(async move { inner.leave_one(&ask).await })
                    },
                )
                .await
            }
        }
    }

    async fn leave_one(self: &Arc<Self>, ask: &Leave) -> Result<()> {
        let now = self.env.now();
        let id = ask.claim.id;
        if ask.manner == Manner::Revoke {
            return self.revoke(&ask.claim.name, id).await;
        }
        let going = self.table().leave(id, now);
        match going {
            Some(going) => {
                // Should this fail, it is tried again until the session is over.
                self.look_at(now + Duration::from_secs(1));
                self.exit(going).await
            }
            None => self.exit(Going { id, name: ask.claim.name.clone(), key: None }).await,
        }
    }

    /// Ends a contender, and then forgets its claim.
    pub(super) async fn exit(&self, going: Going) -> Result<()> {
        let key = match going.key {
            Some(key) => Some(key),
            None => self.store.line(&going.name).await?.key_of(going.id),
        };
        if let Some(key) = key {
            self.store.exit(&going.name, &key).await?;
        }
        let mut table = self.table();
        if table.get_mut(going.id).is_some_and(|entry| entry.state == State::Left) {
            table.forget(going.id);
        }
        Ok(())
    }

    /// Lets a claim run out: whoever holds keeps its place until it can no longer believe in it.
    async fn revoke(&self, name: &Name, id: ClaimId) -> Result<()> {
        let line = self.look_closely(name).await?;
        let Some(key) = line.key_of(id) else { return Ok(()) };
        if !matches!(place(&line, id), Place::Held(_)) {
            // Whoever waits has nothing to believe in.
            self.store.exit(name, &key).await?;
            self.table().forget(id);
            return Ok(());
        }
        self.store.revoke(name, &key).await?;
        self.mark_revoked(id);
        Ok(())
    }

    /// A claim of ours has been revoked; whether that is news.
    pub(super) fn mark_revoked(&self, id: ClaimId) -> bool {
        let mut table = self.table();
        let Some(entry) = table.get_mut(id).filter(|e| matches!(e.state, State::Held(_))) else {
            return false;
        };
        entry.state = State::Revoked;
        true
    }
}

/// What a client is told of a place.
fn standing(place: Place, ttl: Duration, left: Duration) -> Standing {
    let ttl = ttl.min(left);
    match place {
        Place::Held(token) => Standing::Held { token, ttl },
        Place::Queued { ahead, .. } => {
            let ttl = ttl.min(WAITING_TTL_MAX);
            // The store tells of every contender that goes, dead ones among them: there is nothing to look for earlier.
            Standing::Queued { ahead, ttl, look_again: ttl }
        }
        Place::Refused(why) => Standing::Refused(why),
        Place::Absent => Standing::Gone,
    }
}

fn busy() -> Error {
    Error::new(ErrorKind::Unavailable, "refresh", "another request for this claim is under way")
}

impl Line {
    /// The contender of a claim.
    pub(super) fn key_of(&self, id: ClaimId) -> Option<crate::ordered::store::Key> {
        self.contenders.iter().find(|c| c.id == Some(id)).map(|c| c.key.clone())
    }
}
