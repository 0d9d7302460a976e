//! A command is ended before anybody else can hold its lock, whatever happens to whom.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::world::World;

/// The shortest TTL for a grace of one second.
const SHORT: [&str; 4] = ["--ttl", "4s", "--grace", "1s"];

/// What a command does that never ends.
const FOR_EVER: &str = "while :; do sleep 0.1; done";

/// A command that takes a kernel lock, which whatever it starts inherits, and starts a daemon that nobody
/// would think of: another session, an orphan, deaf to signals. Then it does what `then` says.
fn with_a_deaf_daemon(then: &str) -> String {
    format!(
        "exec 9> held; flock 9
        setsid sh -c 'trap \"\" TERM HUP INT; (echo there > steps; {FOR_EVER}) &' & wait
        {then}"
    )
}

/// A command that says whether anything of the one before is left.
const LOOK_AROUND: &str =
    "exec 8> held; if flock -n 8; then echo alone > steps; else echo together > steps; fi";

#[test]
fn kill_9_of_leasehold_ends_the_whole_tree() {
    let world = World::new();
    let mut steps = world.fifo("steps");
    // An hour: nobody can have waited for the TTL.
    let script = with_a_deaf_daemon(&format!("echo in > steps; {FOR_EVER}"));
    let running = world.run(&["--ttl", "1h", "demo"], &script);
    assert_eq!(steps.two(), ["in", "there"]);
    let next = world.run(&["demo"], LOOK_AROUND);
    running.signal(Signal::SIGKILL);
    assert_eq!(steps.line(), "alone");
    assert_eq!(next.end().code(), 0);
}

#[test]
fn kill_9_of_the_guardian_ends_the_whole_tree() {
    let world = World::new();
    let (mut steps, gate) = (world.fifo("steps"), world.fifo("gate"));
    // The command's parent is the guardian.
    let script = with_a_deaf_daemon(&format!("read go < gate; kill -9 $PPID; {FOR_EVER}"));
    let running = world.run(&["demo"], &script);
    assert_eq!(steps.line(), "there");
    gate.say("go");
    let ended = running.end();
    world.redacted().bind(|| insta::assert_snapshot!(ended.all()));
    let next = world.run(&["--no-wait", "demo"], LOOK_AROUND);
    assert_eq!(steps.line(), "alone");
    assert_eq!(next.end().code(), 0);
}

#[test]
fn a_command_that_outlives_both_keeps_the_next_out() {
    let world = World::new();
    let (mut steps, gate) = (world.fifo("steps"), world.fifo("gate"));
    let script = with_a_deaf_daemon("echo $PPID > steps; read go < gate; touch over");
    let script = script.replace(FOR_EVER, "until [ -e over ]; do sleep 0.1; done");
    let running = world.run(&["--ttl", "1h", "demo"], &script);
    let [guardian, _there] = steps.two();
    // Stopped first, so that it cannot do the guardian's work.
    running.signal(Signal::SIGSTOP);
    kill(Pid::from_raw(guardian.parse().unwrap()), Signal::SIGKILL).unwrap();
    running.signal(Signal::SIGKILL);
    let mut next = world.run(&["demo"], LOOK_AROUND);
    next.says("waiting for `demo`, held by ");
    gate.say("go");
    assert_eq!(steps.line(), "alone");
    assert_eq!(next.end().code(), 0);
}

#[test]
fn a_stopped_leasehold_loses_the_command_then_the_lock() {
    let world = World::new();
    let mut steps = world.fifo("steps");
    let script = with_a_deaf_daemon(&format!("trap 'echo term > steps' TERM; echo in > steps; {FOR_EVER}"));
    let running = world.run(&[&SHORT[..], &["demo"]].concat(), &script);
    assert_eq!(steps.two(), ["in", "there"]);
    running.signal(Signal::SIGSTOP);
    let next = world.run(&["demo"], LOOK_AROUND);
    assert_eq!(
        [steps.line(), steps.line()],
        ["term", "alone"],
        "it is asked, then killed, then the next begins"
    );
    assert_eq!(next.end().code(), 0);
    running.signal(Signal::SIGCONT);
    let ended = running.end();
    world.redacted().bind(|| insta::assert_snapshot!(ended.all()));
}

#[test]
fn a_stopped_guardian_is_replaced() {
    let world = World::new();
    let mut steps = world.fifo("steps");
    let script = with_a_deaf_daemon(&format!("trap '' TERM; kill -STOP $PPID; {FOR_EVER}"));
    let running = world.run(&[&SHORT[..], &["--at-most", "3s", "demo"]].concat(), &script);
    assert_eq!(steps.line(), "there");
    let next = world.run(&["demo"], LOOK_AROUND);
    assert_eq!(steps.line(), "alone");
    assert_eq!(next.end().code(), 0);
    let ended = running.end();
    assert_eq!(ended.code(), 76, "{ended:?}");
}

