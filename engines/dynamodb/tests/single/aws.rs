//! `layout=aws`: python-dynamodb-lock keeps ours out and is kept out, and so is whoever writes as AWS's lock client does.

use std::io;
use std::process::Command;
use std::time::Duration;

use futures_util::StreamExt;
use leasehold_core::url::EngineUrl;
use leasehold_core::{Claim, Engine, Env, ErrorKind, Query, Standing};
use leasehold_dynamodb::{Config, schema};
use leasehold_testkit::dynamodb::DynamoDb as Server;
use leasehold_testkit::{Worker, python, scratch};
use serde_json::{Value, json};

use crate::relay::Relay;
use crate::world::*;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/single/aws.py");
const PYTHONS: &str = "python";

/// A server with a table as python-dynamodb-lock makes it, and the URL of ours in it.
fn server() -> (Server, String) {
    let server = Server::start().unwrap();
    server.make_table(PYTHONS, &["lock_key", "sort_key"]).unwrap();
    let url = format!("{}&layout=aws&poll=20ms", server.url_of(PYTHONS, server.addr()));
    (server, url)
}

/// A process with python-dynamodb-lock, with a lease of so many seconds.
fn theirs(server: &Server, lease: f64) -> Worker {
    let endpoint = format!("http://{}", server.addr());
    let mut python = Command::new(python().unwrap());
    Worker::spawn(python.args([SCRIPT, &endpoint, PYTHONS, &lease.to_string()])).unwrap()
}

async fn says(worker: &mut Worker, line: &str) -> String {
    worker.say(line).unwrap();
    worker.line().await.unwrap()
}

fn item_of(server: &Server, name: &str) -> Value {
    let key = json!({ "lock_key": { "S": name }, "sort_key": { "S": "-" } });
    let request = json!({ "TableName": PYTHONS, "Key": key, "ConsistentRead": true });
    server.ask("GetItem", &request).unwrap()["Item"].take()
}

#[tokio::test]
async fn python_dynamodb_lock_keeps_ours_out_and_ours_keeps_it_out() {
    let (server, url) = server();
    let (ours, mut theirs) = (client(&url, LONG).await, theirs(&server, 30.0));
    let lock = ours.mutex("r").unwrap();
    let mut last = None;
    for _ in 0..2 {
        assert_eq!(says(&mut theirs, "try r").await, "held");
        assert!(lock.try_lock().await.unwrap().is_none());
        assert_eq!(says(&mut theirs, "release r").await, "released");
        let guard = lock.lock().await.unwrap();
        assert!(last < Some(guard.token()), "tokens rise over what others do to the item");
        last = Some(guard.token());
        assert_eq!(says(&mut theirs, "try r").await, "busy");
        guard.release().await.unwrap();
    }
    // With nobody of the others in between, by the item.
    let next = lock.lock().await.unwrap();
    assert_eq!(Some(next.token().get()), last.map(|last| last.get() + 1));

    // Whoever waits over there gets in when ours goes, and the other way round.
    theirs.say("lock r").unwrap();
    next.release().await.unwrap();
    assert_eq!(theirs.line().await.unwrap(), "held");
    let (waited, released) = tokio::join!(lock.lock(), says(&mut theirs, "release r"));
    assert_eq!(released, "released");
    waited.unwrap().release().await.unwrap();

    // Readers and permits keep it out as well, and it them.
    let reader = ours.rwlock("r").unwrap().read().await.unwrap();
    assert_eq!(says(&mut theirs, "try r").await, "busy");
    reader.release().await.unwrap();
    let permits = ours.semaphore("r", 3).unwrap();
    let permit = permits.acquire().await.unwrap();
    assert_eq!(says(&mut theirs, "try r").await, "busy");
    permit.release().await.unwrap();
    assert_eq!(says(&mut theirs, "try r").await, "held");
    assert!(permits.try_acquire().await.unwrap().is_none());
}

