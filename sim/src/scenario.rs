//! The case in which a majority of clocks has two holders, step by step, and what a storage that checks tokens makes
//! of it.
//!
//! Five nodes, TTL 10 s. At 1 s a network splits: the first client reaches nodes 0 and 1, the second nodes 2, 3 and 4,
//! and the clocks of those jump ahead by 10 s. There the first client's leases run out early, and the second client gets
//! its majority. Until its deadline the first one cannot know.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use leasehold_core::{Client, Clock, Engine, Env, Lease, Token};
use leasehold_quorum::{Config, Quorum};

use crate::check::Verdict;
use crate::check::fence::Storage;
use crate::clock::{Course, SimClock};
use crate::dice::{Dice, SimRng};
use crate::executor::{Executor, NodeId, Step, True, lock, nanos};
use crate::network::engine::SimEngine;
use crate::network::faults::{Faults, Hinting};
use crate::network::server::{Make, Server};
use crate::trace::Log;
use crate::world::plan::Plan;

const TTL: Duration = Duration::from_secs(10);
const SPLIT_AT: Duration = Duration::from_secs(1);
const NODES: usize = 5;
/// The nodes that the first client still reaches.
const FIRST_REACHES: usize = 2;
const WALL_MICROS: u64 = 1_790_000_000_000_000;

/// What happened.
#[derive(Clone, Debug, Default)]
pub struct TwoHolders {
    /// The token of the first holder, and that of the second.
    pub tokens: Option<(Token, Token)>,
    /// When both believed that they hold, and were valid by their own clocks.
    pub both_at: Option<True>,
    /// Whether the storage took the second holder's write.
    pub second_wrote: bool,
    /// Whether it took the first holder's write after that.
    pub first_wrote: bool,
    /// When the first holder learned that it had lost.
    pub first_lost_at: Option<True>,
    /// What happened, in words.
    pub story: Vec<String>,
}

struct Stage {
    executor: Executor,
    servers: Vec<Server>,
    clocks: Vec<SimClock>,
    storage: Storage,
    first: Mutex<Option<(Lease, u64)>>,
    seen: Mutex<TwoHolders>,
}

/// No faults but those of the scenario.
fn calm() -> Faults {
    Faults {
        until: 0,
        delay: (Duration::from_micros(100), Duration::from_millis(1)),
        slow_most: TTL,
        slow: 0,
        lose_request: 0,
        lose_reply: 0,
        duplicate: 0,
        resend: 0,
        turn_away: 0,
        hang: 0,
        timeout: Duration::from_secs(2),
        hinting: Hinting::Held,
        lose_hint: 0,
        double_hint: 0,
    }
}

/// Plays it.
pub fn two_holders() -> TwoHolders {
    let executor = Executor::new(2, Dice::new(0, 2));
    let (log, verdict) = (Log::new(false), Verdict::default());
    let course = || Course::new(Duration::from_secs(100), 0, WALL_MICROS);
    let server = |nth: usize| {
        let mut course = course();
        if nth >= FIRST_REACHES {
            course.jump(nanos(SPLIT_AT), TTL.as_micros() as i64);
        }
        let clock = SimClock::new(executor.clone(), course);
        let dice = Dice::new(0, 10 + nth as u64);
        let make = Make { nth: nth as u64, mutation: None, by_wall: true };
        Server::new(&executor, &clock, calm(), make, &log, &verdict, dice)
    };
    let servers: Vec<Server> = (0..NODES).map(server).collect();
    for (nth, server) in servers.iter().enumerate() {
        // Each side of the split is cut off from the other.
        let (server, from) = (server.clone(), if nth < FIRST_REACHES { 1 } else { 0 });
        executor.at(nanos(SPLIT_AT), move || server.cut(from, true));
    }
    let clocks = (0..2).map(|_| SimClock::new(executor.clone(), course())).collect();
    let stage = Arc::new(Stage {
        executor: executor.clone(),
        servers,
        clocks,
        storage: Storage::default(),
        first: Mutex::default(),
        seen: Mutex::default(),
    });
    executor.spawn(0, first(Arc::clone(&stage)));
    executor.spawn(1, second(Arc::clone(&stage)));
    while executor.step(nanos(TTL * 2)) != Step::Idle {}
    executor.clear();
    lock(&stage.seen).clone()
}

