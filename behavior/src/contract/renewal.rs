//! Lines 1, 2 and 8: repeated joins, refreshes, the finality of `Gone`, and claims of one client.

use leasehold::claim::{Claim, Manner};

use crate::broken::{queue, time, tokens, with};
use crate::probe::{LONG, Probe, Told, patiently};
use crate::setup::Setup;
use crate::test::{OWN_CLOCK, PERMITS, Test, test};
use crate::verdict::{Verdict, ensure};

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test!("line1", a_repeated_join_renews).catches("does not renew", with::<time::JoinDoesNotRenew>),
        test!("line1", a_repeated_join_does_not_queue_twice)
            .catches("queues a repeated join twice", with::<queue::JoinQueuesTwice>),
        test!("line1", a_repeated_join_does_not_take_capacity_twice)
            .needs(&[PERMITS])
            .catches("queues a repeated join twice", with::<queue::JoinQueuesTwice>),
        test!("line1", a_repeated_join_keeps_its_place)
            .catches("moves a repeated join to the end", with::<queue::JoinLosesPlace>),
        test!("line1", a_lost_reply_is_cured_by_asking_again)
            .catches("mints anew for every answer", with::<tokens::TokenAnew>)
            .catches("queues a repeated join twice", with::<queue::JoinQueuesTwice>),
        test!("line2", a_refresh_renews).catches("does not renew", with::<time::RefreshDoesNotRenew>),
        test!("line2", a_refresh_keeps_its_place)
            .catches("moves who refreshes to the end", with::<queue::RefreshLosesPlace>),
        test!("line2", a_dead_claim_stays_gone).catches("revives the dead", with::<queue::RevivesTheDead>),
        test!("line2", a_dead_claim_is_gone_even_if_nobody_else_came)
            .needs(&[OWN_CLOCK])
            .catches("renews whoever it knows", with::<time::AnyoneRenewsAll>)
            .catches("revives the dead", with::<queue::RevivesTheDead>),
        test!("line2", a_revoked_claim_is_gone).catches("revives the dead", with::<queue::RevivesTheDead>),
        test!("line2", a_claim_that_left_is_gone).catches("revives the dead", with::<queue::RevivesTheDead>),
        test!("line8", two_claims_of_one_client_exclude_each_other)
            .catches("is re-entrant for its session", with::<queue::ReentrantForSession>),
    ]
}

async fn a_repeated_join_renews(setup: Setup) -> Verdict {
    let probe = setup.probe().await?;
    renews(&setup, &probe, async |claim| probe.join(claim).await).await
}

async fn a_refresh_renews(setup: Setup) -> Verdict {
    let probe = setup.probe().await?;
    renews(&setup, &probe, async |claim| probe.refresh(claim).await).await
}

/// After a renewal at half of its time, a claim keeps others out for its whole time again.
async fn renews(setup: &Setup, probe: &Probe, renew: impl AsyncFn(&Claim) -> Verdict<Told>) -> Verdict {
    patiently(setup.short(), async |ttl| {
        let name = format!("m {ttl:?}");
        let (holder, next) = (probe.claim(&name, ttl), probe.claim(&name, LONG));
        let joined = probe.join(&holder).await?;
        joined.held()?;
        probe.join(&next).await?;
        probe.keep(&next, joined.answered + ttl / 2).await?;
        let renewed = renew(&holder).await?;
        if renewed.answered >= joined.sent + ttl {
            return Ok(None);
        }
        ensure!(renewed.held()? == joined.held()?, "a renewal changed the token");
        let held = probe.until_held(&next).await?;
        ensure!(
            held.answered >= renewed.sent + ttl,
            "renewed at {:?} for {ttl:?}, but the next one held at {:?}",
            renewed.sent,
            held.answered
        );
        Ok(Some(()))
    })
    .await
}

async fn a_repeated_join_does_not_queue_twice(setup: Setup) -> Verdict {
    let probe = setup.probe().await?;
    let (holder, waiter, last) = (probe.claim("m", LONG), probe.claim("m", LONG), probe.claim("m", LONG));
    for claim in [&holder, &waiter, &holder, &waiter, &waiter] {
        probe.join(claim).await?;
    }
    let standing = probe.standing_in(&holder).await?;
    ensure!(standing == 2, "two claims stand in the queue {standing} times");
    ensure!(probe.join(&last).await?.ahead()? == 2, "the third claim has two ahead of it");
    probe.leave(&holder).await?;
    probe.leave(&waiter).await?;
    probe.refresh(&last).await?.held()?;
    Ok(())
}

async fn a_repeated_join_does_not_take_capacity_twice(setup: Setup) -> Verdict {
    let probe = setup.probe().await?;
    let (one, two) = (probe.part("s", 1, 2), probe.part("s", 1, 2));
    for claim in [&one, &one, &two] {
        probe.join(claim).await?.held()?;
    }
    Ok(())
}

