//! A command under a lock, when nothing goes wrong.

use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use nix::pty::openpty;
use nix::sys::signal::Signal;

use crate::world::{Running, World};

#[test]
fn two_runs_take_turns() {
    let world = World::new();
    let (mut steps, gate) = (world.fifo("steps"), world.fifo("gate"));
    let script = "echo in > steps; read go < gate; echo out >> log; echo in >> log; echo done > steps";
    let first = world.run(&["demo"], script);
    assert_eq!(steps.line(), "in");
    let mut second = world.run(&["demo"], script);
    second.says("waiting for `demo`, held by ");
    gate.say("go");
    assert_eq!(steps.line(), "done");
    assert_eq!(steps.line(), "in", "the second began when the first had ended");
    gate.say("go");
    assert_eq!((first.end().code(), second.end().code()), (0, 0));
    assert_eq!(world.read("log"), "out\nin\nout\nin\n");
}

#[test]
fn a_command_finds_its_lock_in_its_environment() {
    let world = World::new();
    let script =
        r#"echo "$LEASEHOLD_NAME|$LEASEHOLD_ENGINE"; echo "$LEASEHOLD_TOKEN"; cat /proc/self/status"#;
    let mut outs = Vec::new();
    for engine in [format!("sqlite:{}", world.path("locks.db").display()), "sqlite:locks.db".to_owned()] {
        let ended = world.ran(&["run", "--engine", &engine, "a b", "--", "sh", "-c", script]);
        assert_eq!(ended.code(), 0, "{ended:?}");
        let mut lines = ended.out.lines();
        let absolute = format!("a b|sqlite:{}", world.path("locks.db").canonicalize().unwrap().display());
        assert_eq!(lines.next().unwrap(), absolute);
        outs.push(lines.next().unwrap().parse::<u64>().unwrap());
        assert!(ended.out.contains("SigBlk:\t0000000000000000"), "no signal is blocked: {}", ended.out);
    }
    assert!(outs[0] < outs[1], "the second hold of the same file has a higher token: {outs:?}");
}

#[test]
fn the_code_is_the_commands_own() {
    let world = World::new();
    for (script, code) in
        [("exit 0", 0), ("exit 3", 3), ("exit 255", 255), ("kill -9 $$", 137), ("kill -64 $$", 192)]
    {
        assert_eq!(world.run(&["demo"], script).end().code(), code, "{script}");
    }
    let ended = world.run(&["demo"], "kill -2 $$").end();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&ended.status), Some(Signal::SIGINT as i32));
}

#[test]
fn input_and_output_are_the_commands_own() {
    let world = World::new();
    std::fs::write(world.path("input"), "one\ntwo\n").unwrap();
    let mut command = world.leasehold(&["run", "demo", "--", "sh", "-c", "cat; echo three >&2"]);
    command.stdin(std::fs::File::open(world.path("input")).unwrap());
    let ended = Running::start(command).end();
    assert_eq!((ended.out.as_str(), ended.err.as_str()), ("one\ntwo\n", "three\n"));
}

#[test]
fn a_busy_lock_is_told_by_the_code() {
    let world = World::new();
    let (mut steps, gate) = (world.fifo("steps"), world.fifo("gate"));
    let holder = world.run(&["demo"], "echo in > steps; read go < gate");
    assert_eq!(steps.line(), "in");
    let mut said = String::new();
    for options in [
        &["--no-wait"][..],
        &["--wait", "50ms"],
        &["--no-wait", "--conflict-exit-code", "0"],
        &["--no-wait", "--shared"],
    ] {
        let ended = world.ran(&[&["run", "demo"], options, &["--", "touch", "ran"]].concat());
        said.push_str(&format!("{options:?}\n{}\n", ended.all()));
    }
    world.redacted().bind(|| insta::assert_snapshot!(said));
    assert!(!world.path("ran").exists());
    gate.say("go");
    assert_eq!(holder.end().code(), 0);
    assert_eq!(world.ran(&["run", "demo", "--no-wait", "--", "true"]).code(), 0);
}

#[test]
fn readers_share_and_a_writer_does_not() {
    let world = World::new();
    let (mut steps, gate, gate2) = (world.fifo("steps"), world.fifo("gate"), world.fifo("gate2"));
    let first = world.run(&["--shared", "demo"], "echo first > steps; read go < gate");
    assert_eq!(steps.line(), "first");
    let second = world.run(&["--shared", "demo"], "echo second > steps; read go < gate2");
    assert_eq!(steps.line(), "second", "two readers hold it at once");
    assert_eq!(world.ran(&["run", "--no-wait", "demo", "--", "true"]).code(), 75);
    gate.say("go");
    gate2.say("go");
    assert_eq!((first.end().code(), second.end().code()), (0, 0));
}

#[test]
fn permits_run_out() {
    let world = World::new();
    let (mut steps, gate) = (world.fifo("steps"), world.fifo("gate"));
    let holder = world.run(&["--permits", "2/3", "demo"], "echo in > steps; read go < gate");
    assert_eq!(steps.line(), "in");
    let codes =
        ["1/3", "2/3"].map(|k| world.ran(&["run", "--no-wait", "--permits", k, "demo", "--", "true"]).code());
    assert_eq!(codes, [0, 75]);
    gate.say("go");
    assert_eq!(holder.end().code(), 0);
}

