//! Some hundred seeds of the real thing, each run twice; CI runs 10,000 with the binary.

use leasehold_sim::campaign::{self, Campaign};
use leasehold_sim::world::plan::Realm;

#[test]
fn every_seed_passes_and_both_its_runs_agree() {
    for (realm, seeds) in [(Realm::Single, 400), (Realm::Quorum, 200)] {
        let summary = Campaign { realm, from: 0, seeds, jobs: 2, mutation: None, stop: false }.run();
        assert_eq!(summary.seeds, seeds);
        assert!(summary.failures.is_empty(), "{:#?}", summary.failures);
        // A simulation in which nothing happens passes every check.
        assert!(summary.grants > 10 * summary.seeds, "{summary:?}");
    }
}

#[test]
fn another_seed_is_another_run_and_a_trace_changes_nothing() {
    for realm in [Realm::Single, Realm::Quorum] {
        let (first, second) = (campaign::once(realm, 1, None, false), campaign::once(realm, 2, None, false));
        assert_ne!(first.digest, second.digest);
        let traced = campaign::once(realm, 1, None, true);
        assert_eq!(traced.digest, first.digest);
        assert_eq!(traced.lines.len() as u64, traced.digest.0);
    }
}
