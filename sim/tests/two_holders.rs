//! The one case that no quorum of clocks can rule out, and what the token is for.
#![expect(clippy::print_stdout, reason = "the story is worth reading")]

use std::time::Duration;

use leasehold_sim::scenario::two_holders;

#[test]
fn when_a_majority_of_clocks_jumps_two_hold_and_the_storage_refuses_the_stale_one() {
    let seen = two_holders();
    seen.story.iter().for_each(|line| println!("{line}"));
    let (first, second) = seen.tokens.expect("both have come to hold");
    assert!(second > first);
    let both_at = Duration::from_nanos(seen.both_at.expect("both believe that they hold at one time"));
    assert!(both_at > Duration::from_secs(1) && both_at < Duration::from_secs(2), "{both_at:?}");
    assert!(seen.second_wrote, "the storage takes what the new holder writes");
    assert!(!seen.first_wrote, "the storage refuses what the stale holder writes");
    // It learns of it at its own deadline, by its own clock: ten seconds less the margin.
    let lost_at = Duration::from_nanos(seen.first_lost_at.expect("the first one learns that it has lost"));
    assert!(lost_at > both_at && lost_at < Duration::from_secs(10), "{lost_at:?}");
}
