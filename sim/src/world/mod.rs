//! A run: nodes with the real client, an engine, a network and a nemesis, from a seed to a verdict.

pub(crate) mod engines;
pub(crate) mod nemesis;
pub mod plan;
pub(crate) mod task;
pub mod want;
pub mod watch;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use leasehold_core::client::rules::Rules;
use leasehold_core::{Client, Env};

use crate::check::fence::Storage;
use crate::check::history::Grant;
use crate::check::{Rule, Verdict, Violation, at_least, exclusion, fifo, leaks, tokens};
use crate::clock::{Course, SimClock};
use crate::dice::{Dice, SimRng};
use crate::executor::{Executor, NodeId, Step, True, lock, nanos};
use crate::mutation::Mutation;
use crate::network::server::{Make, Server};
use crate::trace::{CallId, Ear, Log};
use crate::world::plan::{Plan, Realm, Trouble};
use crate::world::task::Task;
use crate::world::watch::Watch;

/// When all tasks are done, everything must have been left this soon: a failed `leave` is repeated after a second
/// at the most.
const CLEAN_AFTER: Duration = Duration::from_secs(3);

/// More steps than this are no run any more, but somebody who spins.
const STEPS_MAX: u64 = 1_000_000;

/// So many times the queues are looked at before the faults end.
const LOOKS: u64 = 20;

/// What came of a run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// The rule that was broken, if one was.
    pub violation: Option<Violation>,
    /// How many events there were, and their hash.
    pub digest: (u64, u64),
    /// How many guards were handed out.
    pub grants: usize,
    /// How much time was simulated.
    pub simulated: Duration,
    /// The trace, if it was wanted.
    pub lines: Vec<String>,
}

/// A node's process.
#[derive(Default)]
struct Home {
    client: Option<Client>,
    /// How many it has been.
    life: u32,
    /// How many of its tasks are not done.
    tasks: usize,
    down: bool,
}

/// What is still running.
#[derive(Default)]
struct Running {
    homes: Vec<Home>,
    /// Drivers that have not ended.
    drivers: BTreeSet<(NodeId, u32)>,
    /// Clients that died without a chance to let go.
    crashed: BTreeSet<(NodeId, u32)>,
    engines_down: BTreeSet<usize>,
}

/// Everything of a run.
pub(crate) struct World {
    seed: u64,
    pub(crate) plan: Plan,
    mutation: Option<Mutation>,
    pub(crate) executor: Executor,
    pub(crate) clocks: Arc<[SimClock]>,
    engine_clocks: Vec<SimClock>,
    pub(crate) servers: Vec<Server>,
    pub(crate) storage: Storage,
    pub(crate) watch: Watch,
    pub(crate) log: Log,
    pub(crate) verdict: Verdict,
    calls: AtomicU32,
    running: Mutex<Running>,
}

/// Runs a seed.
pub fn run(realm: Realm, seed: u64, mutation: Option<Mutation>, keep_trace: bool) -> Report {
    let world = World::new(realm.plan(seed), seed, mutation, keep_trace);
    for node in 0..world.plan.tasks.len() {
        world.start(node);
    }
    let nowhere = world.plan.tasks.len();
    world.executor.spawn(nowhere, nemesis::run(Arc::clone(&world), Dice::new(seed, 3)));
    let outcome = world.live();
    let report = world.report(outcome);
    // Tasks, timers and clients know the world and are known by it.
    world.executor.clear();
    lock(&world.running).homes.clear();
    report
}

impl World {
    fn new(plan: Plan, seed: u64, mutation: Option<Mutation>, keep_trace: bool) -> Arc<Self> {
        let (log, verdict) = (Log::new(keep_trace), Verdict::default());
        let nodes = plan.tasks.len();
        let executor = Executor::new(nodes + 1, Dice::new(seed, 2));
        let clocks: Arc<[SimClock]> =
            plan.clocks.iter().map(|course| SimClock::new(executor.clone(), course.clone())).collect();
        let engine_clock = |course: &Course| SimClock::new(executor.clone(), course.clone());
        let engine_clocks: Vec<SimClock> = plan.engine_clocks.iter().map(engine_clock).collect();
        let by_wall = plan.quorum == Some(Trouble::Jumps);
        let servers = engine_clocks.iter().enumerate().map(|(nth, clock)| {
            let faults = plan.faults.clone();
            let dice = Dice::new(seed, if nth == 0 { 4 } else { 50 + nth as u64 });
            let make = Make { nth: nth as u64, mutation, by_wall };
            Server::new(&executor, clock, faults, make, &log, &verdict, dice)
        });
        let servers = servers.collect();
        let watch = Watch::new(&executor, Arc::clone(&clocks), &verdict, &plan);
        let homes = (0..nodes).map(|_| Home::default()).collect();
        let running = Mutex::new(Running { homes, ..Running::default() });
        let calls = AtomicU32::new(0);
        Arc::new(Self {
            seed,
            plan,
            mutation,
            executor,
            clocks,
            engine_clocks,
            servers,
            storage: Storage::default(),
            watch,
            log,
            verdict,
            calls,
            running,
        })
    }

