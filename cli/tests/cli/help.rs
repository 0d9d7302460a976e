//! What the help says.

use crate::world::World;

#[test]
fn help() {
    let world = World::new();
    let mut all = String::new();
    for arguments in [
        &["--help"][..],
        &["run", "-h"],
        &["run", "--help"],
        &["ls", "-h"],
        &["watch", "-h"],
        &["unlock", "--help"],
        &["simulate", "--help"],
    ] {
        let ended = world.ran(arguments);
        assert_eq!((ended.code(), ended.err.as_str()), (0, ""));
        all.push_str(&format!("$ leasehold {}\n{}\n", arguments.join(" "), ended.out));
    }
    insta::assert_snapshot!(all);
}
