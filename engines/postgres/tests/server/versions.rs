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

#[tokio::test(flavor = "multi_thread")]
async fn who_connects_waits_for_those_who_draw_tokens_longer_than_a_request_would() {
    let server = Server::start().unwrap();
    let url = server.url();
    drop(open(&url).await);
    let opened = std::thread::scope(|scope| {
        let draw = "BEGIN; SELECT pg_advisory_xact_lock_shared(7810774602817235315); SELECT pg_sleep(60)";
        let drawing = scope.spawn(|| server.sql(draw));
        let drawn =
            "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'BEGIN;%' AND wait_event = 'PgSleep'";
        while server.sql(drawn).unwrap() != "1" {}
        let (runtime, url) = (tokio::runtime::Handle::current(), &url);
        let opening = scope.spawn(move || runtime.block_on(try_open(url)));
        let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'advisory' \
                     AND clock_timestamp() - query_start > interval '1 s'";
        while !opening.is_finished() && server.sql(waits).unwrap() != "1" {}
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'BEGIN;%'";
        server.sql(end).unwrap();
        drop(drawing.join().unwrap());
        opening.join().unwrap()
    });
    token(&opened.unwrap().join_one(claim("m", 1)).await);
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
