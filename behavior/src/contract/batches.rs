//! Line 2, third clause, and the trait's own words on batches: results are per claim, in the order of the items.

use leasehold::claim::Claim;
use leasehold::engine::{Refusal, Standing};

use crate::broken::{queue, with};
use crate::probe::LONG;
use crate::setup::Setup;
use crate::test::{BATCHES, PERMITS, Test, test};
use crate::verdict::{Verdict, ensure};

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test!("line2", results_are_per_claim)
            .needs(&[BATCHES, PERMITS])
            .catches("fails all for one", with::<queue::OneFailsAll>)
            .catches("mixes up the answers", with::<queue::AnswersReversed>),
        test!("line2", refreshes_are_answered_per_claim)
            .needs(&[BATCHES])
            .catches("fails all for one", with::<queue::OneFailsAll>)
            .catches("mixes up the answers", with::<queue::AnswersReversed>),
        test!("line2", a_batch_is_in_order_within_a_resource)
            .needs(&[BATCHES])
            .catches("takes a batch from behind", with::<queue::BatchReversed>),
    ]
}

async fn results_are_per_claim(setup: Setup) -> Verdict {
    let probe = setup.probe().await?;
    probe.join(&probe.part("s", 1, 5)).await?.held()?;
    let other_capacity = Claim { capacity: 3, ..probe.part("s", 1, 5) };
    let claims = [probe.claim("m", LONG), other_capacity, probe.part("s", 4, 5), probe.part("s", 1, 5)];
    let told = probe.join_all(&claims).await?;
    ensure!(matches!(told[0], Standing::Held { .. }), "the first is held, not {:?}", told[0]);
    ensure!(
        told[1] == Standing::Refused(Refusal::Capacity { current: 5 }),
        "the second is refused for its capacity, not {:?}",
        told[1]
    );
    ensure!(matches!(told[2], Standing::Held { .. }), "the third is held, not {:?}", told[2]);
    ensure!(matches!(told[3], Standing::Queued { .. }), "the fourth waits, and is not {:?}", told[3]);
    // Refused is not queued.
    ensure!(probe.standing_in(&claims[1]).await? == 3, "three claims stand in the semaphore's queue");
    probe.refresh(&claims[1]).await?.gone()
}

async fn refreshes_are_answered_per_claim(setup: Setup) -> Verdict {
    let probe = setup.probe().await?;
    let (here, waits, never) = (probe.claim("m", LONG), probe.claim("m", LONG), probe.claim("m", LONG));
    probe.join(&here).await?.held()?;
    probe.join(&waits).await?.ahead()?;
    let told = probe.refresh_all(&[here, never, waits]).await?;
    ensure!(matches!(told[0], Standing::Held { .. }), "the holder is told {:?}", told[0]);
    ensure!(told[1] == Standing::Gone, "who never was there is told {:?}", told[1]);
    ensure!(matches!(told[2], Standing::Queued { ahead: 1, .. }), "the waiter is told {:?}", told[2]);
    Ok(())
}

async fn a_batch_is_in_order_within_a_resource(setup: Setup) -> Verdict {
    let probe = setup.probe().await?;
    let claims: Vec<_> = (0..4).map(|_| probe.claim("m", LONG)).collect();
    let told = probe.join_all(&claims).await?;
    ensure!(matches!(told[0], Standing::Held { .. }), "the first of the batch holds, not {told:?}");
    for (at, standing) in told.iter().enumerate().skip(1) {
        ensure!(
            matches!(standing, Standing::Queued { ahead, .. } if *ahead as usize == at),
            "item {at} of the batch has {at} ahead, not {standing:?}"
        );
    }
    Ok(())
}
