//! Bad input and servers that are no use: what is said, and that nothing is touched.

use std::time::Duration;

use leasehold_core::{Claim, Engine, Error, ErrorKind, Manner, Name, Outcome, Query};
use leasehold_testkit::redis::Redis as Server;

use crate::world::*;

/// What is said, without what differs from run to run.
fn said(server: &Server, error: &Error) -> String {
    assert_eq!(error.outcome(), Outcome::NotApplied, "{error:?}");
    plainly(server, error)
}

fn plainly(server: &Server, error: &Error) -> String {
    let tls = server.certificates().map(|_| server.tls_url().replace("rediss://", ""));
    format!("{}: {error}", error.kind())
        .replace(&server.addr().to_string(), "SERVER")
        .replace(tls.as_deref().unwrap_or("SERVER"), "SERVER")
        .replace(&server.folder().display().to_string(), "FOLDER")
}

/// Why there is no connection.
async fn refused(server: &Server, url: &str) -> String {
    let error = try_open(url).await.map(drop).expect_err(url);
    said(server, &error)
}

#[tokio::test]
async fn a_key_of_another_type_is_named_and_left_alone() {
    let server = Server::start().unwrap();
    let engine = open(&server.url()).await;
    let mut all = Vec::new();
    for (kind, make) in [
        ("hash", "HSET lock:r a 1"),
        ("list", "RPUSH lock:r a"),
        ("set", "SADD lock:r a"),
        ("zset", "ZADD lock:r 1 a"),
        ("stream", "XADD lock:r 1-1 a 1"),
    ] {
        server.ask("DEL lock:r");
        server.ask(make);
        let before = server.ask("DUMP lock:r");
        let mutex = engine.try_join(claim("r", 1)).await.unwrap_err();
        all.push(said(&server, &mutex));
        let permit = engine.try_join(share("r", 1, (1, 3))).await.unwrap_err();
        let refresh = engine.try_refresh(&key("r", 1), SECOND).await.unwrap_err();
        let leave = engine.try_leave(&key("r", 1), Manner::Release).await.unwrap_err();
        for error in [mutex, permit, refresh, leave] {
            assert_eq!(
                (error.kind(), error.outcome()),
                (ErrorKind::Refused, Outcome::NotApplied),
                "{kind}: {error:?}"
            );
        }
        // Nobody of ours is there.
        let page = engine.inspect(Query::exactly(&Name::new("r").unwrap())).await.unwrap();
        assert!(page.queues.is_empty());
        assert_eq!((server.ask("DUMP lock:r"), server.pttl("lock:r")), (before, -1));
        assert_eq!(server.keys(), ["lock:r"]);
    }
    insta::assert_debug_snapshot!(all);
}

#[tokio::test]
async fn one_bad_key_does_not_fail_the_others() {
    let server = Server::start().unwrap();
    let engine = open(&server.url()).await;
    server.ask("HSET lock:bad a 1");
    let standings = engine.join(&[claim("a", 1), claim("bad", 2), claim("b", 3)]).await;
    assert_eq!([0, 1, 2].map(|at: usize| standings[at].is_ok()), [true, false, true]);
    let asks = [("a", 1), ("bad", 2), ("b", 3)].map(|(name, id)| leasehold_core::Refresh {
        claim: key(name, id),
        ttl: LONG,
        raise: None,
    });
    let standings = engine.refresh(&asks).await;
    assert_eq!([0, 1, 2].map(|at: usize| standings[at].is_ok()), [true, false, true]);
    let error = standings[1].as_ref().unwrap_err();
    assert!(error.to_string().contains("`lock:bad` is a hash"), "{error:?}");
}

#[tokio::test]
async fn who_may_not() {
    let server = Server::builder()
        .user("default", "off")
        .user("weak", "on >secret ~other:* &* +@all")
        .user("mute", "on >secret ~* resetchannels +@all")
        .user("poor", "on >secret ~* &* +@all -@scripting")
        .start()
        .unwrap();
    let (at, mut all) = (server.addr(), Vec::new());
    all.push(refused(&server, &format!("redis://{at}")).await);
    all.push(refused(&server, &format!("redis://weak:wrong@{at}")).await);
    all.push(refused(&server, &format!("redis://nobody:secret@{at}")).await);
    all.push(refused(&server, &format!("redis://mute:secret@{at}")).await);
    for user in ["weak", "poor"] {
        let engine = open(&format!("redis://{user}:secret@{at}")).await;
        let error = engine.try_join(claim("r", 1)).await.unwrap_err();
        all.push(said(&server, &error));
    }
    assert_eq!(server.keys(), [""; 0]);
    let server = Server::builder().password("secret").start().unwrap();
    all.push(refused(&server, &format!("redis://{}", server.addr())).await);
    all.push(refused(&server, &format!("redis://:wrong@{}", server.addr())).await);
    // What is in brackets is the server's own, and not the same in all versions.
    let ours = |said: &String| match said.split_once("may not do that (").zip(said.split_once("); ")) {
        Some(((before, _), (_, after))) => format!("{before}may not do that (…); {after}"),
        None => said.clone(),
    };
    insta::assert_debug_snapshot!(all.iter().map(ours).collect::<Vec<_>>());
}

#[tokio::test]
async fn no_such_database() {
    let server = Server::start().unwrap();
    insta::assert_snapshot!(refused(&server, &format!("{}/16", server.url())).await);
}

