//! The same commands over a PostgreSQL server.

use leasehold_testkit::postgres::Postgres;

use crate::world::{Running, World};

#[test]
fn whoever_may_prints_the_schema_and_others_lock() {
    let (world, server) = (World::new(), Postgres::start().unwrap());
    let printed = world.ran(&["schema", "postgres"]);
    assert_eq!((printed.code(), printed.err.as_str()), (0, ""));
    server.sql(&printed.out).unwrap();
    let leasehold = |arguments: &[&str]| {
        let mut command = world.leasehold(arguments);
        command.env("LEASEHOLD_ENGINE", server.url());
        Running::start(command)
    };
    let (mut steps, gate) = (world.fifo("steps"), world.fifo("gate"));
    let script = "echo $LEASEHOLD_TOKEN > steps; read go < gate";
    let holder = leasehold(&["run", "demo", "--", "sh", "-c", script]);
    let held: u64 = steps.line().parse().unwrap();
    assert!(leasehold(&["ls"]).end().out.contains("demo"));
    server
        .sql("INSERT INTO distributed_locks VALUES ('other', 'by-hand', now() + interval '1 hour', now())")
        .unwrap();
    assert!(leasehold(&["show", "other"]).end().out.contains("by-hand"));
    assert_eq!(leasehold(&["run", "--no-wait", "other", "--", "true"]).end().code(), 75);
    let mut waiter = leasehold(&["run", "demo", "--", "sh", "-c", "echo $LEASEHOLD_TOKEN > steps"]);
    waiter.says("waiting for `demo`, held by ");
    assert_eq!(leasehold(&["unlock", "--force", "demo"]).end().code(), 0);
    let next: u64 = steps.line().parse().unwrap();
    assert!(next > held, "{next} after {held}");
    assert_eq!(waiter.end().code(), 0);
    drop(gate);
    drop(holder);
}

#[test]
fn session_locks_are_shown_by_key_and_are_not_anothers_to_end() {
    let (world, server) = (World::new(), Postgres::start().unwrap());
    let leasehold = |arguments: &[&str]| {
        let mut command = world.leasehold(arguments);
        command.env("LEASEHOLD_ENGINE", server.url().replacen("postgres:", "postgres+advisory:", 1));
        Running::start(command)
    };
    let (mut steps, gate) = (world.fifo("steps"), world.fifo("gate"));
    let script = "echo $LEASEHOLD_TOKEN > steps; read go < gate";
    let holder = leasehold(&["run", "demo", "--", "sh", "-c", script]);
    let held: u64 = steps.line().parse().unwrap();
    assert_eq!(leasehold(&["run", "--no-wait", "demo", "--", "true"]).end().code(), 75);
    // The server knows no names.
    let shown = leasehold(&["ls"]).end().out;
    assert!(shown.contains('#') && shown.contains("leasehold pid "), "{shown}");
    assert!(leasehold(&["show", "demo"]).end().out.contains("leasehold pid "));
    let refused = leasehold(&["unlock", "--force", "demo"]).end();
    assert_ne!(refused.code(), 0);
    assert!(refused.err.contains("leasehold cannot end"), "{}", refused.err);
    let waiter = leasehold(&["run", "demo", "--", "sh", "-c", "echo $LEASEHOLD_TOKEN > steps"]);
    gate.say("go");
    assert_eq!(holder.end().code(), 0);
    let next: u64 = steps.line().parse().unwrap();
    assert!(next > held, "{next} after {held}");
    assert_eq!(waiter.end().code(), 0);
}