async fn a_repeated_join_keeps_its_place(setup: Setup) -> Verdict {
    let probe = setup.probe().await?;
    keeps_place(&probe, async |claim| probe.join(claim).await).await
}

async fn a_refresh_keeps_its_place(setup: Setup) -> Verdict {
    let probe = setup.probe().await?;
    keeps_place(&probe, async |claim| probe.refresh(claim).await).await
}

async fn keeps_place(probe: &Probe, again: impl AsyncFn(&Claim) -> Verdict<Told>) -> Verdict {
    let claims = [probe.claim("m", LONG), probe.claim("m", LONG), probe.claim("m", LONG)];
    for claim in &claims {
        probe.join(claim).await?;
    }
    let [holder, second, third] = &claims;
    for _ in 0..3 {
        ensure!(again(second).await?.ahead()? == 1, "the second lost its place");
        ensure!(again(third).await?.ahead()? == 2, "the third lost or won a place");
    }
    probe.leave(holder).await?;
    again(second).await?.held()?;
    ensure!(again(third).await?.ahead()? == 1, "the third is next");
    Ok(())
}

async fn a_lost_reply_is_cured_by_asking_again(setup: Setup) -> Verdict {
    let probe = setup.probe().await?;
    let (holder, next) = (probe.claim("m", LONG), probe.claim("m", LONG));
    probe.join_unheard(&holder);
    let token = probe.join(&holder).await?.held()?;
    ensure!(probe.join(&holder).await?.held()? == token, "asked again, the token is another");
    ensure!(probe.refresh(&holder).await?.held()? == token, "refreshed, the token is another");
    ensure!(probe.join(&next).await?.ahead()? == 1, "the claim stands in the queue more than once");
    Ok(())
}

async fn a_dead_claim_stays_gone(setup: Setup) -> Verdict {
    let probe = setup.probe().await?;
    let (dying, next) = (probe.claim("m", setup.short()), probe.claim("m", LONG));
    probe.join(&dying).await?.held()?;
    probe.join(&next).await?;
    probe.until_held(&next).await?;
    for _ in 0..3 {
        probe.refresh(&dying).await?.gone()?;
    }
    probe.leave(&next).await?;
    probe.refresh(&dying).await?.gone()
}

/// Nobody has passed the dead claim over, so its record may well still be there.
async fn a_dead_claim_is_gone_even_if_nobody_else_came(setup: Setup) -> Verdict {
    let probe = setup.probe().await?;
    let dying = probe.claim("m", setup.short());
    let other = probe.claim("another", LONG);
    let joined = probe.join(&dying).await?;
    joined.held()?;
    // Others are busy meanwhile, elsewhere.
    // Twice its time, for a second copy of the request may have arrived a little later.
    while probe.env.now() < joined.answered + dying.ttl * 2 {
        probe.pause().await;
        probe.join(&other).await?;
    }
    for _ in 0..3 {
        probe.refresh(&dying).await?.gone()?;
    }
    Ok(())
}

async fn a_revoked_claim_is_gone(setup: Setup) -> Verdict {
    let probe = setup.probe().await?;
    let (revoked, next) = (probe.claim("m", setup.short()), probe.claim("m", LONG));
    let joined = probe.join(&revoked).await?;
    joined.held()?;
    probe.end(&revoked, Manner::Revoke).await?;
    for _ in 0..3 {
        probe.refresh(&revoked).await?.gone()?;
    }
    // It is passed over when its time ends: not before, when its holder may still believe, and not never.
    probe.join(&next).await?;
    let held = probe.until_held(&next).await?;
    ensure!(held.answered >= joined.sent + revoked.ttl, "a revoked holder was passed over too early");
    probe.refresh(&revoked).await?.gone()
}

async fn a_claim_that_left_is_gone(setup: Setup) -> Verdict {
    let probe = setup.probe().await?;
    let (left, waiter) = (probe.claim("m", LONG), probe.claim("m", LONG));
    probe.join(&left).await?.held()?;
    probe.join(&waiter).await?.ahead()?;
    probe.leave(&left).await?;
    probe.refresh(&left).await?.gone()?;
    probe.end(&waiter, Manner::Evict).await?;
    probe.refresh(&waiter).await?.gone()
}

async fn two_claims_of_one_client_exclude_each_other(setup: Setup) -> Verdict {
    let probe = setup.probe().await?;
    let (one, two) = (probe.claim("m", LONG), probe.claim("m", LONG));
    probe.join(&one).await?.held()?;
    probe.join_elsewhere(&two).await?.ahead()?;
    probe.refresh(&two).await?.ahead()?;
    probe.leave(&one).await?;
    probe.refresh(&two).await?.held()?;
    Ok(())
}