#[tokio::test]
async fn a_replica_is_not_the_server() {
    let master = Server::start().unwrap();
    let replica = Server::builder().replica_of(&master).start().unwrap();
    let refused = refused(&replica, &replica.url()).await;
    insta::assert_snapshot!(refused.replace(&master.addr().to_string(), "MASTER"));
}

#[tokio::test]
async fn a_server_that_is_loading() {
    let server = Server::builder()
        .option("key-load-delay", "1000")
        .option("loading-process-events-interval-bytes", "1024")
        .start()
        .unwrap();
    server.command(["EVAL", "for n = 1, 20000 do redis.call('SET', n, n) end", "0"]).unwrap();
    server.ask("SAVE");
    server.kill().unwrap();
    server.launch().unwrap();
    let mut why = None;
    until("it listens, and loads", async || {
        why = match try_open(&server.url()).await {
            Ok(engine) => engine.try_join(claim("r", 1)).await.err(),
            Err(error) => Some(error).filter(|error| !error.to_string().contains("refused")),
        };
        why.is_some()
    })
    .await;
    insta::assert_snapshot!(said(&server, &why.unwrap()));
}

#[tokio::test]
async fn a_server_without_memory() {
    let server = Server::builder().option("maxmemory-policy", "noeviction").start().unwrap();
    let engine = open(&server.url()).await;
    token(&engine.join_one(claim("held", 1)).await);
    token(&engine.join_one(claim("waited", 2)).await);
    engine.join_one(claim("waited", 3)).await;
    server.ask("CONFIG SET maxmemory 1");
    let error = engine.try_join(claim("r", 1)).await.unwrap_err();
    insta::assert_snapshot!(said(&server, &error));
    let refresh = engine.try_refresh(&key("held", 1), SECOND).await.unwrap_err();
    assert_eq!((refresh.kind(), refresh.outcome()), (ErrorKind::Unavailable, Outcome::NotApplied));
    // Letting go makes room.
    engine.release(&key("held", 1)).await;
    assert_eq!(server.get("lock:held"), None);
    server.ask("CONFIG SET maxmemory 0");
    token(&engine.join_one(claim("r", 1)).await);
    token(&engine.look(&key("waited", 2)).await);
}

#[tokio::test]
async fn a_server_that_forgets_is_warned_of() {
    let mut all = Vec::new();
    for policy in ["noeviction", "allkeys-lru", "volatile-ttl"] {
        let server = Server::builder()
            .option("maxmemory", "100mb")
            .option("maxmemory-policy", policy)
            .start()
            .unwrap();
        all.push((policy, open(&server.url()).await.info().warnings.clone()));
    }
    assert!(all[0].1.is_empty() && !all[1].1.is_empty() && !all[2].1.is_empty());
    insta::assert_debug_snapshot!(all);
}

#[tokio::test]
async fn nobody_there() {
    let server = Server::builder().tls().start().unwrap();
    let (socket, ca) = (server.socket(), server.certificates().unwrap().authority());
    server.kill().unwrap();
    let mut all = Vec::new();
    for url in [
        server.url(),
        format!("{}?ca={}", server.tls_url(), ca.display()),
        format!("redis+unix:{}", socket.display()),
        format!("redis+unix:{}", server.folder().join("none.sock").display()),
    ] {
        let error = try_open(&url).await.map(drop).expect_err(&url);
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
        all.push(plainly(&server, &error));
    }
    insta::assert_debug_snapshot!(all);
}

#[tokio::test]
async fn plain_and_encrypted_do_not_mix() {
    let server = Server::builder().tls().start().unwrap();
    let other = Server::builder().tls().start().unwrap();
    let (plain, tls) = (server.addr().to_string(), server.tls_url());
    let ca = |server: &Server| server.certificates().unwrap().authority().display().to_string();
    let mut all = Vec::new();
    for url in [
        format!("rediss://{plain}?ca={}&timeout=1s", ca(&server)),
        format!("{}?timeout=1s", tls.replace("rediss:", "redis:")),
        format!("{tls}?ca={}", ca(&other)),
        tls.clone(),
        format!("{tls}?ca={}/none.pem", server.folder().display()),
        format!("{tls}?ca={}/redis.conf", server.folder().display()),
    ] {
        let error = try_open(&url).await.map(drop).expect_err(&url);
        all.push(plainly(&server, &error));
    }
    server.ask("CONFIG SET tls-auth-clients yes");
    let error = match try_open(&format!("{tls}?ca={}", ca(&server))).await {
        Ok(engine) => engine.try_join(claim("r", 1)).await.unwrap_err(),
        Err(error) => error,
    };
    all.push(plainly(&server, &error));
    insta::assert_debug_snapshot!(all);
}

#[tokio::test]
async fn what_cannot_be_meant_is_never_sent() {
    let server = Server::start().unwrap();
    let engine = open(&server.url()).await;
    let locks = leasehold_core::Client::new(engine.clone()).unwrap();
    let short = locks.mutex("r").unwrap().ttl(Duration::from_millis(10)).lock().await.unwrap_err();
    assert_eq!(short.kind(), ErrorKind::InvalidInput);
    insta::assert_snapshot!(short);
    // The longest that is offered is taken, and kept for as long.
    let longest = engine.info().ttl_max;
    token(&engine.join_one(Claim { ttl: longest, ..claim("r", 1) }).await);
    assert!(server.pttl("lock:r") > 0);
    assert_eq!(ahead(&engine.join_one(Claim { ttl: longest, ..claim("r", 2) }).await), 1);
    assert!(server.pttl("lock:r") > 0);
}