/// Locks, and works until it learns that it has lost.
async fn first(stage: Arc<Stage>) {
    let client = stage.client(0);
    let Ok(mutex) = client.mutex("account") else { return };
    let Ok(guard) = mutex.ttl(TTL).lock().await else { return };
    let Some(read) = stage.storage.enter(0, guard.token(), true) else { return };
    stage.tell(format!("the first client holds with {:?} and has read version {read}", guard.token()));
    *lock(&stage.first) = Some((Lease::clone(&guard), read));
    guard.lost().await;
    stage.tell("the first client learns that it has lost".into());
    lock(&stage.seen).first_lost_at = Some(stage.executor.now());
}

/// Locks after the split, and writes; then the first one writes what it has in hand.
async fn second(stage: Arc<Stage>) {
    let client = stage.client(1);
    stage.executor.sleep_until(nanos(SPLIT_AT) + 1_000_000).await;
    stage.tell("the network is split; the clocks of nodes 2, 3 and 4 have jumped by 10 s".into());
    let Ok(mutex) = client.mutex("account") else { return };
    let Ok(guard) = mutex.ttl(TTL).lock().await else { return };
    let Some(read) = stage.storage.enter(0, guard.token(), true) else { return };
    stage.tell(format!("the second client holds with {:?} and has read version {read}", guard.token()));
    let Some((stale, stale_read)) = lock(&stage.first).take() else { return };
    let now = stage.executor.now();
    let both = stale.is_valid() && guard.is_valid();
    let write = |token, read| stage.storage.write(0, token, read, now).unwrap_or(true);
    let second_wrote = write(guard.token(), read);
    let first_wrote = write(stale.token(), stale_read);
    let took = |wrote| if wrote { "takes" } else { "refuses" };
    stage.tell(format!("both are valid by their own clocks: {both}"));
    stage.tell(format!("the storage {} the second one's write", took(second_wrote)));
    stage.tell(format!("the storage {} the first one's write", took(first_wrote)));
    {
        let mut seen = lock(&stage.seen);
        seen.tokens = Some((stale.token(), guard.token()));
        seen.both_at = both.then_some(now);
        (seen.second_wrote, seen.first_wrote) = (second_wrote, first_wrote);
    }
    stage.executor.sleep(TTL).await;
    drop(guard);
}

impl Stage {
    fn tell(&self, what: String) {
        let at = self.executor.now() as f64 / 1e9;
        lock(&self.seen).story.push(format!("{at:9.6} s  {what}"));
    }

    fn client(&self, node: NodeId) -> Client {
        let info = Plan::draw_quorum(0).info;
        let nodes = self.servers.iter().enumerate().map(|(nth, server)| {
            let engine: Arc<dyn Engine> = Arc::new(SimEngine::new(info.clone(), server.clone(), node, 0));
            (format!("node {nth}"), engine)
        });
        let clock: Arc<dyn Clock> = Arc::new(self.clocks[node].clone());
        let env = |part| {
            let rng = SimRng::new(Dice::new(node as u64, part));
            Env { clock: Arc::clone(&clock), rng: Arc::new(rng) }
        };
        let opened = Quorum::new(nodes.collect(), Config::default(), env(1)).and_then(|(quorum, tail)| {
            self.executor.spawn(node, tail.run());
            Client::builder(quorum).env(env(2)).owner(&format!("client {node}")).build()
        });
        match opened {
            Ok((client, driver)) => {
                self.executor.spawn(node, driver.run());
                client
            }
            Err(error) => unreachable!("these nodes make a quorum: {error:?}"),
        }
    }
}