#[tokio::test]
async fn the_dead_are_followed_on_both_sides_and_the_living_are_not() {
    let (server, url) = server();
    let engine = open(&url).await;
    // Theirs is alive as long as it changes the version, however short its lease is.
    let mut first = theirs(&server, 1.0);
    assert_eq!(says(&mut first, "try r").await, "held");
    let waiter = claim("r", 1);
    assert_eq!(ahead(&engine.join_one(&waiter).await), 1);
    let mut version = Value::Null;
    for _ in 0..10 {
        // Twice its lease.
        let mut seen = item_of(&server, "r")["record_version_number"].take();
        while seen == version {
            tokio::task::yield_now().await;
            seen = item_of(&server, "r")["record_version_number"].take();
        }
        version = seen;
    }
    assert_eq!(ahead(&engine.renew(&waiter).await), 1);
    // And then it is not.
    first.kill().unwrap();
    let clock = Env::system().clock;
    while let Standing::Queued { look_again, .. } = engine.renew(&waiter).await {
        clock.sleep_until(clock.now() + look_again.max(Duration::from_millis(1))).await;
    }
    // Ours: it is renewed twice, and then no more.
    let mut second = theirs(&server, 1.0);
    let short = Claim { ttl: SHORT, ..claim("s", 2) };
    token(&engine.join_one(&short).await);
    second.say("lock s").unwrap();
    token(&engine.renew(&short).await);
    token(&engine.renew(&short).await);
    assert_eq!(second.line().await.unwrap(), "held");
    assert_eq!(engine.renew(&short).await, Standing::Gone);
}

#[tokio::test]
async fn no_increment_is_lost_between_the_two() {
    const TURNS: u32 = 25;
    let (server, url) = server();
    let dir = scratch().unwrap();
    let file = dir.path().join("counter");
    std::fs::write(&file, "0").unwrap();
    let mut theirs = [theirs(&server, 30.0), theirs(&server, 30.0)];
    for worker in &mut theirs {
        worker.say(&format!("increment r {} {TURNS}", file.display())).unwrap();
    }
    let ours = [client(&url, LONG).await, client(&url, LONG).await];
    let ours = ours.map(|client| {
        let (lock, file) = (client.mutex("r").unwrap(), file.clone());
        tokio::spawn(async move {
            for _ in 0..TURNS {
                let guard = lock.lock().await.unwrap();
                let number: u32 = std::fs::read_to_string(&file).unwrap().parse().unwrap();
                // Whoever else is in here reads the same.
                tokio::task::yield_now().await;
                std::fs::write(&file, (number + 1).to_string()).unwrap();
                guard.release().await.unwrap();
            }
        })
    });
    for task in ours {
        task.await.unwrap();
    }
    for worker in &mut theirs {
        assert_eq!(worker.line().await.unwrap(), "done");
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), (4 * TURNS).to_string());
}

/// What the lock client of AWS for Java asks, to the letter of its conditions.
struct Java<'a>(&'a Server);

impl Java<'_> {
    const TABLE: &'static str = "java";

    fn item(version: &str) -> Value {
        json!({
            "key": { "S": "r" }, "ownerName": { "S": "java" }, "leaseDuration": { "S": "20000" },
            "recordVersionNumber": { "S": version }, "data": { "B": "eA==" },
        })
    }

    fn put(&self, version: &str, condition: &str, values: Value) -> bool {
        let mut request = json!({
            "TableName": Self::TABLE, "Item": Self::item(version), "ConditionExpression": condition,
            "ExpressionAttributeNames": { "#key": "key" },
        });
        if values != json!({}) {
            request["ExpressionAttributeValues"] = values;
        }
        Self::done(self.0.ask("PutItem", &request))
    }

    fn take_what_is_not_there(&self, version: &str) -> bool {
        self.put(version, "attribute_not_exists(#key)", json!({}))
    }

    fn take_what_is_released(&self, version: &str) -> bool {
        let values = json!({ ":released": { "S": "1" } });
        self.put(version, "attribute_exists(#key) AND isReleased = :released", values)
    }

    fn update(&self, version: &str, set: &str, values: Value) -> bool {
        let mut all = json!({ ":seen": { "S": version }, ":owner": { "S": "java" } });
        all.as_object_mut().unwrap().extend(values.as_object().unwrap().clone());
        let request = json!({
            "TableName": Self::TABLE, "Key": { "key": { "S": "r" } }, "UpdateExpression": set,
            "ConditionExpression": "attribute_exists(#key) AND recordVersionNumber = :seen AND ownerName = :owner",
            "ExpressionAttributeNames": { "#key": "key" },
            "ExpressionAttributeValues": all,
        });
        Self::done(self.0.ask("UpdateItem", &request))
    }

    /// Whether it was done, and not for a condition left.
    fn done(answer: io::Result<Value>) -> bool {
        match answer {
            Ok(_) => true,
            Err(why) => {
                assert!(why.to_string().contains("ConditionalCheckFailed"), "{why}");
                false
            }
        }
    }

    fn beat(&self, from: &str, to: &str) -> bool {
        self.update(from, "SET recordVersionNumber = :next", json!({ ":next": { "S": to } }))
    }

    fn release(&self, version: &str) -> bool {
        self.update(version, "SET isReleased = :released", json!({ ":released": { "S": "1" } }))
    }
}

