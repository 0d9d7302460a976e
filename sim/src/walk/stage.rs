//! What the scenes have in common: two clients, the nodes, the storage, and the time.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use leasehold_core::engine::Wakeups;
use leasehold_core::{Client, Engine, EngineInfo, Env, Guard, Lease, Token};
use leasehold_fence::{Memory, Stale};
use leasehold_quorum::{Config, Order, Quorum};

use super::{Terms, Walk, part};
use crate::check::Verdict;
use crate::clock::{Course, SimClock};
use crate::dice::{Dice, SimRng};
use crate::executor::{Executor, NodeId, Step, True, lock, nanos};
use crate::network::engine::SimEngine;
use crate::network::faults::{Faults, Hinting};
use crate::network::server::{Make, Server};
use crate::trace::{Ear, Event, Log, Speaker};

/// The first client.
pub(super) const A: NodeId = 0;
/// The second.
pub(super) const B: NodeId = 1;
/// Whoever lets things happen to them.
const DIRECTOR: NodeId = 2;
/// Which lock it is all about.
const LOCK: &str = "account";
/// What the wall clocks of the nodes show when they start, in microseconds. Tokens begin above it: with a small one they
/// are easy to read.
const NODE_WALL_MICROS: u64 = 99;
/// Those of the clients, which propose tokens to a quorum.
const CLIENT_WALL_MICROS: u64 = 100;
/// What is in the storage at first.
const BALANCE: u64 = 100;
/// What A and B add to it.
const ADDS: [u64; 2] = [1, 10];

/// How somebody came to hold.
#[derive(Clone, Debug)]
pub(super) struct Holding {
    pub(super) asked: True,
    pub(super) began: True,
    pub(super) token: Token,
    /// How long its guard was valid then.
    pub(super) remaining: Duration,
    /// What it knows of its hold since.
    lease: Lease,
}

/// A number that two add to, behind a fence; and the same number where nobody checks tokens.
#[derive(Debug)]
pub(super) struct Storage {
    fence: Memory,
    fenced: Mutex<u64>,
    plain: Mutex<u64>,
    /// When it has refused somebody for the first time.
    refused: Mutex<Option<True>>,
}

/// Everything that is on the stage.
pub(super) struct Stage {
    pub(super) terms: Terms,
    pub(super) executor: Executor,
    pub(super) servers: Vec<Server>,
    pub(super) log: Log,
    /// What was logged while it was played.
    pub(super) heard: Mutex<Vec<(True, Event)>>,
    pub(super) storage: Storage,
    pub(super) clients: Mutex<[Option<Client>; 2]>,
    pub(super) holdings: Mutex<[Option<Holding>; 2]>,
    /// When both believed that they hold.
    pub(super) believers: Mutex<Option<True>>,
}

impl Stage {
    pub(super) fn new(walk: Walk, terms: &Terms, nodes: usize) -> Arc<Self> {
        let (executor, log) = (Executor::instant(DIRECTOR + 1, Dice::new(0, 2)), Log::new(true));
        let (ttl, half) = (terms.ttl, terms.latency / 2);
        // No faults but those of the scene.
        let faults = Faults {
            until: 0,
            delay: (half, half),
            slow_most: ttl,
            slow: 0,
            lose_request: 0,
            lose_reply: 0,
            duplicate: 0,
            resend: 0,
            turn_away: 0,
            hang: 0,
            timeout: ttl / 5,
            hinting: Hinting::Held,
            lose_hint: 0,
            double_hint: 0,
        };
        let course = |micros| Course::new(ttl, 0, micros);
        // Where clocks jump, claims live by clocks that can.
        let jumps = walk == Walk::Partition;
        let server = |nth: usize| {
            let mut course = course(NODE_WALL_MICROS);
            if jumps && nth < majority(nodes) {
                course.jump(split_at(ttl), ttl.as_micros() as i64);
            }
            let clock = SimClock::new(executor.clone(), course);
            let make = Make { nth: nth as u64, mutation: None, by_wall: jumps };
            let dice = Dice::new(0, 10 + nth as u64);
            Server::new(&executor, &clock, faults.clone(), make, &log, &Verdict::default(), dice)
        };
        let servers: Vec<Server> = (0..nodes).map(server).collect();
        let order = if walk == Walk::Normal { Order::OneByOne } else { Order::Together };
        let clients = [A, B].map(|who| {
            let clock = SimClock::new(executor.clone(), course(CLIENT_WALL_MICROS));
            Some(client(who, &executor, &clock, &servers, order, &log))
        });
        let storage = Storage {
            fence: Memory::new(),
            fenced: Mutex::new(BALANCE),
            plain: Mutex::new(BALANCE),
            refused: Mutex::default(),
        };
        Arc::new(Self {
            terms: Terms { nodes: Some(nodes), ..*terms },
            executor,
            servers,
            log,
            heard: Mutex::default(),
            storage,
            clients: Mutex::new(clients),
            holdings: Mutex::default(),
            believers: Mutex::default(),
        })
    }

