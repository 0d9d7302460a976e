//! Other programs that lock the same names, and other clients of ours.

use futures_util::StreamExt;
use leasehold_core::engine::Query;
use leasehold_core::{Engine, Name, Standing};
use leasehold_testkit::mariadb::MariaDb as Server;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder};

use crate::world::{ahead, claim, key, token};
use crate::*;

/// A program that knows nothing of leasehold.
async fn bare(server: &Server) -> Conn {
    let opts = OptsBuilder::from_opts(Opts::from_url(&server.url()).unwrap()).prefer_socket(false);
    Conn::new(opts).await.unwrap()
}

async fn says(conn: &mut Conn, asked: &str) -> Option<i64> {
    conn.query_first::<Option<i64>, _>(asked).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_bare_user_is_kept_out_and_keeps_out() {
    let server = Server::start().unwrap();
    let engine = open(&url(&server)).await;
    let mut theirs = bare(&server).await;
    for name in ["m", "inventory/42", "it's \"quoted\" \\ %s"] {
        let literal = name.replace('\\', "\\\\").replace('\'', "''");
        let take = format!("SELECT GET_LOCK('{literal}', 0)");
        let free = format!("SELECT RELEASE_LOCK('{literal}')");
        assert_eq!(says(&mut theirs, &take).await, Some(1));
        assert_eq!(ahead(&engine.join_one(claim(name, 1)).await), 1);
        // It says by itself when it is its turn.
        let mut hints = engine.watch(&key(name, 1));
        waiting(&server, "1").await;
        assert_eq!(says(&mut theirs, &free).await, Some(1));
        within("we are told", hints.next()).await;
        token(&engine.look(&key(name, 1)).await);
        assert_eq!(says(&mut theirs, &take).await, Some(0), "{name} is ours");
        engine.release(&key(name, 1)).await;
        assert_eq!(says(&mut theirs, &take).await, Some(1));
        assert_eq!(says(&mut theirs, &free).await, Some(1));
        // Also when it is free at once.
        token(&engine.join_one(claim(name, 2)).await);
        assert_eq!(says(&mut theirs, &take).await, Some(0), "{name} is ours");
        engine.release(&key(name, 2)).await;
    }
}

#[tokio::test]
async fn a_bare_user_who_waits_comes_before_the_next_task_of_ours() {
    let server = Server::start().unwrap();
    let engine = open(&url(&server)).await;
    let mut theirs = bare(&server).await;
    token(&engine.join_one(claim("m", 1)).await);
    let waits = tokio::spawn(async move {
        let got = says(&mut theirs, "SELECT GET_LOCK('m', 60)").await;
        (theirs, got)
    });
    waiting(&server, "1").await;
    ahead(&engine.join_one(claim("m", 2)).await);
    engine.release(&key("m", 1)).await;
    let (mut theirs, got) = within("it gets it", waits).await.unwrap();
    assert_eq!(got, Some(1));
    ahead(&engine.look(&key("m", 2)).await);
    assert_eq!(says(&mut theirs, "SELECT RELEASE_LOCK('m')").await, Some(1));
    within("it is ours again", async {
        while !matches!(engine.look(&key("m", 2)).await, Standing::Held { .. }) {}
    })
    .await;
}

#[tokio::test]
async fn many_locks_are_held_by_one_connection_and_each_excludes() {
    let server = Server::start().unwrap();
    let (one, two) = (open(&url(&server)).await, open(&url(&server)).await);
    let name = |n: u128| format!("lock {n}");
    let claims: Vec<_> = (0..500).map(|n| claim(&name(n), 1000 + n)).collect();
    let mut last = None;
    for standing in one.join(&claims).await {
        let token = token(&standing.unwrap());
        assert!(last.replace(token).is_none_or(|last| last < token));
    }
    let sessions = "SELECT COUNT(*) FROM information_schema.processlist WHERE command <> 'Daemon' AND id <> CONNECTION_ID()";
    assert_eq!(server.run(sessions).unwrap().trim(), "2");
    for n in 0..500 {
        ahead(&two.join_one(claim(&name(n), 2000 + n)).await);
        // Not again for the session that has it.
        ahead(&one.join_one(claim(&name(n), 3000 + n)).await);
    }
}

#[tokio::test]
async fn names_that_the_server_takes_for_one_are_two() {
    let server = Server::start().unwrap();
    let (one, two) = (open(&url(&server)).await, open(&url(&server)).await);
    let long = "n".repeat(255);
    let longer = format!("{}m", &long[1..]);
    for (nth, name) in ["a", "A", "á", "a ", "ä", "a\u{308}", &long, &longer].into_iter().enumerate() {
        let id = nth as u128 + 1;
        token(&one.join_one(claim(name, id)).await);
        ahead(&two.join_one(claim(name, 100 + id)).await);
    }
}

#[tokio::test]
async fn a_client_that_hands_over_within_itself_lets_others_in() {
    let server = Server::start().unwrap();
    let (one, two) = (client(&url(&server)).await, client(&url(&server)).await);
    let mutex = one.mutex("m").unwrap();
    let tasks: Vec<_> = (0..4)
        .map(|_| {
            let mutex = mutex.clone();
            tokio::spawn(async move {
                loop {
                    mutex.lock().await.unwrap().release().await.unwrap();
                }
            })
        })
        .collect();
    for _ in 0..20 {
        let guard = within("the other client gets it", two.mutex("m").unwrap().lock()).await.unwrap();
        guard.release().await.unwrap();
    }
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn who_else_holds_is_shown_for_the_name_that_is_asked_for() {
    let server = Server::start().unwrap();
    let (one, two) = (open(&url(&server)).await, open(&url(&server)).await);
    token(&one.join_one(claim("m", 1)).await);
    let shown = two.inspect(Query::exactly(&Name::new("m").unwrap())).await.unwrap();
    assert!(shown.queues[0].claims[0].is_foreign());
    assert!(shown.queues[0].claims[0].meta.owner.starts_with("connection "), "{shown:?}");
    let all = |engine: GetLock| async move {
        let page = engine.inspect(Query { prefix: String::new(), after: None, limit: 10 }).await.unwrap();
        page.queues.into_iter().map(|queue| (queue.name.to_string(), queue.claims.len())).collect::<Vec<_>>()
    };
    assert_eq!(all(one).await, [("m".to_owned(), 1)]);
    assert_eq!(all(two).await, []);
}
