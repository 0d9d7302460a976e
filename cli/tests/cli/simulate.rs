//! `leasehold simulate`: what is told, drawn and printed for programs is what was played.

use crate::world::World;

const WALKS: [&str; 4] = ["normal", "crash", "partition", "fencing"];

#[test]
fn walks_as_text() {
    let world = World::new();
    for walk in WALKS {
        let ended = world.ran(&["simulate", walk]);
        assert_eq!((ended.code(), ended.err.as_str()), (0, ""));
        insta::assert_snapshot!(walk, ended.out);
    }
}

#[test]
fn walks_for_programs_and_as_pictures() {
    let world = World::new();
    for walk in WALKS {
        let picture = format!("{walk}.svg");
        let ended = world.ran(&["simulate", walk, "--json", "--svg", &picture]);
        assert_eq!((ended.code(), ended.err.as_str()), (0, ""));
        insta::assert_snapshot!(format!("{walk}_json"), ended.out);
        insta::assert_snapshot!(format!("{walk}_svg"), world.read(&picture));
    }
}

#[test]
fn every_line_is_in_all_forms() {
    let world = World::new();
    let arguments = ["simulate", "fencing", "--nodes", "3", "--ttl", "3s", "--latency", "2ms"];
    let text = world.ran(&arguments).out;
    let json = world.ran(&[&arguments[..], &["--json", "--svg", "x.svg"]].concat()).out;
    let story: serde_json::Value = serde_json::from_str(&json).unwrap();
    let (picture, lines) = (world.read("x.svg"), story["lines"].as_array().unwrap());
    assert!(lines.len() > 10, "{json}");
    for line in lines {
        let what = line["what"].as_str().unwrap();
        assert!(text.contains(what) && picture.contains(what), "{what}");
    }
    let refused = story["figures"].as_array().unwrap().iter().find(|figure| figure["name"] == "refused");
    assert_eq!(refused.unwrap()["at_ms"], 3004.0, "{json}");
}

#[test]
fn colour_is_for_terminals_and_those_who_want_it() {
    let world = World::new();
    assert!(!world.ran(&["simulate", "crash"]).out.contains('\u{1b}'));
    let mut command = world.leasehold(&["simulate", "crash"]);
    command.env_remove("NO_COLOR").env("CLICOLOR_FORCE", "1");
    assert!(crate::world::Running::start(command).end().out.contains("\u{1b}["));
}

#[test]
fn what_cannot_be_played_or_drawn_says_what_to_do() {
    let world = World::new();
    let said = [
        &["simulate"][..],
        &["simulate", "storm"],
        &["simulate", "normal", "--nodes", "2"],
        &["simulate", "normal", "--nodes", "-1"],
        &["simulate", "partition", "--nodes", "1"],
        &["simulate", "crash", "--ttl", "1h"],
        &["simulate", "crash", "--ttl", "-1s"],
        &["simulate", "fencing", "--latency", "1s"],
        &["simulate", "fencing", "--svg", "no/such/folder.svg"],
    ]
    .map(|arguments| format!("{arguments:?}\n{}", world.ran(arguments).all()));
    insta::assert_snapshot!(said.join("\n"));
}
