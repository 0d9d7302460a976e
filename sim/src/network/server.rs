//! The engine: applies requests when they arrive, answers when the network lets it, and restarts.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use leasehold_core::inbox::Inbox;
use leasehold_core::{
    Batch, Claim, ClaimId, Clock, Error, ErrorKind, Hint, Leave, Manner, Moment, Outcome, Page, Query,
    Refresh, Standing,
};
use tokio::sync::oneshot;

use crate::check::Verdict;
use crate::check::book::Book;
use crate::clock::SimClock;
use crate::dice::Dice;
use crate::executor::{Executor, NodeId, lock, nanos};
use crate::mutation::Mutation;
use crate::network::broken::Store;
use crate::network::faults::{Fate, Faults, Hinting, LAST_ARRIVAL};
use crate::trace::{Event, Log, Seen, Told};

/// A request on the wire.
#[derive(Clone, Debug)]
pub(crate) enum Request {
    Join(Batch<Claim>),
    Refresh(Batch<Refresh>),
    Leave(Batch<Leave>),
    Inspect(Query),
}

/// Its answer.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Standings(Vec<Standing>),
    Left,
    Page(Page),
}

type Sender = oneshot::Sender<Result<Answer, Error>>;
pub(crate) type Receiver = oneshot::Receiver<Result<Answer, Error>>;

/// Where a node's process can be reached.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) node: NodeId,
    /// Which of the node's processes, in order.
    pub(crate) life: u32,
    pub(crate) inbox: Inbox,
}

/// A call that waits for its answer: the first one counts.
struct Call {
    number: u64,
    sender: Mutex<Option<Sender>>,
}

struct State {
    store: Store,
    book: Book,
    peers: BTreeMap<ClaimId, Peer>,
    connected: BTreeMap<(NodeId, u32), Inbox>,
    dice: Dice,
    up: bool,
    /// How often it has been started.
    epoch: u32,
    requests: u64,
    /// Answers that were lost, for the defect that gives them to a later request.
    stale: BTreeMap<ClaimId, Answer>,
}

struct Inner {
    executor: Executor,
    clock: SimClock,
    faults: Faults,
    mutation: Option<Mutation>,
    log: Log,
    verdict: Verdict,
    state: Mutex<State>,
}

/// The engine. Cheap to clone; clones share all.
#[derive(Clone)]
pub struct Server(Arc<Inner>);

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("clock", &self.0.clock).finish_non_exhaustive()
    }
}

fn unavailable(message: &'static str, outcome: Outcome) -> Error {
    Error::new(ErrorKind::Unavailable, "request", message).with_outcome(outcome)
}

impl Server {
    /// An engine that is up and empty.
    pub fn new(
        executor: &Executor,
        clock: &SimClock,
        faults: Faults,
        mutation: Option<Mutation>,
        log: &Log,
        verdict: &Verdict,
        dice: Dice,
    ) -> Self {
        let state = State {
            store: Store::new(clock.wall_micros(), mutation),
            book: Book::default(),
            peers: BTreeMap::new(),
            connected: BTreeMap::new(),
            dice,
            up: true,
            epoch: 0,
            requests: 0,
            stale: BTreeMap::new(),
        };
        Self(Arc::new(Inner {
            executor: executor.clone(),
            clock: clock.clone(),
            faults,
            mutation,
            log: log.clone(),
            verdict: verdict.clone(),
            state: Mutex::new(state),
        }))
    }

    /// What the checks know of the claims.
    pub(crate) fn book<T>(&self, look: impl FnOnce(&Book) -> T) -> T {
        look(&lock(&self.0.state).book)
    }

    /// Who stands where, as the engine has it now.
    pub(crate) fn page(&self) -> Page {
        let now = self.now();
        lock(&self.0.state).store.inspect(now, &Query { limit: usize::MAX, ..Query::default() })
    }

    /// The engine stops: what is on its way to it or from it is lost.
    pub(crate) fn stop(&self) {
        let mut state = lock(&self.0.state);
        state.up = false;
        state.epoch += 1;
    }

    /// It starts again.
    pub(crate) fn start(&self) {
        let mut state = lock(&self.0.state);
        let gap = state.dice.below(1000);
        state.store.restart(gap);
        state.up = true;
    }

    /// A process connects.
    pub(crate) fn connect(&self, peer: &Peer) {
        lock(&self.0.state).connected.insert((peer.node, peer.life), peer.inbox.clone());
    }

    /// All waiters of all processes are told to look, as after a new connection.
    pub(crate) fn look(&self) {
        let inboxes: Vec<Inbox> = lock(&self.0.state).connected.values().cloned().collect();
        inboxes.iter().for_each(Inbox::look);
    }

