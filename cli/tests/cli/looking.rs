//! `ls`, `show` and `engines`.

use crate::world::{Fifo, Running, World};

/// A writer with a waiter behind it, and a semaphore with one of three permits taken.
fn busy(world: &World) -> (Fifo, [Running; 3]) {
    let (mut steps, gate) = (world.fifo("steps"), world.fifo("gate"));
    let script = "echo in > steps; read go < gate";
    let writer = world.run(&["inventory/42"], script);
    assert_eq!(steps.line(), "in");
    let permit = world.run(&["--permits", "1/3", "uploads"], script);
    assert_eq!(steps.line(), "in");
    let mut waiter = world.run(&["--shared", "inventory/42"], "true");
    waiter.says("waiting for");
    (gate, [writer, permit, waiter])
}

#[test]
fn locks_as_json() {
    let world = World::new();
    let _busy = busy(&world);
    let (all, one) = (world.ran(&["ls", "--json"]), world.ran(&["show", "uploads", "--json"]));
    world.redacted().bind(|| {
        insta::assert_snapshot!("ls_json", all.out);
        insta::assert_snapshot!("show_json", one.out);
    });
    assert_eq!((all.err, one.err), (String::new(), String::new()));
    let none = world.ran(&["ls", "no-such-prefix", "--json"]);
    assert_eq!((none.out.as_str(), none.err.as_str()), ("[]\n", ""));
}

#[test]
fn locks_as_tables() {
    let world = World::new();
    let _busy = busy(&world);
    let columns = |text: &str, keep: &[usize]| -> Vec<Vec<String>> {
        let cells = |line: &str| -> Vec<String> {
            line.split("  ").map(str::trim).filter(|c| !c.is_empty()).map(str::to_owned).collect()
        };
        text.lines().map(|l| keep.iter().filter_map(|&at| cells(l).get(at).cloned()).collect()).collect()
    };
    let all = world.ran(&["ls"]).out;
    assert_eq!(
        columns(&all, &[0, 1, 6]),
        [["NAME", "KIND", "WAITING"], ["inventory/42", "rwlock", "1"], ["uploads", "semaphore 3", "0"]]
    );
    let one = world.ran(&["show", "inventory/42"]).out;
    assert_eq!(columns(&one, &[0, 1]), [["STATE", "AS"], ["holds", "exclusive"], ["waits", "shared"]]);
    assert_eq!(columns(&world.ran(&["ls", "up"]).out, &[0]), [["NAME"], ["uploads"]]);
}

/// What `watch` says goes into a FIFO, for it does not end by itself.
fn watching(world: &World, options: &[&str]) -> (Fifo, Running) {
    let said = world.fifo("said");
    let mut command = world.leasehold(&["watch", "--every", "50ms"]);
    let end = std::fs::OpenOptions::new().read(true).write(true).open(world.path("said")).unwrap();
    command.args(options).stdout(end);
    (said, Running::start(command))
}

#[test]
fn changes_as_they_happen() {
    let world = World::new();
    let (mut said, mut watch) = watching(&world, &["inv"]);
    watch.says("nothing is locked; watching");
    let (gate, others) = busy(&world);
    let mut told = vec![said.line(), said.line()];
    // Both go; whether the reader is seen to hold in between depends on when it is looked.
    gate.say("go");
    gate.say("go");
    for other in others {
        assert_eq!(other.end().code(), 0);
    }
    while told.iter().filter(|line| line.contains(" more")).count() < 2 {
        told.push(said.line());
    }
    watch.signal(nix::sys::signal::Signal::SIGTERM);
    let first = told.first().unwrap();
    assert!(first.starts_with("inventory/42  ") && first.contains(" holds: exclusive, token "), "{told:?}");
    assert!(told[1].ends_with(" waits: shared"), "{told:?}");
    assert!(told[2].contains("holds no more, token "), "{told:?}");
}

#[test]
fn changes_as_json() {
    let world = World::new();
    let _busy = busy(&world);
    let (mut said, watch) = watching(&world, &["--json", "inventory"]);
    let lines = [said.line(), said.line()].join("\n");
    watch.signal(nix::sys::signal::Signal::SIGTERM);
    world.redacted().bind(|| insta::assert_snapshot!("watch_json", lines));
}

#[test]
fn nobody_watches_too_often_or_for_nobody() {
    let world = World::new();
    let ended = world.ran(&["watch", "--every", "1ms"]);
    assert_eq!((ended.code(), ended.out.as_str()), (64, ""));
    assert!(ended.err.contains("`--every` is at least 50 ms"), "{ended:?}");
    // A reader that goes away ends it, at the next change.
    let (gate, [writer, ..]) = busy(&world);
    let mut command = world.leasehold(&["watch", "--every", "50ms"]);
    let (reader, end) = std::io::pipe().unwrap();
    command.stdout(end);
    drop(reader);
    assert_eq!(Running::start(command).end().code(), 0);
    gate.say("go");
    drop(writer);
}

#[test]
fn nothing_is_said_as_nothing() {
    let world = World::new();
    let said = [&["ls"][..], &["ls", "--json"], &["show", "demo"], &["show", "demo", "--json"]]
        .map(|arguments| format!("{arguments:?}\n{}", world.ran(arguments).all()));
    insta::assert_snapshot!(said.join("\n"));
}

#[test]
fn engines() {
    let world = World::new();
    insta::assert_snapshot!("engines", world.ran(&["engines"]).out);
    insta::assert_snapshot!("engines_json", world.ran(&["engines", "--json"]).out);
}
