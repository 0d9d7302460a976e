//! Clients of the common recipe exclude us, and we exclude them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use leasehold_core::{Engine, Query, Standing};
use leasehold_testkit::mariadb::MariaDb as Server;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use crate::world::*;

/// The recipe, over a connection of its own with the server's defaults.
struct Plain {
    conn: Conn,
    owner: String,
}

impl Plain {
    async fn of(server: &Server, owner: &str) -> Self {
        let conn = Conn::new(mysql_async::Opts::from_url(&server.url()).unwrap()).await.unwrap();
        Self { conn, owner: owner.to_owned() }
    }

    async fn run(&mut self, statement: String) -> bool {
        match self.conn.query_iter(statement).await {
            Ok(done) => done.affected_rows() == 1,
            // Among themselves such clients know deadlocks.
            Err(mysql_async::Error::Server(e)) if e.code == 1213 || e.code == 1205 => false,
            Err(e) => panic!("{e}"),
        }
    }

    /// Deletes what has expired, and puts a row if there is none. Whether that succeeded.
    async fn lock(&mut self, name: &str, span: &str) -> bool {
        self.run("DELETE FROM distributed_locks WHERE expires_at < NOW(6)".to_owned()).await;
        let owner = &self.owner;
        self.run(format!(
            "INSERT IGNORE INTO distributed_locks (lock_name, owner_id, expires_at, created_at) \
             VALUES ('{name}', '{owner}', NOW(6) + INTERVAL {span}, NOW(6))"
        ))
        .await
    }

    async fn unlock(&mut self, name: &str) -> bool {
        let owner = &self.owner;
        self.run(format!("DELETE FROM distributed_locks WHERE lock_name = '{name}' AND owner_id = '{owner}'"))
            .await
    }
}

#[tokio::test]
async fn a_plain_client_is_kept_out_by_us() {
    let server = Server::start().unwrap();
    let engine = open(&server.url()).await;
    let mut plain = Plain::of(&server, "plain").await;
    token(&engine.join_one(claim("m", 1)).await);
    assert!(!plain.lock("m", "1 HOUR").await);
    assert!(!plain.unlock("m").await);
    // The hand-over leaves no gap.
    ahead(&engine.join_one(claim("m", 2)).await);
    engine.release(&key("m", 1)).await;
    assert!(!plain.lock("m", "1 HOUR").await);
    engine.release(&key("m", 2)).await;
    assert!(plain.lock("m", "1 HOUR").await);
    // So do readers and permits, until the last has gone.
    for id in 1..=2 {
        token(&engine.join_one(share("s", id, (1, 3))).await);
    }
    engine.release(&key("s", 1)).await;
    assert!(!plain.lock("s", "1 HOUR").await);
    engine.release(&key("s", 2)).await;
    assert!(plain.lock("s", "1 HOUR").await);
}

#[tokio::test]
async fn we_are_kept_out_by_a_plain_client_and_follow_it() {
    let server = Server::start().unwrap();
    let locks = client(&server.url(), 10 * SECOND).await;
    let mut plain = Plain::of(&server, "plain").await;
    assert!(plain.lock("m", "1 HOUR").await);
    let mutex = locks.mutex("m").unwrap();
    assert!(mutex.try_lock().await.unwrap().is_none());
    let shown = locks.engine().inspect(Query::exactly(&claim("m", 0).name)).await.unwrap();
    assert!(shown.queues[0].claims[0].is_foreign());
    assert_eq!(&*shown.queues[0].claims[0].meta.owner, "plain");
    let waits = tokio::spawn(async move { mutex.lock().await });
    assert!(plain.unlock("m").await);
    let guard = within("the plain client is followed", waits).await.unwrap().unwrap();
    assert!(!plain.lock("m", "1 HOUR").await);
    guard.release().await.unwrap();
    // One that has expired and is still there is taken over.
    assert!(plain.lock("m", "1000 MICROSECOND").await);
    let guard = within("what has expired is taken over", locks.mutex("m").unwrap().lock()).await.unwrap();
    assert!(!plain.unlock("m").await);
    guard.release().await.unwrap();
}

#[tokio::test]
async fn whose_row_was_deleted_holds_no_more() {
    let server = Server::start().unwrap();
    let engine = open(&server.url()).await;
    let mut plain = Plain::of(&server, "plain").await;
    let first = token(&engine.join_one(claim("m", 1)).await);
    server.run("DELETE FROM distributed_locks").unwrap();
    assert!(plain.lock("m", "1 HOUR").await);
    assert_eq!(engine.look(&key("m", 1)).await, Standing::Gone);
    assert_eq!(ahead(&engine.join_one(claim("m", 2)).await), 1);
    assert!(plain.unlock("m").await);
    let second = token(&engine.look(&key("m", 2)).await);
    assert!(second > first, "{second} after {first}");
    server.run("DELETE FROM distributed_locks").unwrap();
    assert!(token(&engine.join_one(claim("m", 3)).await) > second);
    assert_eq!(engine.look(&key("m", 2)).await, Standing::Gone);
}

#[tokio::test]
async fn names_are_bytes() {
    let server = Server::start().unwrap();
    let engine = open(&server.url()).await;
    let names = [
        "name",
        "Name",
        "name ",
        "nàme",
        "name\u{a0}",
        "'; DROP TABLE distributed_locks; --",
        "\\",
        "%",
        "\u{1f512}",
    ];
    let claims: Vec<_> = (1..).zip(names).map(|(id, name)| claim(name, id)).collect();
    for answer in engine.join(&claims).await {
        token(&answer.unwrap());
    }
    let all = engine.inspect(Query { limit: 100, ..Query::default() }).await.unwrap();
    let mut sorted = names;
    sorted.sort_unstable();
    assert_eq!(all.queues.iter().map(|queue| queue.name.as_str()).collect::<Vec<_>>(), sorted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn among_plain_clients_nobody_meets_another_and_deadlocks_do_not_reach_users() {
    const NAMES: usize = 3;
    let server = Arc::new(Server::start().unwrap());
    let inside: Arc<Vec<AtomicU32>> = Arc::new((0..NAMES).map(|_| AtomicU32::new(0)).collect());
    let alone = |inside: &[AtomicU32], nth: usize| {
        assert_eq!(inside[nth].fetch_add(1, Ordering::SeqCst), 0, "alone");
        std::thread::yield_now();
        inside[nth].fetch_sub(1, Ordering::SeqCst);
    };
    let mut tasks = Vec::new();
    for ours in 0..4 {
        let (locks, inside) = (client(&server.url(), 30 * SECOND).await, inside.clone());
        tasks.push(tokio::spawn(async move {
            for round in 0..40 {
                let nth = (ours + round) % NAMES;
                let guard = locks.mutex(&format!("name {nth}")).unwrap().lock().await.unwrap();
                alone(&inside, nth);
                guard.release().await.unwrap();
            }
        }));
    }
    for theirs in 0..3 {
        let (server, inside) = (server.clone(), inside.clone());
        tasks.push(tokio::spawn(async move {
            let mut plain = Plain::of(&server, &format!("plain {theirs}")).await;
            let mut times = 0;
            while times < 10 {
                let nth = (theirs + times) % NAMES;
                let name = format!("name {nth}");
                if plain.lock(&name, "1 HOUR").await {
                    times += 1;
                    alone(&inside, nth);
                    while !plain.unlock(&name).await {}
                }
            }
        }));
    }
    for task in tasks {
        within("all have had their turns", task).await.unwrap();
    }
}
