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

/// What happens without the lock and with it, wherever the locks are.
fn all(engine: &[&str]) {
    last_item(engine);
    seat(engine);
    reserve(engine);
    paused(engine);
    nightly(engine);
    optimistic(engine);
}

#[test]
fn with_locks_in_a_file() {
    all(&[]);
}

#[test]
fn with_locks_in_redis() {
    all(&["--engine", &Redis::start().unwrap().url()]);
}

#[test]
fn with_locks_in_postgres() {
    all(&["--engine", &Postgres::start().unwrap().url()]);
}

fn last_item(engine: &[&str]) {
    let said = run(env!("CARGO_BIN_EXE_last-item"), engine);
    assert!(count(&said[0], "sold") > 1, "without the lock it was not oversold: {}", said[0]);
    assert_eq!(said[1], "with the lock: 1 in stock, 8 buyers, 1 sold");
}

fn seat(engine: &[&str]) {
    let said = run(env!("CARGO_BIN_EXE_seat"), engine);
    assert_eq!(said[0], "without the lock: seat 12A is booked by Ann and Bob");
    assert!(
        ["Ann", "Bob"].iter().any(|who| said[1] == format!("with the lock: seat 12A is booked by {who}")),
        "{}",
        said[1]
    );
}

fn reserve(engine: &[&str]) {
    assert_eq!(
        run(env!("CARGO_BIN_EXE_reserve"), engine),
        [
            "without the lock: 10 in stock, 1 reserved, 10 left",
            "who does not wait is told that it is busy",
            "who waits for 5 s may reserve",
            "the count was renewed on the way",
            "with the lock: 10 in stock, 1 reserved, 9 left",
        ]
    );
}

fn paused(engine: &[&str]) {
    assert_eq!(
        run(env!("CARGO_BIN_EXE_paused"), engine),
        [
            "without a fence: 100 + 10 + 1 is 101; the paused holder wrote",
            "with a fence: 100 + 10 + 1 is 110; the paused holder was refused (stale)"
        ]
    );
}

fn nightly(engine: &[&str]) {
    assert_eq!(
        run(env!("CARGO_BIN_EXE_nightly"), engine),
        ["without the lock: 3 nodes, the job ran 3 times", "with the lock: 3 nodes, the job ran 1 times"]
    );
}

/// Attempts are cheap where nobody else writes, and dear where everybody does.
fn optimistic(engine: &[&str]) {
    let said = run(env!("CARGO_BIN_EXE_optimistic"), engine);
    let reads: Vec<u64> = said.iter().map(|line| count(line, "reads")).collect();
    let updates: Vec<u64> = said.iter().map(|line| count(line, "updates")).collect();
    assert_eq!(updates, [200, 200, 200, 192, 192, 192], "an update was lost");
    assert_eq!(reads[..3], [200, 200, 200]);
    // All but one of the attempts are wasted each time; the lock wastes none.
    assert!(reads[3] > 4 * reads[5] && reads[5] == 192, "{said:?}");
}
