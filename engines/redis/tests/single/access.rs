//! Ways to a server: encrypted, by socket, as a user, to a database of many.

use leasehold_core::Manner;
use leasehold_testkit::redis::Redis as Server;

use crate::world::*;

/// Locks and releases with a waiter in between, over the server of this URL.
async fn works(url: &str) {
    let engine = open(url).await;
    token(&engine.join_one(claim("r", 1)).await);
    assert_eq!(ahead(&engine.join_one(claim("r", 2)).await), 1);
    assert_eq!(engine.names("", 10).await, ["r"]);
    engine.release(&key("r", 1)).await;
    token(&engine.look(&key("r", 2)).await);
    engine.try_leave(&key("r", 2), Manner::Evict).await.unwrap();
    assert!(engine.names("", 10).await.is_empty());
}

#[tokio::test]
async fn encrypted() {
    let server = Server::builder().tls().start().unwrap();
    let certificates = server.certificates().unwrap();
    let (ca, (cert, key)) = (certificates.authority(), certificates.client());
    let url = format!("{}?ca={}", server.tls_url(), ca.display());
    works(&url).await;
    // The server's name is in its certificate too.
    works(&url.replace("127.0.0.1", "localhost")).await;
    server.ask("CONFIG SET tls-auth-clients yes");
    works(&format!("{url}&cert={}&key={}", cert.display(), key.display())).await;
}

#[tokio::test]
async fn by_socket() {
    let server =
        Server::builder().user("default", "off").user("me", "on >secret ~* &* +@all").start().unwrap();
    works(&format!("redis+unix:{}?user=me&password=secret&db=3", server.socket().display())).await;
}

#[tokio::test]
async fn with_a_password() {
    let server = Server::builder().password("secret").start().unwrap();
    works(&format!("redis://:secret@{}", server.addr())).await;
    works(&format!("redis://default:secret@{}", server.addr())).await;
    works(&format!("redis+unix:{}?password=secret", server.socket().display())).await;
}

#[tokio::test]
async fn as_a_user_with_no_more_rights_than_needed() {
    // As docs.md has it.
    let rights = "on >s#cret ~lock:* ~leasehold:* &leasehold:* -@all \
                  +@read +@write +@scripting +@connection +@pubsub +info +time +role +wait";
    let server = Server::builder().user("locks", rights).start().unwrap();
    let url = format!("redis://locks:s%23cret@{}", server.addr());
    works(&url).await;
    // Also without what only serves to look the server over.
    server.ask("ACL SETUSER locks -info");
    works(&url).await;
    let engine = open(&url).await;
    let warnings = &leasehold_core::Engine::info(&engine).warnings;
    assert!(warnings.iter().any(|warning| warning.contains("`INFO`")), "{warnings:?}");
}

#[tokio::test]
async fn databases_know_nothing_of_each_other() {
    let server = Server::start().unwrap();
    let ours = open(&format!("{}/3", server.url())).await;
    let theirs = open(&server.url()).await;
    token(&ours.join_one(claim("r", 1)).await);
    token(&theirs.join_one(claim("r", 2)).await);
    ours.release(&key("r", 1)).await;
    assert_eq!(server.get("lock:r"), Some(hex(2)));
    works(&format!("{}/15", server.url())).await;
}