#[test]
fn at_most_ends_the_command() {
    let world = World::new();
    let mut steps = world.fifo("steps");
    let script = "exec 2>/dev/null; trap 'echo term > steps; exit 5' TERM; while :; do sleep 0.1; done";
    let running = world.run(&[&SHORT[..], &["--at-most", "3s", "demo"]].concat(), script);
    assert_eq!(steps.line(), "term");
    let ended = running.end();
    world.redacted().bind(|| insta::assert_snapshot!(ended.all()));
}

#[test]
fn what_a_command_leaves_behind_ends_before_the_lock_is_free() {
    let world = World::new();
    let (mut steps, gate) = (world.fifo("steps"), world.fifo("gate"));
    let script = with_a_deaf_daemon("read go < gate; exit 3");
    let running = world.run(&["--grace", "1500ms", "demo"], &script);
    assert_eq!(steps.line(), "there");
    let mut next = world.run(&["demo"], LOOK_AROUND);
    next.says("waiting for");
    gate.say("go");
    assert_eq!(steps.line(), "alone");
    let ended = running.end();
    world.redacted().bind(|| insta::assert_snapshot!(ended.all()));
    assert_eq!(next.end().code(), 0);
}

#[test]
fn a_hand_over_lasts_as_long_as_any_hold() {
    // What is left of a waiting claim's life is less than the grace: the command must not be ended for that.
    let world = World::new();
    let (mut steps, gate) = (world.fifo("steps"), world.fifo("gate"));
    let first = world.run(&["demo"], "echo first > steps; read go < gate");
    assert_eq!(steps.line(), "first");
    let script = "trap 'echo ended > steps' TERM; echo second > steps; read go < gate; echo went on > steps";
    let mut second = world.run(&["--grace", "10s", "--ttl", "1m", "demo"], script);
    second.says("waiting for");
    gate.say("go");
    assert_eq!(steps.line(), "second");
    gate.say("go");
    assert_eq!(steps.line(), "went on");
    assert_eq!((first.end().code(), second.end().code()), (0, 0));
}

#[test]
fn a_revoked_holder_has_its_grace_before_the_next_begins() {
    let world = World::new();
    let mut steps = world.fifo("steps");
    let script = with_a_deaf_daemon(&format!("trap 'echo term > steps' TERM; echo in > steps; {FOR_EVER}"));
    let running = world.run(&[&SHORT[..], &["demo"]].concat(), &script);
    assert_eq!(steps.two(), ["in", "there"]);
    let next = world.run(&["demo"], LOOK_AROUND);
    let unlocked = world.ran(&["unlock", "demo"]);
    assert_eq!(unlocked.code(), 0, "{unlocked:?}");
    assert_eq!([steps.line(), steps.line()], ["term", "alone"]);
    let ended = running.end();
    world.redacted().bind(|| insta::assert_snapshot!(ended.all()));
    assert_eq!(next.end().code(), 0);
}

#[test]
fn force_hands_over_at_once_and_says_what_that_means() {
    let world = World::new();
    let (mut steps, gate) = (world.fifo("steps"), world.fifo("gate"));
    let running = world.run(&["--ttl", "1h", "demo"], "echo $LEASEHOLD_TOKEN > steps; read go < gate");
    let token: u64 = steps.line().parse().unwrap();
    let unlocked = world.ran(&["unlock", "--force", "--json", "demo"]);
    let said: serde_json::Value = serde_json::from_str(&unlocked.out).unwrap();
    assert_eq!(said["ended"][0]["token"], token);
    assert_eq!(said["ended"][0]["raise_to"], token + 1);
    let believes = said["ended"][0]["believes_ms"].as_u64().unwrap();
    assert!((1..=3_600_000).contains(&believes), "{believes}");
    world.redacted().bind(|| insta::assert_snapshot!(unlocked.out));
    let next = world.ran(&["run", "--no-wait", "demo", "--", "sh", "-c", "echo $LEASEHOLD_TOKEN"]);
    assert!(next.out.trim().parse::<u64>().unwrap() > token, "{next:?}");
    gate.say("go");
    drop(running);
}

#[test]
fn unlock_of_a_free_lock_is_no_error() {
    let world = World::new();
    let said = world.ran(&["unlock", "demo"]).all();
    let forced = world.ran(&["unlock", "demo", "--force", "--json"]).all();
    world.redacted().bind(|| insta::assert_snapshot!(format!("{said}{forced}")));
}