#[test]
fn a_command_that_cannot_start_leaves_the_lock_free() {
    let world = World::new();
    std::fs::write(world.path("plain"), "text").unwrap();
    let mut said = String::new();
    for command in ["./no-such-command", "./plain"] {
        said.push_str(&world.ran(&["run", "demo", "--", command]).all());
        assert_eq!(world.ran(&["show", "demo"]).out, "`demo` is free\n");
    }
    world.redacted().bind(|| insta::assert_snapshot!(said));
}

#[test]
fn a_command_may_run_longer_than_the_ttl() {
    let world = World::new();
    let ended = world.run(&["--ttl", "2s", "--grace", "0s", "demo"], "sleep 4; echo whole").end();
    assert_eq!((ended.code(), ended.out.as_str()), (0, "whole\n"), "{ended:?}");
}

#[test]
fn an_at_least_hold_outlives_a_fast_command() {
    let world = World::new();
    assert_eq!(world.ran(&["run", "--at-least", "1h", "demo", "--", "true"]).code(), 0);
    assert_eq!(world.ran(&["run", "--no-wait", "demo", "--", "true"]).code(), 75);
}

#[test]
fn signals_reach_the_command() {
    let world = World::new();
    let mut steps = world.fifo("steps");
    let script = "for s in HUP INT QUIT USR1 USR2 ALRM; do trap \"echo $s > steps\" $s; done
        trap 'echo TERM > steps; exit 7' TERM; echo ready > steps; while :; do sleep 0.1; done";
    let running = world.run(&["demo"], script);
    assert_eq!(steps.line(), "ready");
    for (signal, name) in [
        (Signal::SIGHUP, "HUP"),
        (Signal::SIGINT, "INT"),
        (Signal::SIGQUIT, "QUIT"),
        (Signal::SIGUSR1, "USR1"),
        (Signal::SIGUSR2, "USR2"),
        (Signal::SIGALRM, "ALRM"),
        (Signal::SIGTERM, "TERM"),
    ] {
        running.signal(signal);
        assert_eq!(steps.line(), name);
    }
    assert_eq!(running.end().code(), 7);
}

/// `leasehold run` of a script, with a terminal of its own that the test can type on.
fn at_a_terminal(world: &World, script: &str) -> (OwnedFd, Running) {
    let terminal = openpty(None, None).unwrap();
    let leasehold = world.leasehold(&["run", "demo", "--", "sh", "-c", script]);
    let mut command = Command::new("setsid");
    command.arg("--ctty").arg(leasehold.get_program()).args(leasehold.get_args());
    world.at_home(&mut command);
    command.stdin(terminal.slave);
    (terminal.master, Running::start(command))
}

#[test]
fn a_key_press_reaches_the_command() {
    let world = World::new();
    let mut steps = world.fifo("steps");
    let script = "trap 'echo int > steps; exit 4' INT; echo ready > steps; while :; do sleep 0.1; done";
    let (keys, running) = at_a_terminal(&world, script);
    assert_eq!(steps.line(), "ready");
    nix::unistd::write(&keys, b"\x03").unwrap();
    assert_eq!(steps.line(), "int");
    assert_eq!(running.end().code(), 4);
}

#[test]
fn a_key_press_is_not_passed_on() {
    let world = World::new();
    let mut steps = world.fifo("steps");
    // The command has left the terminal, so a key press gets to it only through us; another process has not.
    let script = "until='until [ -e done ]; do sleep 0.1; done'
        env --default-signal=INT sh -c \"trap 'echo witness > steps' INT; echo ready > steps; $until\" &
        exec setsid sh -c \"trap 'echo int > steps' INT; trap 'echo usr1 > steps' USR1; echo ready > steps; $until\"";
    let (keys, running) = at_a_terminal(&world, script);
    assert_eq!(steps.two(), ["ready", "ready"]);
    nix::unistd::write(&keys, b"\x03").unwrap();
    assert_eq!(steps.line(), "witness");
    // Signals are taken in by their numbers: were the key press passed on, it would come first.
    running.signal(Signal::SIGUSR1);
    assert_eq!(steps.line(), "usr1");
    std::fs::write(world.path("done"), "").unwrap();
    assert_eq!(running.end().code(), 0);
}

#[test]
fn a_signal_ends_the_wait_and_leaves_nothing() {
    let world = World::new();
    let (mut steps, gate) = (world.fifo("steps"), world.fifo("gate"));
    let holder = world.run(&["demo"], "echo in > steps; read go < gate");
    assert_eq!(steps.line(), "in");
    let mut waiter = world.run(&["demo"], "touch ran");
    waiter.says("0 ahead in the queue");
    waiter.signal(Signal::SIGTERM);
    assert_eq!(waiter.end().code(), 143);
    let shown: serde_json::Value = serde_json::from_str(&world.ran(&["show", "demo", "--json"]).out).unwrap();
    assert_eq!(shown["waiting"], serde_json::json!([]));
    gate.say("go");
    assert_eq!(holder.end().code(), 0);
    assert!(!world.path("ran").exists());
}

#[test]
fn a_folder_that_may_not_be_read_does_not_hide_that_a_command_is_missing() {
    let world = World::new();
    std::fs::create_dir(world.path("shut")).unwrap();
    std::fs::set_permissions(world.path("shut"), PermissionsExt::from_mode(0o400)).unwrap();
    let mut command = world.leasehold(&["run", "demo", "--", "no-such-command"]);
    command.env("PATH", world.path("shut"));
    // Root may read it, and gets the same code for a simpler reason.
    assert_eq!(Running::start(command).end().code(), 127);
}
