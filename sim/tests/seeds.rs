//! Some hundred seeds of the real thing, each run twice; CI runs 10,000 with the binary.

use leasehold_sim::campaign::{self, Campaign};

#[test]
fn every_seed_passes_and_both_its_runs_agree() {
    let summary = Campaign { from: 0, seeds: 400, jobs: 2, mutation: None, stop: false }.run();
    assert_eq!(summary.seeds, 400);
    assert!(summary.failures.is_empty(), "{:#?}", summary.failures);
    // A simulation in which nothing happens passes every check.
    assert!(summary.grants > 10 * summary.seeds, "{summary:?}");
}

#[test]
fn another_seed_is_another_run_and_a_trace_changes_nothing() {
    let (first, second) = (campaign::once(1, None, false), campaign::once(2, None, false));
    assert_ne!(first.digest, second.digest);
    let traced = campaign::once(1, None, true);
    assert_eq!(traced.digest, first.digest);
    assert_eq!(traced.lines.len() as u64, traced.digest.0);
}
