//! What `leasehold schema` prints is taken by the database.

use rusqlite::Connection;

use crate::world::World;

#[test]
fn the_fence_of_a_table_refuses_those_without_a_token() {
    let world = World::new();
    let arguments =
        ["schema", "fence", "--dialect", "sqlite", "--table", "stock", "--lock", "inventory/{id}"];
    let ended = world.ran(&arguments);
    assert_eq!((ended.code(), ended.err.as_str()), (0, ""));
    let database = Connection::open_in_memory().unwrap();
    database.execute_batch("CREATE TABLE stock (id INTEGER, amount INTEGER)").unwrap();
    database.execute_batch(&ended.out).unwrap();
    let refused = database.execute("INSERT INTO stock VALUES (42, 1)", ()).unwrap_err().to_string();
    assert!(refused.contains("leasehold_token"), "{refused}");
}

#[test]
fn what_cannot_be_meant_is_refused_with_what_to_write() {
    let world = World::new();
    for (arguments, words) in [
        (&["--dialect", "oracle"][..], "write postgres, mysql or sqlite"),
        (&["--dialect", "mysql", "--table", "a b", "--lock", "x"], "cannot be a table"),
        (&["--dialect", "mysql", "--table", "a", "--lock", "x{"], "braces"),
        (&["--dialect", "mysql", "--table", "a"], "--lock"),
        (&["--dialect", "sqlite", "--marks", "a;b"], "cannot be a table"),
    ] {
        let ended = world.ran(&[&["schema", "fence"], arguments].concat());
        assert_eq!((ended.code(), ended.out.as_str()), (64, ""), "{arguments:?}");
        assert!(ended.err.contains(words), "{arguments:?}: {}", ended.err);
    }
}
