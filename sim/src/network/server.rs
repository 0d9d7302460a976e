//! The engine: applies requests when they arrive, answers when the network lets it, and restarts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use leasehold_core::inbox::Inbox;
use leasehold_core::{ClaimId, Clock, Error, ErrorKind, Hint, Moment, Outcome, Page, Query, Standing, Token};
use tokio::sync::oneshot;

use crate::check::Verdict;
use crate::check::book::Book;
use crate::clock::SimClock;
use crate::dice::Dice;
use crate::executor::{Executor, NodeId, True, lock, nanos};
use crate::mutation::Mutation;
use crate::network::broken::Store;
use crate::network::faults::{Fate, Faults, Hinting, LAST_ARRIVAL};
use crate::network::wire::{Answer, Request, describe, proposals};
use crate::trace::{Event, Log, Seen, Told};

type Sender = oneshot::Sender<Result<Answer, Error>>;
pub(crate) type Receiver = oneshot::Receiver<Result<Answer, Error>>;

/// How many numbers of requests each node of a quorum has, so that a trace tells them apart.
pub(crate) const NUMBERS: u64 = 100_000;

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
    /// The nodes that it cannot be reached from.
    cut: BTreeSet<NodeId>,
    /// When each token was proposed for the first time.
    proposed: BTreeMap<Token, True>,
    /// Answers that were lost, for the defect that gives them to a later request.
    stale: BTreeMap<ClaimId, Answer>,
}

struct Inner {
    executor: Executor,
    clock: SimClock,
    faults: Faults,
    mutation: Option<Mutation>,
    /// Claims live by its wall clock, which jumps.
    by_wall: bool,
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

/// What tells an engine from others.
#[derive(Clone, Copy, Debug, Default)]
pub struct Make {
    /// Which node of a quorum it is.
    pub nth: u64,
    /// Its defect.
    pub mutation: Option<Mutation>,
    /// Whether claims live by its wall clock, which jumps.
    pub by_wall: bool,
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
        Make { nth, mutation, by_wall }: Make,
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
            requests: nth * NUMBERS,
            cut: BTreeSet::new(),
            proposed: BTreeMap::new(),
            stale: BTreeMap::new(),
        };
        Self(Arc::new(Inner {
            executor: executor.clone(),
            clock: clock.clone(),
            faults,
            mutation,
            by_wall,
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

    /// It has lost its data, and starts again.
    pub(crate) fn wipe(&self) {
        let mut state = lock(&self.0.state);
        state.store = Store::new(self.0.clock.wall_micros(), self.0.mutation);
        state.book.wiped();
        state.up = true;
    }

    /// Nothing gets from a node to the engine or back, until it does.
    pub(crate) fn cut(&self, node: NodeId, cut: bool) {
        let mut state = lock(&self.0.state);
        if cut {
            state.cut.insert(node)
        } else {
            state.cut.remove(&node)
        };
    }

    /// When this token was proposed for the first time.
    pub(crate) fn proposed_at(&self, token: Token) -> Option<True> {
        lock(&self.0.state).proposed.get(&token).copied()
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
        if self.0.by_wall || self.0.mutation == Some(Mutation::WallClockExpiry) {
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
        for token in proposals(&request) {
            state.proposed.entry(token).or_insert(now);
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
                if state.up && !state.cut.contains(&peer.node) {
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
        if state.cut.contains(&peer.node) {
            return self.fail_at(call, limit.max(now), "no answer in time", Outcome::Unknown);
        }
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
                self.answer_from(peer.node, call, at, state.epoch, answer);
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
                        // Where clocks jump, the dead may come to life.
                        if let Err(violation) = book.refreshed(shows, ask, &standing)
                            && !self.0.by_wall
                        {
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
            let (server, epoch, inbox, node) = (self.clone(), state.epoch, peer.inbox.clone(), peer.node);
            self.0.executor.at(at, move || {
                let state = lock(&server.0.state);
                let arrives = state.epoch == epoch && !state.cut.contains(&node);
                drop(state);
                if arrives {
                    server.log(&Event::Hints(id, Told::Hint(hint)));
                    inbox.deliver(id, hint);
                }
            });
        }
    }

    /// The answer arrives, unless the node is cut off before.
    fn answer_from(&self, node: NodeId, call: &Arc<Call>, at: True, epoch: u32, answer: Answer) {
        let (server, call) = (self.clone(), Arc::clone(call));
        self.0.executor.at(at, move || {
            if lock(&server.0.state).cut.contains(&node) {
                let (now, faults) = (server.0.executor.now(), &server.0.faults);
                let last = faults.until + nanos(LAST_ARRIVAL);
                let late = (now + nanos(faults.timeout)).min(last).max(now);
                return server.fail_at(&call, late, "no answer in time", Outcome::Unknown);
            }
            server.answer(&call, epoch, answer);
        });
    }

    /// The answer arrives, unless the engine stops before.
    fn answer_at(&self, call: &Arc<Call>, at: u64, epoch: u32, answer: Answer) {
        let (server, call) = (self.clone(), Arc::clone(call));
        self.0.executor.at(at, move || server.answer(&call, epoch, answer));
    }

    fn answer(&self, call: &Call, epoch: u32, answer: Answer) {
        if lock(&self.0.state).epoch != epoch {
            return self.fail(call, "the connection is broken", Outcome::Unknown);
        }
        if let Some(sender) = lock(&call.sender).take() {
            self.log(&Event::Answers(call.number));
            // Nobody may be there any more to hear it.
            drop(sender.send(Ok(answer)));
        }
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
