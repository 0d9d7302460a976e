//! The scripts, put together from their parts.

use std::sync::LazyLock;

/// A script and its name at the server.
#[derive(Debug)]
pub(crate) struct Script {
    pub(crate) source: String,
    pub(crate) sha: String,
    /// Whether it is given the names of all keys that it may touch, and not only the plain one. While a slot of a
    /// cluster moves, a node can neither make a key in it nor see one that has gone: it must look before it begins what
    /// it could not end. For the same reason there is no [`Scripts::join_all`] in a cluster, which may put a key of
    /// one type where another was.
    pub(crate) names_all: bool,
}

/// One script a verb, one for several at a time, and one for onlookers.
#[derive(Debug)]
pub(crate) struct Scripts {
    /// For a claim to all of a resource with no at-least hold: looks for the usual case first.
    pub(crate) join_all: Script,
    pub(crate) join: Script,
    /// What [`join_all`](Self::join_all) does, for several.
    pub(crate) join_each: Script,
    pub(crate) refresh: Script,
    pub(crate) leave: Script,
    pub(crate) leave_each: Script,
    pub(crate) view: Script,
}

const CONSTANTS: &str = include_str!("lua/constants.lua");
const KEYS: &str = include_str!("lua/keys.lua");
const LOAD: &str = include_str!("lua/load.lua");
const SETTLE: &str = include_str!("lua/settle.lua");
const RENEW: &str = include_str!("lua/renew.lua");
const STORE: &str = include_str!("lua/store.lua");
const JOIN_ARGS: &str = include_str!("lua/join_args.lua");
const JOIN_KEYS: &str = include_str!("lua/join_keys.lua");
const JOIN_EACH: &str = include_str!("lua/join_each.lua");
const JOIN_FREE: &str = include_str!("lua/join_free.lua");
const JOIN: &str = include_str!("lua/join.lua");
const REFRESH_EACH: &str = include_str!("lua/refresh_each.lua");
const REFRESH_ALONE: &str = include_str!("lua/refresh_alone.lua");
const LEAVE_ARGS: &str = include_str!("lua/leave_args.lua");
const LEAVE_EACH: &str = include_str!("lua/leave_each.lua");
const LEAVE_ALONE: &str = include_str!("lua/leave_alone.lua");
const LEAVE: &str = include_str!("lua/leave.lua");
const EACH_END: &str = include_str!("lua/each_end.lua");
const END: &str = "return answer\n";
const VIEW: &str = include_str!("lua/view.lua");

/// How a script tells a waiter; in a cluster it must stay in the slot of the lock.
const PUBLISH: &str = "redis.call('PUBLISH', 'leasehold:inbox:' .. inbox,";
const SHARD_PUBLISH: &str = "redis.call('SPUBLISH', base .. ':inbox:' .. inbox,";

/// The scripts for one server, and those for a cluster.
pub(crate) static ONE: LazyLock<Scripts> = LazyLock::new(|| Scripts::new(false));
pub(crate) static CLUSTER: LazyLock<Scripts> = LazyLock::new(|| Scripts::new(true));

impl Script {
    fn new(parts: &[&str], cluster: bool) -> Self {
        let mut source = parts.concat();
        if cluster {
            source = source.replace(PUBLISH, SHARD_PUBLISH);
        }
        let sha = redis::Script::new(&source).get_hash().to_owned();
        Self { source, sha, names_all: cluster }
    }
}

impl Scripts {
    fn new(cluster: bool) -> Self {
        let join = [KEYS, LOAD, JOIN, SETTLE, RENEW, "end\n", STORE];
        let refresh = [CONSTANTS, REFRESH_EACH, KEYS, LOAD, REFRESH_ALONE, SETTLE, RENEW, STORE, EACH_END];
        let leave = [LOAD, LEAVE, SETTLE, STORE];
        let script = |parts: &[&str]| Script::new(parts, cluster);
        Self {
            join_all: script(&[&[JOIN_ARGS, JOIN_KEYS, JOIN_FREE, CONSTANTS], &join[..], &[END]].concat()),
            join: script(&[&[JOIN_ARGS, JOIN_KEYS, CONSTANTS], &join[..], &[END]].concat()),
            join_each: script(
                &[&[CONSTANTS, JOIN_EACH, JOIN_KEYS, JOIN_FREE], &join[..], &[EACH_END]].concat(),
            ),
            refresh: script(&refresh),
            leave: script(&[&[LEAVE_ARGS, LEAVE_ALONE, CONSTANTS], &leave[..], &[END]].concat()),
            leave_each: script(&[&[CONSTANTS, LEAVE_EACH, LEAVE_ALONE], &leave[..], &[EACH_END]].concat()),
            view: Script { names_all: false, ..script(&[VIEW]) },
        }
    }
}