    /// The time that claims live by.
    fn now(&self) -> Moment {
        if self.0.mutation == Some(Mutation::WallClockExpiry) {
            return Moment::from_nanos(self.0.clock.wall_micros().saturating_mul(1000));
        }
        self.0.clock.now()
    }

    /// Sends a request.
    pub(crate) fn send(&self, peer: &Peer, request: Request) -> Receiver {
        let now = self.0.executor.now();
        let (sender, receiver) = oneshot::channel();
        let mut state = lock(&self.0.state);
        state.requests += 1;
        let call = Arc::new(Call { number: state.requests, sender: Mutex::new(Some(sender)) });
        let (verb, ids) = describe(&request);
        match &request {
            Request::Join(_) => ids.iter().for_each(|id| drop(state.peers.insert(*id, peer.clone()))),
            Request::Leave(items) => state.book.asked_to_leave(items),
            Request::Refresh(_) | Request::Inspect(_) => {}
        }
        let fate = self.0.faults.fate(now, &mut state.dice);
        self.log(&Event::Sends(peer.node, call.number, verb, ids.clone()));
        if self.0.mutation == Some(Mutation::StaleReply)
            && let [id] = ids[..]
            && verb == "refresh"
            && let Some(answer) = state.stale.remove(&id)
        {
            self.answer_at(&call, now + nanos(self.0.faults.delay.1), state.epoch, answer);
        }
        // When the faults end, connections are made anew, and what hung on the old ones fails.
        let last = self.0.faults.until + nanos(LAST_ARRIVAL);
        let limit = fate.timeout.map_or(last, |span| now + nanos(span));
        let limit = if now < self.0.faults.until { limit.min(last) } else { limit };
        if let Some(delay) = fate.request {
            let at = self.0.faults.arrival(now, delay, &mut state.dice);
            let (server, call, peer, request) =
                (self.clone(), Arc::clone(&call), peer.clone(), request.clone());
            self.0.executor.at(at, move || server.receive(&peer, &request, &call, fate, limit));
        } else {
            self.fail_at(&call, limit, "no answer in time", Outcome::Unknown);
        }
        if let Some(delay) = fate.duplicate {
            let at = self.0.faults.arrival(now, delay, &mut state.dice);
            let (server, peer, number) = (self.clone(), peer.clone(), call.number);
            self.0.executor.at(at, move || {
                let mut state = lock(&server.0.state);
                if state.up {
                    server.apply(&mut state, &peer, number, &request);
                }
            });
        }
        receiver
    }

    /// A request arrives for the first time.
    fn receive(&self, peer: &Peer, request: &Request, call: &Arc<Call>, fate: Fate, limit: u64) {
        let now = self.0.executor.now();
        let mut state = lock(&self.0.state);
        let delay = self.0.faults.delay(now, &mut state.dice);
        let back = self.0.faults.arrival(now, delay, &mut state.dice).min(limit.max(now));
        if !state.up {
            self.log(&Event::Deaf(call.number));
            return self.fail_at(call, back, "the engine is down", Outcome::NotApplied);
        }
        if fate.turn_away {
            return self.fail_at(call, back, "the engine is busy", Outcome::NotApplied);
        }
        let answer = self.apply(&mut state, peer, call.number, request);
        match (fate.reply, fate.resend) {
            (Some(delay), _) => {
                let at = self.0.faults.arrival(now, delay, &mut state.dice);
                if at > limit {
                    self.fail_at(call, limit.max(now), "no answer in time", Outcome::Unknown);
                }
                self.answer_at(call, at, state.epoch, answer);
            }
            (None, Some(delay)) => {
                let at = self.0.faults.arrival(now, delay, &mut state.dice);
                let (server, peer, request, call) =
                    (self.clone(), peer.clone(), request.clone(), Arc::clone(call));
                let again = Fate { reply: Some(self.0.faults.delay.1), turn_away: false, ..fate };
                self.0.executor.at(at, move || server.receive(&peer, &request, &call, again, limit));
            }
            (None, None) => {
                self.fail_at(call, limit.max(now), "no answer in time", Outcome::Unknown);
                if self.0.mutation == Some(Mutation::StaleReply)
                    && matches!(answer, Answer::Standings(_))
                    && let (_, ids) = describe(request)
                    && let [id] = ids[..]
                {
                    state.stale.insert(id, answer);
                }
            }
        }
    }

