//! What a test is: a function over a setup, what it needs of an engine, and the broken engines that it catches.

use std::pin::Pin;
use std::sync::Arc;

use leasehold::engine::{ClockKind, Durability, TokensRise, Wakeups};
use leasehold::{Engine, EngineInfo, Env, Reach};

use crate::servers;
use crate::setup::Setup;
use crate::stack::Stack;
use crate::verdict::Verdict;

/// A test on its way. It need not be `Send`: each runs on a thread and a runtime of its own.
pub(crate) type Run = fn(Setup) -> Pin<Box<dyn Future<Output = Verdict>>>;

/// Breaks an engine in one way.
pub(crate) type Break = fn(Arc<dyn Engine>, &Env) -> Arc<dyn Engine>;

/// Something that a test needs of an engine, as its `info()` says it.
#[derive(Clone, Copy)]
pub(crate) struct Need {
    pub(crate) what: &'static str,
    pub(crate) met: fn(&EngineInfo, &Stack) -> bool,
}

pub(crate) const PROCESSES: Need = Need { what: "reach of a host", met: |i, _| i.reach >= Reach::Host };
pub(crate) const PUSH: Need = Need { what: "push wake-ups", met: |i, _| i.wakeups == Wakeups::Push };
pub(crate) const SHARED: Need = Need { what: "readers and permits", met: |i, _| i.shared };
/// A majority of nodes has readers, but no permits: three could hold two. Nor have locks that are had alone or by all.
pub(crate) const PERMITS: Need =
    Need { what: "permits", met: |i, _| i.shared && !matches!(i.engine, "redlock" | "postgres+advisory") };
pub(crate) const ONE_QUEUE: Need = Need { what: "one queue for all clients", met: |i, _| !i.own_queues };
pub(crate) const AT_LEAST: Need = Need { what: "at-least holds", met: |i, _| i.at_least };
pub(crate) const RAISE: Need = Need { what: "tokens that can be raised", met: |i, _| i.raise };
pub(crate) const NOTICES_DEATH: Need = Need { what: "notice of death", met: |i, _| i.notices_death };
pub(crate) const BATCHES: Need = Need { what: "batches", met: |i, _| i.batch_max >= 4 };
/// Sessions may outlive a TTL, and an observer starts to count late.
pub(crate) const OWN_CLOCK: Need = Need {
    what: "an engine that measures TTLs by its own clock",
    met: |i, _| matches!(i.clock, ClockKind::ServerBoot | ClockKind::ServerWall),
};
pub(crate) const DURABLE: Need =
    Need { what: "data that outlives the engine", met: |i, _| i.durability != Durability::Volatile };
pub(crate) const TOKENS_BY_CLOCK: Need =
    Need { what: "tokens that rise without the data", met: |i, _| i.tokens_rise >= TokensRise::ClockAhead };
/// A quorum keeps in mind where its claims stand, so only who joined one can renew it.
pub(crate) const ANYONE: Need =
    Need { what: "claims that another process can renew", met: |i, _| i.engine != "redlock" };
/// The suite can open these on another clock and with other randomness.
pub(crate) const OWN_ENV: Need = Need {
    what: "an injected clock",
    met: |i, _| {
        matches!(i.engine, "memory" | "sqlite" | "consul" | "dynamodb" | "etcd")
            || i.engine.starts_with("redis")
    },
};
/// The engine's data and clock are this test's own, so it may delete the one and set the other.
pub(crate) const ALONE: Need = Need {
    what: "data and a clock of its own",
    met: |i, stack| matches!(i.engine, "memory" | "sqlite") || servers::can_be_alone(&stack.engine),
};

/// A test.
#[derive(Clone)]
pub(crate) struct Test {
    /// Its group and its name.
    pub(crate) name: String,
    pub(crate) run: Run,
    pub(crate) needs: Vec<Need>,
    /// It restarts servers, so it has its own, where the suite can start them.
    pub(crate) restarts: bool,
    /// The broken engines that it must catch.
    pub(crate) broken: Vec<(&'static str, Break)>,
}

impl Test {
    pub(crate) fn new(name: String, run: Run) -> Self {
        Self { name, run, needs: Vec::new(), restarts: false, broken: Vec::new() }
    }

    pub(crate) fn needs(mut self, needs: &[Need]) -> Self {
        self.needs.extend_from_slice(needs);
        self
    }

    /// It restarts servers.
    pub(crate) fn restarts(mut self) -> Self {
        self.restarts = true;
        self
    }

    /// Names a broken engine that this test must catch.
    pub(crate) fn catches(mut self, what: &'static str, broken: Break) -> Self {
        self.broken.push((what, broken));
        self
    }

    /// Whether it is about a line of the contract.
    pub(crate) fn is_contract(&self) -> bool {
        self.name.starts_with("line") || self.name.starts_with("inspect")
    }

    /// Whether its servers are not shared with other tests.
    pub(crate) fn is_alone(&self) -> bool {
        self.restarts || self.needs.iter().any(|need| need.what == ALONE.what)
    }

    /// What of its needs an engine lacks.
    pub(crate) fn lacks(&self, info: &EngineInfo, stack: &Stack) -> Vec<&'static str> {
        self.needs.iter().filter(|n| !(n.met)(info, stack)).map(|n| n.what).collect()
    }
}

/// A test from a function, in a group.
macro_rules! test {
    ($group:literal, $run:ident) => {
        $crate::test::Test::new(concat!($group, "::", stringify!($run)).to_owned(), |setup| {
            Box::pin($run(setup))
        })
    };
}
pub(crate) use test;
