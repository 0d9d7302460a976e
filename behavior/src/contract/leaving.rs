//! Line 3: `leave`, whatever is known of the claim.

use leasehold::claim::Manner;

use crate::broken::{broken, queue, time, with};
use crate::probe::LONG;
use crate::setup::Setup;
use crate::test::{Test, test};
use crate::verdict::{Verdict, ensure};

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test!("line3", a_holder_that_leaves_lets_the_next_in)
            .catches("does not hear holders leave", |e, _| {
                broken(queue::LeaveUnheard { while_held: true }, e)
            }),
        test!("line3", a_waiter_that_leaves_is_not_waited_for)
            .catches("does not hear waiters leave", |e, _| {
                broken(queue::LeaveUnheard { while_held: false }, e)
            }),
        test!("line3", leave_works_after_a_join_of_unknown_outcome)
            .catches("does not hear holders leave", |e, _| {
                broken(queue::LeaveUnheard { while_held: true }, e)
            })
            .catches("does not hear waiters leave", |e, _| {
                broken(queue::LeaveUnheard { while_held: false }, e)
            }),
        test!("line3", not_there_is_success)
            .catches("misses who is not there", with::<queue::LeaveMustBeThere>),
        test!("line3", a_join_after_its_own_leave_dies_by_its_ttl)
            .catches("renews whoever it knows", with::<time::AnyoneRenewsAll>),
    ]
}

async fn a_holder_that_leaves_lets_the_next_in(setup: Setup) -> Verdict {
    let probe = setup.probe().await?;
    let (holder, next) = (probe.claim("m", LONG), probe.claim("m", LONG));
    probe.join(&holder).await?.held()?;
    probe.join(&next).await?.ahead()?;
    probe.leave(&holder).await?;
    probe.refresh(&next).await?.held()?;
    Ok(())
}

async fn a_waiter_that_leaves_is_not_waited_for(setup: Setup) -> Verdict {
    let probe = setup.probe().await?;
    let [holder, waiter, last] = [0; 3].map(|_| probe.claim("m", LONG));
    probe.join(&holder).await?.held()?;
    probe.join(&waiter).await?.ahead()?;
    probe.join(&last).await?.ahead()?;
    probe.leave(&waiter).await?;
    ensure!(probe.refresh(&last).await?.ahead()? == 1, "who left is still counted");
    probe.leave(&holder).await?;
    probe.refresh(&last).await?.held()?;
    Ok(())
}

async fn leave_works_after_a_join_of_unknown_outcome(setup: Setup) -> Verdict {
    let probe = setup.probe().await?;
    let [holder, waiter, last] = [0; 3].map(|_| probe.claim("m", LONG));
    for claim in [&holder, &waiter] {
        // The answer comes, and nobody reads it: for the client its outcome is unknown.
        probe.join(claim).await?;
        probe.leave(claim).await?;
    }
    probe.join(&holder).await?;
    probe.join(&waiter).await?;
    probe.join(&last).await?;
    probe.leave(&waiter).await?;
    probe.leave(&holder).await?;
    probe.refresh(&last).await?.held()?;
    ensure!(probe.standing_in(&last).await? == 1, "somebody is left in the queue");
    Ok(())
}

async fn not_there_is_success(setup: Setup) -> Verdict {
    let probe = setup.probe().await?;
    let (never, once) = (probe.claim("m", LONG), probe.claim("m", LONG));
    probe.join(&once).await?.held()?;
    for manner in [Manner::Release, Manner::Revoke, Manner::Evict] {
        for claim in [&never, &once, &once] {
            let left = probe.end(claim, manner).await;
            ensure!(left.is_ok(), "to leave twice, or without having come, is no error: {left:?}");
        }
        probe.leave(&once).await?;
    }
    Ok(())
}

async fn a_join_after_its_own_leave_dies_by_its_ttl(setup: Setup) -> Verdict {
    let probe = setup.probe().await?;
    let (late, next) = (probe.claim("m", setup.short()), probe.claim("m", LONG));
    probe.leave(&late).await?;
    probe.join(&late).await?;
    probe.join(&next).await?;
    probe.until_held(&next).await?;
    setup
        .within("the late claim dies", async {
            // It may have been so late that it came after the other.
            while probe.standing_in(&next).await? > 1 {
                probe.refresh(&next).await?.held()?;
                probe.pause().await;
            }
            Ok(())
        })
        .await?
}
