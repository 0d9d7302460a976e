//! Each defect is caught within its stated number of seeds, and without a defect the same seeds pass.

use leasehold_sim::campaign::{self, Campaign};
use leasehold_sim::check::Violation;
use leasehold_sim::mutation::Mutation;

/// The first seed that catches a defect, and how.
fn caught(mutation: Mutation) -> Option<(u64, Violation)> {
    (0..mutation.within())
        .find_map(|seed| Some((seed, campaign::once(seed, Some(mutation), false).violation?)))
}

#[test]
fn every_mutation_is_caught_in_time() {
    let missed: Vec<&str> = Mutation::ALL
        .iter()
        .filter(|mutation| match caught(**mutation) {
            Some((seed, violation)) => {
                println!("{}: seed {seed}: {violation}", mutation.name());
                false
            }
            None => true,
        })
        .map(|mutation| mutation.name())
        .collect();
    assert!(missed.is_empty(), "not caught: {missed:?}");
}

#[test]
fn without_a_mutation_the_same_seeds_pass() {
    let seeds = Mutation::ALL.iter().map(|m| m.within()).max().unwrap_or(0);
    let control = Campaign { from: 0, seeds, jobs: 1, mutation: None, stop: false }.run();
    assert!(control.failures.is_empty(), "{:#?}", control.failures);
}
