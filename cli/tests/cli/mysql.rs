//! The same commands over a MariaDB server.

use leasehold_testkit::mariadb::MariaDb;

use crate::world::{Running, World};

#[test]
fn whoever_may_prints_the_schema_and_others_lock() {
    let (world, server) = (World::new(), MariaDb::start().unwrap());
    let printed = world.ran(&["schema", "mysql"]);
    assert_eq!((printed.code(), printed.err.as_str()), (0, ""));
    server.run(&printed.out).unwrap();
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
        .run("INSERT INTO distributed_locks VALUES ('other', 'by-hand', NOW(6) + INTERVAL 1 HOUR, NOW(6))")
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