    /// Applies a request, and sends the hints that come of it.
    fn apply(
        &self,
        state: &mut MutexGuard<'_, State>,
        peer: &Peer,
        number: u64,
        request: &Request,
    ) -> Answer {
        let (now, shows) = (self.now(), self.0.clock.now());
        let State { store, book, .. } = &mut **state;
        let seen = |id: ClaimId, standing: &Standing| self.log(&Event::Applies(number, id, standing.into()));
        let answer = match request {
            Request::Join(claims) => Answer::Standings(
                claims
                    .iter()
                    .map(|claim| {
                        let standing = store.join(now, claim);
                        seen(claim.id, &standing);
                        book.joined(shows, claim, peer, &standing);
                        standing
                    })
                    .collect(),
            ),
            Request::Refresh(asks) => Answer::Standings(
                asks.iter()
                    .map(|ask| {
                        let standing = store.refresh(now, ask);
                        seen(ask.claim.id, &standing);
                        if let Err(violation) = book.refreshed(shows, ask, &standing) {
                            self.0.verdict.violated(violation);
                        }
                        standing
                    })
                    .collect(),
            ),
            Request::Leave(leaves) => {
                for leave in leaves {
                    store.leave(now, leave);
                    self.log(&Event::Applies(number, leave.claim.id, Seen::Left));
                    book.left(shows, leave);
                }
                Answer::Left
            }
            Request::Inspect(query) => Answer::Page(store.inspect(now, query)),
        };
        let handed_over = store.hand_overs();
        for told in handed_over {
            state.book.handed_over(shows, told.id);
            self.hint(state, told.id, Hint::Held(told.token));
        }
        answer
    }

    /// Sends a hint, or not.
    fn hint(&self, state: &mut State, id: ClaimId, hint: Hint) {
        let (now, faults) = (self.0.executor.now(), &self.0.faults);
        let faulty = now < faults.until;
        let Some(peer) = state.peers.get(&id).cloned() else { return };
        let hint = match faults.hinting {
            Hinting::Silent => return,
            Hinting::Held => hint,
            Hinting::Look => Hint::Look,
            Hinting::Mixed if state.dice.per_mille(500) => hint,
            Hinting::Mixed => Hint::Look,
        };
        if faulty && state.dice.per_mille(faults.lose_hint) {
            return;
        }
        let copies = if faulty && state.dice.per_mille(faults.double_hint) { 2 } else { 1 };
        for _ in 0..copies {
            let delay = faults.delay(now, &mut state.dice);
            let at = faults.arrival(now, delay, &mut state.dice);
            let (server, epoch, inbox) = (self.clone(), state.epoch, peer.inbox.clone());
            self.0.executor.at(at, move || {
                if lock(&server.0.state).epoch == epoch {
                    server.log(&Event::Hints(id, Told::Hint(hint)));
                    inbox.deliver(id, hint);
                }
            });
        }
    }

    /// The answer arrives, unless the engine stops before.
    fn answer_at(&self, call: &Arc<Call>, at: u64, epoch: u32, answer: Answer) {
        let (server, call) = (self.clone(), Arc::clone(call));
        self.0.executor.at(at, move || {
            if lock(&server.0.state).epoch != epoch {
                return server.fail(&call, "the connection is broken", Outcome::Unknown);
            }
            if let Some(sender) = lock(&call.sender).take() {
                server.log(&Event::Answers(call.number));
                // Nobody may be there any more to hear it.
                drop(sender.send(Ok(answer)));
            }
        });
    }

    fn fail_at(&self, call: &Arc<Call>, at: u64, why: &'static str, outcome: Outcome) {
        let (server, call) = (self.clone(), Arc::clone(call));
        self.0.executor.at(at, move || server.fail(&call, why, outcome));
    }

    fn fail(&self, call: &Call, why: &'static str, outcome: Outcome) {
        if let Some(sender) = lock(&call.sender).take() {
            self.log(&Event::Fails(call.number, why));
            drop(sender.send(Err(unavailable(why, outcome))));
        }
    }

    fn log(&self, event: &Event) {
        self.0.log.add(self.0.executor.now(), event);
    }
}

/// A request's verb and whom it is about.
fn describe(request: &Request) -> (&'static str, Vec<ClaimId>) {
    match request {
        Request::Join(claims) => ("join", claims.iter().map(|c| c.id).collect()),
        Request::Refresh(asks) => ("refresh", asks.iter().map(|a| a.claim.id).collect()),
        Request::Leave(leaves) if leaves.iter().any(|l| l.manner == Manner::Revoke) => {
            ("revoke", leaves.iter().map(|l| l.claim.id).collect())
        }
        Request::Leave(leaves) => ("leave", leaves.iter().map(|l| l.claim.id).collect()),
        Request::Inspect(_) => ("inspect", Vec::new()),
    }
}
