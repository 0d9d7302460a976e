//! The walk-throughs: their figures are those of the textbook, and change with what they depend on.

use std::time::Duration;

use leasehold_sim::walk::story::{Lasts, Story, Value};
use leasehold_sim::walk::{Terms, Walk, play};

const ALL: [Walk; 4] = [Walk::Normal, Walk::Crash, Walk::Partition, Walk::Fencing];

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn terms(ttl: u64, nodes: Option<usize>, latency: u64) -> Terms {
    Terms { ttl: ms(ttl), nodes, latency: ms(latency) }
}

/// A figure; spans and times in microseconds.
fn figure(story: &Story, name: &str) -> u64 {
    let figure = story.figures.iter().find(|figure| figure.name == name);
    match figure.unwrap_or_else(|| panic!("no `{name}` in {:#?}", story.figures)).value {
        Value::Span(nanos) | Value::At(nanos) => nanos / 1000,
        Value::Number(number) => number,
    }
}

/// When this is said for the first time, in microseconds.
fn said(story: &Story, what: &str) -> u64 {
    let line = story.lines.iter().find(|line| line.what.contains(what));
    line.unwrap_or_else(|| panic!("nobody says `{what}` in {:#?}", story.lines)).at / 1000
}

#[test]
fn five_nodes_of_a_millisecond_each() {
    let story = play(Walk::Normal, &Terms::default()).unwrap();
    let of = |name| figure(&story, name);
    assert_eq!((of("elapsed"), of("drift"), of("validity")), (5_000, 22_000, 9_973_000));
    assert!(of("token of B") > of("token of A"));
    assert!(said(&story, "has renewed") < said(&story, "releases"));
}

#[test]
fn the_figures_change_with_what_they_depend_on() {
    for (ttl, nodes, latency, elapsed, drift, validity) in [
        (10_000, 7, 1, 7, 22, 9_971),
        (10_000, 5, 20, 100, 22, 9_878),
        (10_000, 1, 1, 1, 22, 9_977),
        (2_000, 3, 2, 6, 6, 1_988),
    ] {
        let story = play(Walk::Normal, &terms(ttl, Some(nodes), latency)).unwrap();
        let of = |name| figure(&story, name) / 1000;
        assert_eq!((of("elapsed"), of("drift"), of("validity")), (elapsed, drift, validity));
    }
    let crash =
        |ttl, nodes, latency| figure(&play(Walk::Crash, &terms(ttl, nodes, latency)).unwrap(), "next holder");
    assert_eq!(crash(10_000, None, 1), 10_001_000);
    assert_eq!(crash(3_000, None, 1), 3_001_000);
    assert_eq!(crash(10_000, None, 8), 10_008_000);
    // The head of the queue asks the others when the first says so.
    assert_eq!(crash(10_000, Some(5), 1), 10_002_000);
}

#[test]
fn when_a_majority_of_clocks_jumps_two_hold_and_the_storage_refuses_the_stale_one() {
    for nodes in [3, 4, 5, 8] {
        let story = play(Walk::Partition, &Terms { nodes: Some(nodes), ..Terms::default() }).unwrap();
        let of = |name| figure(&story, name);
        assert_eq!((of("split"), of("two believers")), (5_000_000, 5_002_000));
        assert!(of("token of B") > of("token of A"));
        assert_eq!(said(&story, "refuses A"), of("refused"));
        assert_eq!((of("with a fence"), of("without")), (110, 101));
        // It learns of it at its own deadline, by its own clock.
        assert!(said(&story, "cannot renew") < said(&story, "learns that it has lost"));
        assert!(!story.lines.iter().any(|line| line.what.starts_with("does not get it")));
    }
}

#[test]
fn the_fence_refuses_the_token_of_a_holder_that_slept() {
    let story = play(Walk::Fencing, &Terms::default()).unwrap();
    let of = |name| figure(&story, name);
    assert_eq!((of("token of A"), of("token of B"), of("refused")), (100, 101, 10_001_000));
    assert_eq!((of("with a fence"), of("without")), (110, 101));
    assert!(
        story.lines.iter().any(|line| line.what.contains("token 100 is stale, the storage has seen 101"))
    );
    let overdue = story.spans.iter().find(|span| span.what == Lasts::Overdue).unwrap();
    assert_eq!(
        (overdue.from, overdue.to),
        (9_978_000_000, 10_001_000_000),
        "it does not know that its time is over"
    );
}

#[test]
fn whatever_may_be_chosen_can_be_played_and_comes_to_the_same_each_time() {
    for walk in ALL {
        for ttl in [100, 1_000, 10_000, 60_000] {
            for nodes in [1, 3, 4, 15] {
                for latency in [Duration::from_micros(1), ms(ttl / 100).min(ms(100))] {
                    if (walk, nodes) == (Walk::Partition, 1) {
                        continue;
                    }
                    let terms = Terms { ttl: ms(ttl), nodes: Some(nodes), latency };
                    let story = play(walk, &terms).unwrap();
                    let holds = story.lines.iter().filter(|line| line.what.starts_with("holds with token"));
                    assert_eq!(holds.count(), 2, "{walk:?} {terms:?}: {:#?}", story.lines);
                    assert!(story.lines.is_sorted_by_key(|line| line.at));
                    assert!(story.spans.iter().all(|span| span.from < span.to && span.to <= story.ends));
                    let again = play(walk, &terms).unwrap();
                    assert_eq!(format!("{story:?}"), format!("{again:?}"));
                }
            }
        }
    }
}

#[test]
fn what_cannot_be_played_is_refused_with_what_to_choose() {
    for (walk, terms, words) in [
        (Walk::Normal, terms(99, None, 1), "choose 100ms to 1m"),
        (Walk::Normal, terms(60_001, None, 1), "choose 100ms to 1m"),
        (Walk::Normal, terms(10_000, Some(2), 1), "choose 1, or 3 to 15"),
        (Walk::Crash, terms(10_000, Some(0), 1), "choose 1, or 3 to 15"),
        (Walk::Fencing, terms(10_000, Some(16), 1), "choose 1, or 3 to 15"),
        (Walk::Partition, terms(10_000, Some(1), 1), "choose 3 to 15"),
        (Walk::Crash, terms(10_000, None, 0), "choose a shorter one"),
        (Walk::Crash, terms(1_000, None, 11), "choose a shorter one"),
        (Walk::Crash, terms(60_000, None, 101), "choose a shorter one"),
    ] {
        let refused = play(walk, &terms).unwrap_err();
        assert!(refused.contains(words), "{refused}");
    }
}
