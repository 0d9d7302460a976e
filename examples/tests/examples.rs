//! What the examples print is what happened.

use std::process::Command;

use leasehold_testkit::postgres::Postgres;
use leasehold_testkit::redis::Redis;

/// What a program prints.
fn run(program: &str, arguments: &[&str]) -> Vec<String> {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// The number before this word.
fn count(line: &str, word: &str) -> u64 {
    let words: Vec<&str> = line.split([' ', ',']).collect();
    let at =
        words.iter().position(|other| *other == word).unwrap_or_else(|| panic!("no `{word}` in `{line}`"));
    words[at - 1].parse().unwrap_or_else(|_| panic!("no number before `{word}` in `{line}`"))
}

#[test]
fn the_last_item_is_sold_once() {
    let said = run(env!("CARGO_BIN_EXE_last-item"), &[]);
    assert!(count(&said[0], "sold") > 1, "without the lock it was not oversold: {}", said[0]);
    assert_eq!(said[1], "with the lock: 1 in stock, 8 buyers, 1 sold");
}

#[test]
fn the_locks_may_be_anywhere() {
    let (redis, postgres) = (Redis::start().unwrap(), Postgres::start().unwrap());
    for url in [redis.url(), postgres.url()] {
        let said = run(env!("CARGO_BIN_EXE_last-item"), &["--engine", &url]);
        assert_eq!(said[1], "with the lock: 1 in stock, 8 buyers, 1 sold", "{url}");
        let said = run(env!("CARGO_BIN_EXE_paused"), &["--engine", &url]);
        assert!(said[1].ends_with("was refused (stale)"), "{url}: {}", said[1]);
    }
}

#[test]
fn the_seat_is_booked_by_one() {
    let said = run(env!("CARGO_BIN_EXE_seat"), &[]);
    assert_eq!(said[0], "without the lock: seat 12A is booked by Ann and Bob");
    assert!(
        ["Ann", "Bob"].iter().any(|who| said[1] == format!("with the lock: seat 12A is booked by {who}")),
        "{}",
        said[1]
    );
}

#[test]
fn a_reservation_waits_for_a_reconciliation_that_renews_itself() {
    let said = run(env!("CARGO_BIN_EXE_reserve"), &[]);
    assert_eq!(
        said,
        [
            "who does not wait: busy",
            "the reconciliation: done, renewed on the way",
            "who waits for 5 s: reserved"
        ]
    );
}

#[test]
fn a_paused_holder_is_refused_by_the_fence_alone() {
    let said = run(env!("CARGO_BIN_EXE_paused"), &[]);
    assert_eq!(
        said,
        [
            "without a fence: 100 + 10 + 1 is 101; the paused holder wrote",
            "with a fence: 100 + 10 + 1 is 110; the paused holder was refused (stale)"
        ]
    );
}

#[test]
fn the_job_runs_once() {
    let said = run(env!("CARGO_BIN_EXE_nightly"), &[]);
    assert_eq!(
        said,
        ["without the lock: 3 nodes, the job ran 3 times", "with the lock: 3 nodes, the job ran 1 times"]
    );
}

#[test]
fn attempts_are_cheap_where_nobody_else_writes_and_dear_where_everybody_does() {
    let said = run(env!("CARGO_BIN_EXE_optimistic"), &[]);
    let reads: Vec<u64> = said.iter().map(|line| count(line, "reads")).collect();
    let updates: Vec<u64> = said.iter().map(|line| count(line, "updates")).collect();
    assert_eq!(updates, [200, 200, 200, 192, 192, 192], "an update was lost");
    assert_eq!(reads[..3], [200, 200, 200]);
    // All but one of the attempts are wasted each time; the lock wastes none.
    assert!(reads[3] > 4 * reads[5] && reads[5] == 192, "{said:?}");
}