    /// How many nodes are a majority.
    pub(super) fn majority(&self) -> usize {
        majority(self.servers.len())
    }

    pub(super) fn now(&self) -> True {
        self.executor.now()
    }

    /// Has a client do something.
    pub(super) fn act<F: Future<Output = ()> + Send + 'static>(
        self: &Arc<Self>,
        who: NodeId,
        act: impl FnOnce(Arc<Self>) -> F,
    ) {
        self.executor.spawn(who, act(Arc::clone(self)));
    }

    /// Has something done at a time, whatever the clients do.
    pub(super) fn at(self: &Arc<Self>, at: True, run: impl FnOnce(&Self) + Send + 'static) {
        let stage = Arc::clone(self);
        self.executor.at(at, move || run(&stage));
    }

    /// Plays until then, and takes all off the stage.
    pub(super) fn play(&self, until: True) {
        while self.executor.step(until) != Step::Idle {}
        // What destructors do is no part of it.
        *lock(&self.heard) = self.log.take();
        self.executor.clear();
        *lock(&self.clients) = [None, None];
    }

    pub(super) fn says(&self, who: Speaker, what: impl Into<String>) {
        self.log.add(self.now(), &Event::Says(who, what.into()));
    }

    /// Locks; `None` if it cannot be had, which is told.
    pub(super) async fn lock(&self, who: NodeId) -> Option<Guard> {
        let asked = self.now();
        self.says(Speaker::Client(who), "asks for the lock");
        let client = lock(&self.clients)[who].clone()?;
        let mutex = client.mutex(LOCK).map(|mutex| mutex.ttl(self.terms.ttl));
        let locked = match mutex {
            Ok(mutex) => mutex.lock().await,
            Err(error) => Err(error),
        };
        match locked {
            Ok(guard) => {
                let (began, token, remaining) = (self.now(), guard.token(), guard.remaining());
                let valid = super::story::span(nanos(remaining));
                self.says(Speaker::Client(who), format!("holds with token {token}, valid for {valid}"));
                let lease = Lease::clone(&guard);
                lock(&self.holdings)[who] = Some(Holding { asked, began, token, remaining, lease });
                self.believers();
                Some(guard)
            }
            Err(error) => {
                self.says(Speaker::Client(who), format!("does not get it: {error}"));
                None
            }
        }
    }

    /// Looks whether both believe that they hold.
    fn believers(&self) {
        let holdings = lock(&self.holdings);
        if holdings.iter().flatten().filter(|holding| holding.lease.is_valid()).count() == 2 {
            drop(holdings);
            lock(&self.believers).get_or_insert(self.now());
            self.says(
                Speaker::World,
                "A and B both believe that they hold, and no clock of theirs says otherwise",
            );
        }
    }

    /// Raises the fence of the storage, and reads.
    pub(super) async fn read(&self, who: NodeId, guard: &Guard) -> Option<u64> {
        match self.storage.fence.enter(guard).await {
            Ok(_inside) => {
                let balance = *lock(&self.storage.fenced);
                self.says(
                    Speaker::Storage,
                    format!("is raised to token {} by {}, which reads {balance}", guard.token(), name(who)),
                );
                Some(balance)
            }
            Err(stale) => {
                self.refuses(who, &stale);
                None
            }
        }
    }

    /// Writes what follows from what was read. The storage that checks nothing takes it in any case.
    pub(super) async fn write(&self, who: NodeId, guard: &Guard, read: u64) {
        let balance = read + ADDS[who];
        let bare = std::mem::replace(&mut *lock(&self.storage.plain), balance);
        match self.storage.fence.enter(guard).await {
            Ok(_inside) => {
                *lock(&self.storage.fenced) = balance;
                let token = guard.token();
                self.says(Speaker::Storage, format!("takes {balance} from {} with token {token}", name(who)));
            }
            Err(stale) => self.refuses(who, &stale),
        }
        if bare != read {
            self.says(
                Speaker::Storage,
                format!("where no token is checked, {balance} is written over {bare}: an update is lost"),
            );
        }
    }

    fn refuses(&self, who: NodeId, stale: &Stale) {
        lock(&self.storage.refused).get_or_insert(self.now());
        self.says(Speaker::Storage, format!("refuses {}: {stale}", name(who)));
    }

    /// When it has refused somebody.
    pub(super) fn refused(&self) -> Option<True> {
        *lock(&self.storage.refused)
    }

    /// What is in the storage, and in the one that checks nothing.
    pub(super) fn balances(&self) -> (u64, u64) {
        (*lock(&self.storage.fenced), *lock(&self.storage.plain))
    }

    /// A client's process dies, without a chance to let go.
    pub(super) fn crash(&self, who: NodeId) {
        self.log.add(self.now(), &Event::Nemesis("crash", who));
        self.executor.kill(who);
        lock(&self.clients)[who] = None;
    }

    /// The clock of a node jumps.
    pub(super) fn jumps(&self, nth: usize) {
        self.log.add(self.now(), &Event::Nemesis("jump", nth));
    }

    /// A client's process stands still.
    pub(super) fn pause(&self, who: NodeId) {
        self.log.add(self.now(), &Event::Nemesis("pause", who));
        self.executor.pause(who);
    }

    /// It goes on, and knows nothing of it.
    pub(super) fn resume(&self, who: NodeId) {
        self.log.add(self.now(), &Event::Nemesis("resume", who));
        self.executor.resume(who);
    }
}

