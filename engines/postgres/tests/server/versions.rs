//! Tables of an earlier release are brought up to this one's.

use leasehold_testkit::postgres::Postgres as Server;

use crate::world::*;

/// What a release of version 1 left behind, with a lock held in it.
fn first_version(server: &Server) {
    server.sql(include_str!("../../src/schema/1.sql")).unwrap();
    let lock = "SELECT kind FROM leasehold_work(false, '', '{old}', ARRAY[repeat('0', 31) || '1'], '{1}', '{1}', '{30000000}', \
                '{0}', '{them}', ARRAY[NULL], '{}', '{}', '{}', '{}', '{}', '{}')";
    assert_eq!(server.sql(lock).unwrap(), "held");
}

#[tokio::test]
async fn tables_of_an_earlier_release_are_brought_up_and_keep_their_locks() {
    let server = Server::start().unwrap();
    first_version(&server);
    // Several start at once, as they do after an update.
    let url = server.url();
    let engines = futures_util::future::join_all((0..4).map(|_| open(&url))).await;
    assert_eq!(server.sql("SELECT version FROM leasehold_schema").unwrap(), "2");
    assert_eq!(ahead(&engines[0].join_one(claim("old", 2)).await), 1);
    engines[1].release(&key("old", 1)).await;
    token(&engines[0].look(&key("old", 2)).await);
}

#[tokio::test]
async fn many_that_start_at_once_make_them_once() {
    let server = Server::start().unwrap();
    let url = server.url();
    let engines = futures_util::future::join_all((0..8).map(|_| open(&url))).await;
    for (engine, id) in engines.iter().zip(1..) {
        token(&engine.join_one(claim(&format!("m{id}"), id)).await);
    }
}

#[tokio::test]
async fn a_user_who_may_not_do_that_is_told_who_may() {
    let server = Server::start().unwrap();
    first_version(&server);
    server.sql("CREATE ROLE clerk LOGIN; GRANT SELECT ON leasehold_schema TO clerk").unwrap();
    let said = refused(&server.url_of("clerk")).await;
    insta::assert_snapshot!(said.replace(&server.port().to_string(), "PORT"));
    assert_eq!(server.sql("SELECT version FROM leasehold_schema").unwrap(), "1");
}
