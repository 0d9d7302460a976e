//! PostgreSQL as the tests of others need it.

use leasehold_testkit::postgres::Postgres;

fn clock(server: &Postgres) -> f64 {
    server.sql("SELECT extract(epoch FROM clock_timestamp())").unwrap().parse().unwrap()
}

#[test]
fn what_was_committed_outlives_a_kill() {
    let server = Postgres::start().unwrap();
    server.sql("CREATE TABLE t (n int); INSERT INTO t VALUES (1)").unwrap();
    server.kill().unwrap();
    assert!(server.sql("SELECT 1").is_err());
    server.restart().unwrap();
    assert_eq!(server.sql("SELECT n FROM t").unwrap(), "1");
    server.restart().unwrap();
    server.pause().unwrap();
    server.resume().unwrap();
    assert_eq!(server.sql("SELECT n FROM t").unwrap(), "1");
}

#[test]
fn its_clock_can_be_shifted() {
    let server = Postgres::builder().fake_clock().start().unwrap();
    let before = clock(&server);
    server.shift_clock(3600.0).unwrap();
    assert!(clock(&server) > before + 3500.0);
    server.shift_clock(-3600.0).unwrap();
    assert!(clock(&server) < before - 3500.0);
}

#[test]
fn a_standby_follows_and_takes_no_writes() {
    let primary = Postgres::start().unwrap();
    primary.sql("CREATE TABLE t (n int)").unwrap();
    let standby = Postgres::builder().start_standby_of(&primary).unwrap();
    assert_eq!(standby.sql("SELECT pg_is_in_recovery()").unwrap(), "t");
    let refused = standby.sql("INSERT INTO t VALUES (1)").unwrap_err().to_string();
    assert!(refused.contains("read-only"), "{refused}");
}
