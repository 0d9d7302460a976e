//! Whatever does not fit is said, with what to do.

use std::net::TcpListener;

use leasehold_core::ErrorKind;
use leasehold_testkit::dynamodb::DynamoDb as Server;
use serde_json::json;

use crate::world::*;

#[tokio::test]
async fn a_table_that_is_not_there_or_has_another_key_is_said() {
    let server = Server::start().unwrap();
    server.make_table("other", &["id", "sort"]).unwrap();
    for (table, words) in [
        ("missing", "leasehold schema dynamodb --apply"),
        (
            "other",
            "the key of the table `other` is `id` (S, HASH) and `sort` (S, RANGE), and must be `lock_name` (S, HASH)",
        ),
    ] {
        let error = try_open(&server.url_of(table, server.addr())).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[tokio::test]
async fn a_wrong_endpoint_is_said() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = {
        let closed = TcpListener::bind("127.0.0.1:0").unwrap();
        closed.local_addr().unwrap()
    };
    for (addr, words) in
        [(nobody, "cannot be reached"), (silent.local_addr().unwrap(), "does not answer in time")]
    {
        let url = format!("dynamodb://key:secret@locks?endpoint=http://{addr}&timeout=300ms");
        let error = try_open(&url).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert!(
            error.to_string().contains(words) && error.to_string().contains(&addr.to_string()),
            "{error}"
        );
    }
}

#[tokio::test]
async fn an_item_of_somebody_else_is_left_as_it_is() {
    let server = Server::start().unwrap();
    let engine = open(&server.url()).await;
    let item = json!({ "lock_name": { "S": "m" }, "claims": { "S": "not a list" } });
    let put = json!({ "TableName": server.table(), "Item": item });
    server.ask("PutItem", &put).unwrap();
    let error = engine.try_join(&claim("m", 1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    let get = json!({ "TableName": server.table(), "Key": { "lock_name": { "S": "m" } } });
    assert_eq!(server.ask("GetItem", &get).unwrap()["Item"], item);
}
