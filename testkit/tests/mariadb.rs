//! MariaDB comes up, takes statements, and keeps what it has over a kill.

use std::io;

use leasehold_testkit::mariadb::MariaDb;

#[test]
fn what_was_written_survives_a_kill() -> io::Result<()> {
    let server = MariaDb::start()?;
    server.run("CREATE TABLE t (x INT) ENGINE=InnoDB; INSERT INTO t VALUES (1)")?;
    server.kill()?;
    assert!(server.run("SELECT x FROM t").is_err());
    server.restart()?;
    assert_eq!(server.run("SELECT x FROM t")?, "1");
    let refused = server.run("SELECT y FROM t").unwrap_err().to_string();
    assert!(refused.contains("Unknown column"), "{refused}");
    Ok(())
}