    /// Starts a node's process.
    pub(crate) fn start(self: &Arc<Self>, node: NodeId) {
        drop(self.new_client(node));
        let mut running = lock(&self.running);
        let home = &mut running.homes[node];
        home.down = false;
        home.tasks = self.plan.tasks[node];
        let life = home.life;
        drop(running);
        for index in 0..self.plan.tasks[node] {
            let dice =
                Dice::new(self.seed, 1000 + (node as u64 * 1000 + u64::from(life)) * 100 + index as u64);
            let task = Task { world: Arc::clone(self), node, dice };
            let world = Arc::clone(self);
            self.executor.spawn(node, async move {
                task.run().await;
                world.task_is_done(node);
            });
        }
    }

    fn task_is_done(&self, node: NodeId) {
        let mut running = lock(&self.running);
        let home = &mut running.homes[node];
        home.tasks -= 1;
        let client = if home.tasks == 0 { home.client.take() } else { None };
        drop(running);
        drop(client);
    }

    /// Gives a node's process a new client; the one that it had.
    pub(crate) fn new_client(self: &Arc<Self>, node: NodeId) -> Option<Client> {
        let mut running = lock(&self.running);
        let home = &mut running.homes[node];
        home.life += 1;
        let life = home.life;
        let (engine, tail) = self.open(node, life);
        let rng = SimRng::new(Dice::new(self.seed, 100 + node as u64 * 1000 + u64::from(life)));
        let built = Client::builder_dyn(engine)
            .env(Env { clock: Arc::new(self.clocks[node].clone()), rng: Arc::new(rng) })
            .rules(self.mutation.map_or_else(Rules::default, Mutation::rules))
            .owner(&format!("n{node}"))
            .observer(Arc::new(Ear { node, executor: self.executor.clone(), log: self.log.clone() }))
            .build();
        let (client, driver) = match built {
            Ok(built) => built,
            Err(error) => unreachable!("nothing was required of the engine: {error:?}"),
        };
        let old = home.client.replace(client);
        running.drivers.insert((node, life));
        drop(running);
        let world = Arc::clone(self);
        self.executor.spawn(node, async move {
            futures_util::future::join(driver.run(), tail).await;
            lock(&world.running).drivers.remove(&(node, life));
        });
        old
    }

    /// The client of a node's process.
    pub(crate) fn client(&self, node: NodeId) -> Client {
        let running = lock(&self.running);
        let client = running.homes[node].client.as_ref();
        client.expect("a node whose tasks are not done has a client").clone()
    }

    /// A node's process dies; `false` if there is none.
    pub(crate) fn crash(&self, node: NodeId) -> bool {
        let mut running = lock(&self.running);
        if running.homes[node].down {
            return false;
        }
        running.homes[node].down = true;
        let client = running.homes[node].client.take();
        let dead: Vec<_> = running.drivers.iter().copied().filter(|(of, _)| *of == node).collect();
        for driver in dead {
            running.drivers.remove(&driver);
            running.crashed.insert(driver);
        }
        drop(running);
        self.executor.kill(node);
        drop(client);
        true
    }

    /// Stops or starts an engine, with or without its data; `false` if it is so already.
    pub(crate) fn engine_is_up(&self, which: usize, up: bool, lost: bool) -> bool {
        let mut running = lock(&self.running);
        let changed =
            if up { running.engines_down.remove(&which) } else { running.engines_down.insert(which) };
        drop(running);
        match (changed, up, lost) {
            (false, ..) => {}
            (true, false, _) => self.servers[which].stop(),
            (true, true, false) => self.servers[which].start(),
            (true, true, true) => self.servers[which].wipe(),
        }
        changed
    }

    /// The number of a new call.
    pub(crate) fn next_call(&self) -> CallId {
        self.calls.fetch_add(1, Ordering::Relaxed)
    }

