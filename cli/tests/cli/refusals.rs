//! Bad input: what is said, and that it is said before anything is done.

use std::os::unix::fs::PermissionsExt;

use crate::world::World;

#[test]
fn bad_arguments() {
    let world = World::new();
    let long = "x".repeat(300);
    let said = [
        &["run", "", "--", "true"][..],
        &["run", &long, "--", "true"],
        &["run", "a\nb", "--", "true"],
        &["run", "demo"],
        &["run", "demo", "--"],
        &["run", "demo", "true"],
        &["run", "demo", "--ttl", "0s", "--", "true"],
        &["run", "demo", "--ttl", "-3s", "--", "true"],
        &["run", "demo", "--ttl", "11s", "--", "true"],
        &["run", "demo", "--ttl", "3000h", "--", "true"],
        &["run", "demo", "--ttl", "30", "--", "true"],
        &["run", "demo", "--at-most", "6s", "--", "true"],
        &["run", "demo", "--at-least", "1h", "--at-most", "1m", "--", "true"],
        &["run", "demo", "--permits", "5/3", "--", "true"],
        &["run", "demo", "--permits", "0/3", "--", "true"],
        &["run", "demo", "--permits", "3", "--", "true"],
        &["run", "demo", "--permits", "1/4294967295", "--", "true"],
        &["run", "demo", "--wait", "5s", "--no-wait", "--", "true"],
        &["run", "demo", "--shared", "--permits", "1/3", "--", "true"],
        &["run", "demo", "--conflict-exit-code", "256", "--", "true"],
        &["show", ""],
        &["unlock"],
        &["lss"],
    ]
    .map(|arguments| {
        let ended = world.ran(arguments);
        assert_eq!((ended.code(), ended.out.as_str()), (64, ""), "{arguments:?}: {ended:?}");
        format!("{arguments:?}\n{}", ended.err)
    });
    insta::assert_snapshot!(said.join("\n"));
}

#[test]
fn bad_engines() {
    let world = World::new();
    let said =
        ["", "locks.db", "sqlit:locks.db", "oracle://x", "sqlite:locks.db?sycn=full", "memory:", "memory:x"]
            .map(|url| format!("{url:?}: {}", world.ran(&["ls", "--engine", url]).all()));
    world.redacted().bind(|| insta::assert_snapshot!(said.join("\n")));
}

#[test]
fn another_capacity() {
    let world = World::new();
    let (mut steps, gate) = (world.fifo("steps"), world.fifo("gate"));
    let holder = world.run(&["--permits", "1/2", "demo"], "echo in > steps; read go < gate");
    assert_eq!(steps.line(), "in");
    let said = [&["--permits", "1/3"][..], &["--shared"], &[]]
        .map(|options| world.ran(&[&["run", "demo"], options, &["--", "true"]].concat()).all());
    insta::assert_snapshot!(said.join("\n"));
    gate.say("go");
    assert_eq!(holder.end().code(), 0);
}

#[test]
fn a_file_that_is_no_database() {
    let world = World::new();
    let garbage = "this is a letter to a friend, and no database at all\n".repeat(100);
    std::fs::write(world.path("locks.db"), &garbage).unwrap();
    let ended = world.ran(&["run", "demo", "--", "true"]);
    world.redacted().bind(|| insta::assert_snapshot!(ended.all()));
    assert_eq!(world.read("locks.db"), garbage, "it is not touched");
}

#[test]
fn a_place_that_cannot_be_written() {
    let world = World::new();
    std::fs::write(world.path("file"), "").unwrap();
    let said = ["/proc/locks.db".to_owned(), format!("{}/locks.db", world.path("file").display())]
        .map(|path| world.ran(&["ls", "--engine", &format!("sqlite:{path}")]).all());
    world.redacted().bind(|| insta::assert_snapshot!(said.join("\n")));
    // Root may write everywhere, so this part says something only for others.
    if !nix::unistd::geteuid().is_root() {
        std::fs::create_dir(world.path("shut")).unwrap();
        std::fs::set_permissions(world.path("shut"), PermissionsExt::from_mode(0o500)).unwrap();
        let ended = world.ran(&["ls", "--engine", "sqlite:shut/locks.db"]);
        assert_eq!(ended.code(), 69, "{ended:?}");
    }
}
