//! Users, their rights, passwords and TLS.

use leasehold_postgres::SCHEMA;
use leasehold_testkit::postgres::Postgres as Server;

use crate::world::*;

fn plain(server: &Server, said: &str) -> String {
    said.replace(&server.port().to_string(), "PORT")
}

#[tokio::test]
async fn a_user_who_may_not_make_tables_is_told_what_to_have_made() {
    let server = Server::start().unwrap();
    server.sql("CREATE ROLE guest LOGIN").unwrap();
    let url = server.url_of("guest");
    insta::assert_snapshot!(plain(&server, &refused(&url).await));
    server.sql(SCHEMA).unwrap();
    insta::assert_snapshot!(plain(&server, &refused(&url).await));
    let grants =
        SCHEMA.lines().filter_map(|line| line.strip_prefix("--   GRANT")).map(|rest| format!("GRANT{rest}"));
    let grants: Vec<String> = grants.map(|grant| grant.replace("USER", "guest")).collect();
    assert_eq!(grants.len(), 3);
    server.sql(&grants.join("\n")).unwrap();
    let engine = open(&url).await;
    token(&engine.join_one(claim("m", 1)).await);
    engine.release(&key("m", 1)).await;
}

#[tokio::test]
async fn passwords_are_asked_for_and_never_shown() {
    let server = Server::builder().access("host all guest all scram-sha-256").start().unwrap();
    server.sql("CREATE ROLE guest LOGIN SUPERUSER PASSWORD 'sesame'").unwrap();
    token(&open(&server.url_of("guest:sesame")).await.join_one(claim("m", 1)).await);
    for user in ["guest:wrong", "guest", "nobody"] {
        insta::assert_snapshot!(plain(&server, &refused(&server.url_of(user)).await));
    }
    let unknown = server.url().replace("/postgres", "/nowhere");
    insta::assert_snapshot!(plain(&server, &refused(&unknown).await));
    let error = try_open(&server.url_of("guest:wrong")).await.err().unwrap();
    assert!(!format!("{error:?}").contains("wrong"));
}

#[tokio::test]
async fn tls_is_looked_at() {
    let server = Server::builder().tls().start().unwrap();
    let engine = open(&server.url()).await;
    token(&engine.join_one(claim("m", 1)).await);
    let encrypted = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                     WHERE application_name = 'leasehold'";
    assert_eq!(server.sql(encrypted).unwrap(), "t");
    let url = server.url();
    let (no_ca, _) = url.split_once("&ca=").unwrap();
    let said = refused(no_ca).await;
    assert!(said.contains("name the authority") && said.contains("`ca=`"), "{said}");
    let said = refused(&format!("{no_ca}&ca=/nonexistent")).await;
    assert!(said.contains("/nonexistent"), "{said}");
}
