//! Each defect is caught within its stated number of seeds, and without a defect the same seeds pass.
#![expect(clippy::print_stdout, reason = "which seed catches which defect is worth reading")]

use leasehold_sim::campaign::{self, Campaign};
use leasehold_sim::mutation::Mutation;
use leasehold_sim::world::plan::Realm;

#[test]
fn every_mutation_is_caught_in_time_and_the_control_is_not() {
    let mut missed = Vec::new();
    let mut last = [(Realm::Single, 0), (Realm::Quorum, 0)];
    for &mutation in Mutation::ALL {
        let caught = (0..mutation.within()).find_map(|seed| {
            Some((seed, campaign::once(mutation.realm(), seed, Some(mutation), false).violation?))
        });
        match caught {
            Some((seed, violation)) => {
                println!("{}: seed {seed}: {violation}", mutation.name());
                let last = last.iter_mut().find(|(realm, _)| *realm == mutation.realm());
                last.into_iter().for_each(|(_, last)| *last = seed.max(*last));
            }
            None => missed.push(mutation.name()),
        }
    }
    assert!(missed.is_empty(), "not caught: {missed:?}");
    for (realm, last) in last {
        let control =
            Campaign { realm, from: 0, seeds: last + 1, jobs: 1, mutation: None, stop: false }.run();
        assert!(control.failures.is_empty(), "{realm:?} without a mutation: {:#?}", control.failures);
    }
}
