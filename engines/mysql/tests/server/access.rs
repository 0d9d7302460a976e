//! Users, their rights and their passwords.

use leasehold_mysql::SCHEMA;
use leasehold_testkit::mariadb::MariaDb as Server;

use crate::world::*;

#[tokio::test]
async fn a_user_who_may_not_make_tables_is_told_what_to_have_made() {
    let server = Server::start().unwrap();
    server.run("CREATE USER guest").unwrap();
    let url = url_of(&server, "guest");
    insta::assert_snapshot!(fixed(&server, &refused(&url).await));
    // In the database, and may look.
    server.run("CREATE TABLE other (x INT); GRANT SELECT ON other TO guest").unwrap();
    insta::assert_snapshot!(fixed(&server, &refused(&url).await));
    server.run(SCHEMA).unwrap();
    let grants: Vec<String> = SCHEMA
        .lines()
        .filter_map(|line| line.strip_prefix("--   GRANT"))
        .map(|rest| format!("GRANT{rest}").replace("USER", "guest"))
        .collect();
    assert_eq!(grants.len(), 9);
    let (work, tables): (Vec<_>, Vec<_>) = grants.into_iter().partition(|grant| grant.contains("PROCEDURE"));
    server.run(&tables.join("\n")).unwrap();
    let engine = open(&url).await;
    insta::assert_snapshot!(fixed(&server, &engine.try_join(claim("m", 1)).await.unwrap_err().to_string()));
    server.run(&work.join("\n")).unwrap();
    token(&engine.join_one(claim("m", 1)).await);
    ahead(&engine.join_one(claim("m", 2)).await);
    engine.release(&key("m", 1)).await;
    token(&engine.look(&key("m", 2)).await);
}

#[tokio::test]
async fn passwords_are_asked_for_and_never_shown() {
    let server = Server::start().unwrap();
    server.run("CREATE USER guest IDENTIFIED BY 'ses@me'; GRANT ALL ON leasehold.* TO guest").unwrap();
    token(&open(&url_of(&server, "guest:ses%40me")).await.join_one(claim("m", 1)).await);
    for user in ["guest:wrong", "guest", "nobody"] {
        insta::assert_snapshot!(fixed(&server, &refused(&url_of(&server, user)).await));
    }
    let unknown = server.url().replace("/leasehold", "/nowhere");
    insta::assert_snapshot!(fixed(&server, &refused(&unknown).await));
    let error = try_open(&url_of(&server, "guest:wrong")).await.err().unwrap();
    assert!(!format!("{error:?}").contains("wrong"));
}

#[tokio::test]
async fn a_socket_and_no_encryption_where_there_is_none() {
    let server = Server::start().unwrap();
    let socket = server.folder().join("socket");
    let url = format!("mariadb://root@/leasehold?socket={}", socket.display());
    token(&open(&url).await.join_one(claim("m", 1)).await);
    insta::assert_snapshot!(fixed(&server, &refused(&format!("{}?sslmode=verify-full", server.url())).await));
}

#[tokio::test]
async fn tls_is_looked_at() {
    let server = Server::builder().tls().start().unwrap();
    let engine = open(&server.url()).await;
    token(&engine.join_one(claim("m", 1)).await);
    // The only session that is not this look at it.
    assert_eq!(
        server
            .run(
                "SELECT variable_value > 0 FROM information_schema.global_status \
                           WHERE variable_name = 'SSL_FINISHED_ACCEPTS'"
            )
            .unwrap(),
        "1"
    );
    let url = server.url();
    let (no_ca, _) = url.split_once("&ca=").unwrap();
    let said = refused(no_ca).await;
    assert!(said.contains("name the authority") && said.contains("`ca=`"), "{said}");
    let said = refused(&format!("{no_ca}&ca=/nonexistent")).await;
    assert!(said.contains("/nonexistent"), "{said}");
}