    /// Runs until `limit` or until `done`; `true` if it was done.
    fn until(&self, limit: True, done: impl Fn(&Self) -> bool) -> Result<bool, Violation> {
        for _ in 0..STEPS_MAX {
            match self.executor.step(limit) {
                Step::Polled(node) => {
                    if node < self.clocks.len() {
                        self.watch.look(node);
                    }
                    if let Some(violation) = self.verdict.get() {
                        return Err(violation);
                    }
                    if done(self) {
                        return Ok(true);
                    }
                }
                Step::Event => {}
                Step::Idle => return Ok(done(self)),
            }
        }
        Err(Violation::new(Rule::NoSurprise, format!("{STEPS_MAX} steps are not enough: somebody spins")))
    }

    /// The run from its beginning to its end, and what must be true then.
    fn live(&self) -> Result<(), Violation> {
        let heal_at = self.plan.heal_at;
        let patience = self.plan.patience();
        let all_done = |world: &Self| {
            world.executor.now() > heal_at && lock(&world.running).homes.iter().all(|home| home.tasks == 0)
        };
        for look in 1..=LOOKS {
            self.until(heal_at / LOOKS * look, |_| false)?;
            for server in &self.servers {
                let page = server.page();
                server.book(|book| leaks::strangers(&page, book))?;
            }
        }
        loop {
            // Whoever gets in only now with an at-least hold may keep the others waiting that much longer.
            let kept = |world: &Self| {
                world.servers[0].book(|book| book.kept_since(world.engine_clocks[0].at(heal_at)))
            };
            let patience = patience + kept(self);
            if self.until(heal_at + nanos(patience), all_done)? {
                break;
            }
            if heal_at + nanos(self.plan.patience() + kept(self)) <= self.executor.now() {
                let waiting: usize = lock(&self.running).homes.iter().map(|home| home.tasks).sum();
                let what = format!("{patience:?} after the faults have ended, {waiting} tasks still wait");
                return Err(Violation::new(Rule::Liveness, what));
            }
        }
        self.until(self.executor.now() + nanos(CLEAN_AFTER), |_| false)?;
        let (crashed, drivers) = {
            let running = lock(&self.running);
            (running.crashed.clone(), running.drivers.clone())
        };
        for (server, clock) in self.servers.iter().zip(&self.engine_clocks) {
            let page = server.page();
            server.book(|book| leaks::soon(&page, book, &crashed, clock))?;
        }
        if let Some((node, life)) = drivers.first() {
            let what = format!("driver {life} of n{node} runs on, {CLEAN_AFTER:?} after its last task");
            return Err(Violation::new(Rule::DriverEnds, what));
        }
        let longest = self.plan.unit * 101 / 100 + Duration::from_secs(1) + self.plan.slack();
        self.until(self.executor.now() + nanos(longest), |_| false)?;
        self.servers.iter().try_for_each(|server| leaks::late(&server.page()))
    }

    /// The checks that look back, and the report.
    fn report(&self, outcome: Result<(), Violation>) -> Report {
        let grants = self.watch.grants();
        let checked =
            if self.plan.quorum.is_some() { self.check_quorum(&grants) } else { self.check(&grants) };
        Report {
            violation: outcome.err().or(checked.err()),
            digest: self.log.digest(),
            grants: grants.len(),
            simulated: Duration::from_nanos(self.executor.now()),
            lines: self.log.take_lines(),
        }
    }

    fn check(&self, grants: &[Grant]) -> Result<(), Violation> {
        exclusion::check(grants)?;
        tokens::check(grants)?;
        self.servers[0].book(|book| {
            at_least::check(grants, book, self.engine_clocks[0].course())?;
            if self.plan.is_calm() { fifo::check(grants, book) } else { Ok(()) }
        })
    }

    fn check_quorum(&self, grants: &[Grant]) -> Result<(), Violation> {
        let proposed_at = |token| self.servers.iter().filter_map(|server| server.proposed_at(token)).min();
        tokens::check_proposed(grants, proposed_at)?;
        if self.plan.is_lossy() {
            return Ok(());
        }
        exclusion::check(grants)?;
        tokens::check(grants)?;
        // Readers that are let in together may have their tokens accepted in any order.
        let alone = grants.iter().filter(|grant| grant.capacity == 1);
        if self.plan.is_calm() { self.servers[0].book(|book| fifo::check(alone, book)) } else { Ok(()) }
    }
}
