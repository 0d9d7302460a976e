//! The same commands over a Redis server.

use leasehold_testkit::redis::Redis;

use crate::world::{Ended, Running, World};

/// A world whose engine is a server.
struct Served {
    world: World,
    server: Redis,
}

impl Served {
    fn new() -> Self {
        Self { world: World::new(), server: Redis::start().unwrap() }
    }

    fn ran(&self, arguments: &[&str]) -> Ended {
        let mut command = self.world.leasehold(arguments);
        command.env("LEASEHOLD_ENGINE", self.server.url());
        Running::start(command).end()
    }

    fn run(&self, options: &[&str], script: &str) -> Running {
        let mut command = self.world.leasehold(&["run"]);
        command.args(["--engine", &self.server.url()]).args(options).args(["--", "sh", "-c", script]);
        Running::start(command)
    }

    fn set(&self, key: &str, value: &str) {
        self.server.command(["SET", key, value]).unwrap();
    }
}

#[test]
fn commands_run_one_after_the_other() {
    let served = Served::new();
    let (mut steps, gate) = (served.world.fifo("steps"), served.world.fifo("gate"));
    let first = served.run(&["demo"], "echo $LEASEHOLD_TOKEN > steps; read go < gate; exit 3");
    let held: u64 = steps.line().parse().unwrap();
    let mut second = served.run(&["demo"], "echo $LEASEHOLD_TOKEN > steps");
    second.says("waiting for `demo`, held by ");
    let busy = served.ran(&["run", "--no-wait", "demo", "--", "true"]);
    gate.say("go");
    let next: u64 = steps.line().parse().unwrap();
    assert!(next > held);
    assert_eq!((first.end().code(), second.end().code()), (3, 0));
    served.world.redacted().bind(|| insta::assert_snapshot!(busy.all()));
    assert_eq!(served.ran(&["ls", "--json"]).out, "[]\n");
}

#[test]
fn onlookers_see_holders_waiters_and_other_clients() {
    let served = Served::new();
    let (mut steps, gate) = (served.world.fifo("steps"), served.world.fifo("gate"));
    let holder = served.run(&["inventory/42"], "echo in > steps; read go < gate");
    assert_eq!(steps.line(), "in");
    let mut waiter = served.run(&["inventory/42"], "true");
    waiter.says("waiting for");
    served.set("lock:theirs", "by-hand");
    let said = [&["ls", "--json"][..], &["show", "inventory/42", "--json"], &["show", "nobody"]]
        .map(|arguments| format!("$ {}\n{}", arguments.join(" "), served.ran(arguments).all()));
    served.world.redacted().bind(|| insta::assert_snapshot!(said.join("\n")));
    let theirs = served.ran(&["show", "theirs"]);
    assert!(theirs.out.contains("another client (`lock:theirs` is `by-hand`)"), "{theirs:?}");
    let theirs = served.ran(&["unlock", "--force", "theirs"]);
    assert!(theirs.err.contains("which leasehold cannot end"), "{theirs:?}");
    gate.say("go");
    assert_eq!((holder.end().code(), waiter.end().code()), (0, 0));
}

#[test]
fn unlock_force_hands_over_at_once() {
    let served = Served::new();
    let (mut steps, gate) = (served.world.fifo("steps"), served.world.fifo("gate"));
    let holder = served.run(&["--ttl", "1h", "demo"], "echo $LEASEHOLD_TOKEN > steps; read go < gate");
    let held: u64 = steps.line().parse().unwrap();
    let unlocked = served.ran(&["unlock", "--force", "--json", "demo"]);
    let said: serde_json::Value = serde_json::from_str(&unlocked.out).unwrap();
    assert_eq!(
        (&said["ended"][0]["token"], &said["ended"][0]["raise_to"]),
        (&held.into(), &(held + 1).into())
    );
    let next = served.ran(&["run", "--no-wait", "demo", "--", "sh", "-c", "echo $LEASEHOLD_TOKEN"]);
    assert!(next.out.trim().parse::<u64>().unwrap() > held, "{next:?}");
    gate.say("go");
    drop(holder);
}

#[test]
fn bench_leaves_the_server_as_it_was() {
    let served = Served::new();
    for case in ["pair", "handoff"] {
        let ended = served.ran(&[
            "bench",
            "--case",
            case,
            "--tasks",
            "2",
            "--hold",
            "0s",
            "--seconds",
            "0.1",
            "--json",
        ]);
        assert_eq!((ended.code(), ended.err.as_str()), (0, ""), "{ended:?}");
        let rows: serde_json::Value = serde_json::from_str(&ended.out).unwrap();
        assert!(rows.as_array().is_some_and(|rows| !rows.is_empty()), "{rows}");
    }
    assert_eq!(served.ran(&["ls", "--json"]).out, "[]\n");
}

#[test]
fn a_server_that_is_no_use() {
    let served = Served::new();
    served.server.kill().unwrap();
    let nobody = served.ran(&["run", "demo", "--", "true"]);
    served.server.restart().unwrap();
    served.server.command(["HSET", "lock:demo", "a", "1"]).unwrap();
    let hash = served.ran(&["run", "demo", "--", "true"]);
    let option = served.ran(&["ls", "--engine", &format!("{}?prefxi=a", served.server.url())]);
    assert!(hash.code() == 64 && hash.err.contains("error: the key `lock:demo` is a hash"), "{hash:?}");
    let said = [nobody, option].map(|ended| ended.all()).join("\n");
    served.world.redacted().bind(|| insta::assert_snapshot!(said));
}
