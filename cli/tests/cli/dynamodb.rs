//! The same commands over DynamoDB.

use leasehold_testkit::dynamodb::DynamoDb;
use serde_json::Value;

use crate::world::{Running, World};

#[test]
fn the_table_is_printed_or_made_and_locks_are_held_in_it() {
    let (world, server) = (World::new(), DynamoDb::start().unwrap());
    let url = server.url_of("locks", server.addr());
    let leasehold = |arguments: &[&str]| {
        let mut command = world.leasehold(arguments);
        command.env("LEASEHOLD_ENGINE", &url);
        Running::start(command)
    };
    let refused = leasehold(&["ls"]).end();
    assert_eq!(refused.code(), 64);
    assert!(refused.err.contains("leasehold schema dynamodb --apply"), "{}", refused.err);
    let printed = leasehold(&["schema", "dynamodb"]).end().out;
    let request = printed.split('\'').nth(1).unwrap();
    let request: Value = serde_json::from_str(request).unwrap();
    assert_eq!(
        (&request["TableName"], &request["BillingMode"]),
        (&"locks".into(), &"PAY_PER_REQUEST".into())
    );
    for _ in 0..2 {
        // Also when it is there.
        assert_eq!(leasehold(&["schema", "dynamodb", "--apply"]).end().code(), 0);
    }
    let table = server.ask("DescribeTable", &serde_json::json!({ "TableName": "locks" })).unwrap();
    assert_eq!(table["Table"]["KeySchema"], request["KeySchema"]);

    let (mut steps, gate) = (world.fifo("steps"), world.fifo("gate"));
    let holder =
        leasehold(&["run", "demo", "--", "sh", "-c", "echo $LEASEHOLD_TOKEN > steps; read go < gate"]);
    let held: u64 = steps.line().parse().unwrap();
    assert!(leasehold(&["ls"]).end().out.contains("demo"));
    assert_eq!(leasehold(&["show", "demo"]).end().code(), 0);
    assert_eq!(leasehold(&["run", "--no-wait", "demo", "--", "true"]).end().code(), 75);
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
fn another_engine_has_no_such_table() {
    let world = World::new();
    let ended = world.ran(&["schema", "dynamodb"]);
    assert_eq!((ended.code(), ended.out.as_str()), (64, ""));
    assert!(ended.err.contains("names no table"), "{}", ended.err);
}

#[test]
fn without_credentials_or_a_region_it_says_what_to_set() {
    let world = World::new();
    for (url, code, words) in [
        (
            "dynamodb://locks?region=eu-central-1&endpoint=http://127.0.0.1:1",
            69,
            "there are no AWS credentials",
        ),
        ("dynamodb://locks", 64, "?region=eu-central-1"),
    ] {
        let mut command = world.leasehold(&["--engine", url, "ls"]);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("AWS_")) {
            command.env_remove(name);
        }
        // Not those of whoever runs the tests, nor of the machine.
        command.env("HOME", "/nonexistent").env("AWS_EC2_METADATA_DISABLED", "true");
        let ended = Running::start(command).end();
        assert_eq!(ended.code(), code, "{}", ended.err);
        assert!(ended.err.contains(words), "{}", ended.err);
    }
}
