//! Who may lock: tokens, certificates, datacenters, and what is said to those who may not.

use leasehold_testkit::consul::Consul as Server;

use crate::world::*;

/// What is said, without what is another one each time.
async fn refused(server: &Server, url: &str) -> String {
    let error = match try_open(url).await {
        Ok(engine) => engine.try_join(&claim("m", 1)).await.unwrap_err(),
        Err(error) => error,
    };
    assert!(!error.is_transient(), "{error}");
    let said = error.to_string().replace(&server.addr().to_string(), "SERVER");
    said.replace(&server.tls_addr(), "SERVER").replace(&server.folder().display().to_string(), "FOLDER")
}

#[tokio::test]
async fn tokens() {
    let server = Server::builder().tokens().start().unwrap();
    let with = |token: &str, options: &str| format!("consul://:{token}@{}{options}", server.addr());
    let sessions = "session_prefix \"\" { policy = \"write\" }";
    let enough = server.token(&format!("key_prefix \"locks/\" {{ policy = \"write\" }} {sessions}")).unwrap();
    let engine = open(&with(&enough, "?prefix=locks/")).await;
    let other = open(&with(&enough, "?prefix=locks/")).await;
    token(&engine.join_one(&claim("m", 1)).await);
    assert_eq!(ahead(&other.join_one(&claim("m", 2)).await), 1);
    let second = claim("m", 2);
    let hint = other.hint(&second);
    engine.release(&claim("m", 1)).await;
    hint.await;
    token(&other.look(&claim("m", 2)).await);
    let no_sessions = server.token("key_prefix \"\" { policy = \"write\" }").unwrap();
    let reads = server.token(&format!("key_prefix \"\" {{ policy = \"read\" }} {sessions}")).unwrap();
    let mut said = Vec::new();
    for url in [
        with(&enough, ""),
        with(&reads, ""),
        with(&no_sessions, ""),
        with("00000000-0000-0000-0000-000000000000", ""),
        format!("consul://{}", server.addr()),
    ] {
        let words = refused(&server, &url).await;
        assert!([&enough, &reads, &no_sessions].iter().all(|token| !words.contains(*token)), "{words}");
        said.push(words);
    }
    assert!(!server.keys("").unwrap().iter().any(|key| key.starts_with("m/")), "nothing was touched");
    insta::assert_debug_snapshot!(said);
}

#[tokio::test]
async fn certificates() {
    let server = Server::builder().tls().start().unwrap();
    let engine = open(&server.tls_url()).await;
    let first = token(&engine.join_one(&claim("m", 1)).await);
    engine.release(&claim("m", 1)).await;
    assert!(token(&engine.join_one(&claim("m", 2)).await) > first);
    let (tls, folder) = (server.tls_addr(), server.folder().display());
    let mut said = Vec::new();
    for url in [
        format!("consul://{tls}"),
        format!("consuls://{tls}"),
        format!("consuls://{tls}?ca={folder}/none.pem"),
        format!("consuls://{tls}?ca={folder}/ca.pem&cert={folder}/client.key&key={folder}/client.pem"),
        format!("consuls://{}?ca={folder}/ca.pem", server.addr()),
    ] {
        said.push(refused(&server, &url).await);
    }
    insta::assert_debug_snapshot!(said);
    // For us TLS is up before the server looks for our certificate: its alert and the end of the connection race.
    let nobody = try_open(&format!("consuls://{tls}?ca={folder}/ca.pem")).await.map(drop).unwrap_err();
    let said = nobody.to_string();
    assert!(said.contains("`cert=`") || said.contains("is lost"), "{said}");
}

#[tokio::test]
async fn datacenters() {
    let server = Server::start().unwrap();
    let engine = open(&format!("{}?dc=dc1", server.url())).await;
    token(&engine.join_one(&claim("m", 1)).await);
    insta::assert_snapshot!(refused(&server, &format!("{}?dc=nowhere", server.url())).await);
}