/// When the network splits, where it does.
pub(super) fn split_at(ttl: Duration) -> True {
    part(ttl, 2)
}

fn majority(nodes: usize) -> usize {
    nodes / 2 + 1
}

/// A client's name.
pub(super) fn name(who: NodeId) -> &'static str {
    if who == A { "A" } else { "B" }
}

fn client(
    who: NodeId,
    executor: &Executor,
    clock: &SimClock,
    servers: &[Server],
    order: Order,
    log: &Log,
) -> Client {
    let mut info = EngineInfo::least("sim");
    info.wakeups = Wakeups::Push;
    info.ttl_min = Duration::from_millis(10);
    info.ttl_max = super::TTL_MAX;
    info.raise = true;
    let env = |part| {
        let rng = SimRng::new(Dice::new(who as u64, part));
        Env { clock: Arc::new(clock.clone()), rng: Arc::new(rng) }
    };
    let connect = |server: &Server| -> Arc<dyn Engine> {
        Arc::new(SimEngine::new(info.clone(), server.clone(), who, 0))
    };
    let engine = match servers {
        [server] => Ok(connect(server)),
        _ => {
            let nodes =
                servers.iter().enumerate().map(|(nth, node)| (format!("node {}", nth + 1), connect(node)));
            Quorum::new(nodes.collect(), Config::default().order(order), env(1)).map(|(quorum, tail)| {
                executor.spawn(who, tail.run());
                Arc::new(quorum) as Arc<dyn Engine>
            })
        }
    };
    let ear = Ear { node: who, executor: executor.clone(), log: log.clone() };
    let built = engine.and_then(|engine| {
        Client::builder_dyn(engine).env(env(2)).owner(name(who)).observer(Arc::new(ear)).build()
    });
    match built {
        Ok((client, driver)) => {
            executor.spawn(who, driver.run());
            client
        }
        Err(error) => unreachable!("these nodes can be had: {error:?}"),
    }
}