#[tokio::test]
async fn the_lock_client_of_aws_is_kept_out_and_keeps_out() {
    let server = Server::start().unwrap();
    server.make_table(Java::TABLE, &["key"]).unwrap();
    let url = format!("{}&layout=aws&poll=20ms", server.url_of(Java::TABLE, server.addr()));
    let (engine, java) = (open(&url).await, Java(&server));
    let [first, second, third] = [1, 2, 3].map(|id| claim("r", id));

    token(&engine.join_one(&first).await);
    assert!(!java.take_what_is_not_there("a") && !java.take_what_is_released("a"));
    engine.release(&first).await;
    assert!(!java.take_what_is_not_there("a"));
    assert!(java.take_what_is_released("a"));

    // Ours wait in its item, and that it renews does not push them out.
    assert_eq!(ahead(&engine.join_one(&second).await), 1);
    assert!(java.beat("a", "b"));
    assert_eq!(ahead(&engine.join_one(&third).await), 2);
    assert!(java.beat("b", "c"));
    let shown = engine.inspect(Query::exactly(&second.name)).await.unwrap().queues.remove(0);
    assert!(shown.claims[0].is_foreign() && &*shown.claims[0].meta.owner == "java", "{shown:?}");
    assert_eq!(shown.claims.len(), 3);

    // It lets go, and those who wait hear of it and hold in their order.
    let mut hints = engine.watch(&second.key());
    assert!(java.release("c"));
    hints.next().await.unwrap();
    let held = token(&engine.renew(&second).await);
    assert_eq!(ahead(&engine.renew(&third).await), 1);
    assert!(!java.take_what_is_released("d") && !java.beat("c", "d"));
    engine.release(&second).await;
    assert_eq!(token(&engine.renew(&third).await).get(), held.get() + 1);
}

#[tokio::test]
async fn a_lock_that_nobody_else_wants_is_still_one_request_each() {
    let (server, url) = server();
    let relay = Relay::before(server.addr());
    let url = url.replace(&server.addr().to_string(), &relay.addr().to_string());
    let engine = open(&url).await;
    relay.asked();
    for id in 1..3 {
        let claim = claim("m", id);
        token(&engine.join_one(&claim).await);
        token(&engine.renew(&claim).await);
        engine.release(&claim).await;
        assert_eq!(relay.asked(), ["UpdateItem"; 3]);
    }
}

#[tokio::test]
async fn what_is_no_item_of_theirs_is_left_as_it_is() {
    let (server, url) = server();
    let engine = open(&url).await;
    for (name, item) in [
        ("no version", json!({ "owner_name": { "S": "me" } })),
        ("no time", json!({ "record_version_number": { "S": "v" }, "lease_duration": { "N": "-1" } })),
    ] {
        let mut item = item;
        item["lock_key"] = json!({ "S": name });
        item["sort_key"] = json!({ "S": "-" });
        server.ask("PutItem", &json!({ "TableName": PYTHONS, "Item": item })).unwrap();
        let error = engine.try_join(&claim(name, 1)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        assert_eq!(item_of(&server, name), item);
    }
}

#[test]
fn their_table_is_not_ours_to_make() {
    let url = EngineUrl::parse("dynamodb://locks?region=eu-central-1&layout=aws").unwrap();
    let error = schema(&Config::from_url(url).unwrap()).unwrap_err();
    assert!(error.to_string().contains("have one of them make it"), "{error}");
}

#[tokio::test]
async fn a_wait_behind_theirs_is_withdrawn_without_a_trace() {
    let (server, url) = server();
    let (engine, mut theirs) = (open(&url).await, theirs(&server, 30.0));
    assert_eq!(says(&mut theirs, "try r").await, "held");
    let before = item_of(&server, "r");
    assert_eq!(ahead(&engine.join_one(&claim("r", 1)).await), 1);
    engine.release(&claim("r", 1)).await;
    let after = item_of(&server, "r");
    for (attribute, value) in before.as_object().unwrap() {
        if attribute != "record_version_number" {
            assert_eq!(&after[attribute], value, "{attribute} is theirs");
        }
    }
    assert_eq!(after.get("claims"), None);
    assert_eq!(says(&mut theirs, "release r").await, "released");
    assert_eq!(item_of(&server, "r"), Value::Null);
    token(&engine.join_one(&claim("r", 2)).await);
}
