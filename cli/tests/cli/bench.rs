//! `bench`: its shape, never its figures.

use crate::world::World;

#[test]
fn rows_for_programs() {
    let world = World::new();
    let short = ["bench", "--tasks", "2", "--hold", "0s", "--seconds", "0.1", "--json"];
    let [pair, handoff] = ["pair", "handoff"].map(|case| {
        let ended = world.ran(&[&short[..], &["--case", case]].concat());
        assert_eq!((ended.code(), ended.err.as_str()), (0, ""), "{ended:?}");
        ended.out
    });
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(r"(_us|_per_s|jain|cpu)(.): [0-9.]+", "$1$2: [FIGURE]");
    settings.bind(|| insta::assert_snapshot!(format!("{pair}{handoff}")));
}

#[test]
fn the_engine_is_left_as_it_was() {
    let world = World::new();
    let ended = world.ran(&["bench", "--case", "handoff", "--tasks", "3", "--seconds", "0.1"]);
    assert_eq!(ended.code(), 0, "{ended:?}");
    assert_eq!(ended.out.lines().filter(|line| line.contains("handoff")).count(), 2, "{ended:?}");
    assert_eq!(world.ran(&["ls", "--json"]).out, "[]\n");
}

#[test]
fn one_process_is_enough_here() {
    let world = World::new();
    let options = ["bench", "--engine", "memory:", "--case", "pair", "--tasks", "1", "--seconds", "0.1"];
    let ended = world.ran(&options);
    assert_eq!((ended.code(), ended.err.as_str()), (0, ""), "{ended:?}");
}

#[test]
fn nonsense() {
    let world = World::new();
    let said = [
        ["--case", "handof"],
        ["--case", "run"],
        ["--tasks", "0"],
        ["--tasks", "-1"],
        ["--seconds", "0"],
        ["--seconds", "-1"],
        ["--seconds", "2s"],
        ["--hold", "5"],
        ["--engine", "memroy:"],
    ]
    .map(|option| {
        let ended = world.ran(&[&["bench"][..], &option].concat());
        assert_eq!((ended.code(), ended.out.as_str()), (64, ""), "{option:?}: {ended:?}");
        format!("{option:?}\n{}", ended.err)
    });
    insta::assert_snapshot!(said.join("\n"));
}
