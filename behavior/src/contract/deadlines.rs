//! Lines 4 and 6, and the deadline of line 5: who sets how long a claim lives, and from when.

use std::time::Duration;

use leasehold::Env;
use leasehold::claim::WAITING_TTL_MAX;
use leasehold::engine::Standing;

use crate::broken::{time, with};
use crate::probe::{LONG, patiently};
use crate::setup::Setup;
use crate::test::{ONE_QUEUE, OWN_CLOCK, OWN_ENV, PROCESSES, Test, test};
use crate::time::WrongWall;
use crate::verdict::{Failure, Verdict, ensure};

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test!("line4", others_do_not_prolong_a_hold)
            .catches("renews whoever it knows", with::<time::AnyoneRenewsAll>),
        test!("line4", others_do_not_shorten_a_hold)
            .catches("cuts the holder for a newcomer", with::<time::NewcomerCutsHolder>),
        test!("line4", a_standings_ttl_counts_from_the_request)
            .catches("boasts of its ttl", with::<time::BoastsOfTtl>),
        test!("line4", look_again_is_when_the_one_ahead_can_die)
            .needs(&[OWN_CLOCK])
            .catches("sends waiters to look too late", with::<time::LooksTooLate>),
        test!("line5", a_hand_over_is_under_the_deadline_of_the_last_refresh)
            .needs(&[OWN_CLOCK])
            .catches("renews at the hand-over", with::<time::HandOverRenews>),
        test!("line6", a_holder_is_not_forgotten_early)
            .catches("forgets holders", with::<time::ForgetsHolders>),
        test!("line6", a_waiter_is_not_forgotten_early)
            .needs(&[ONE_QUEUE])
            .catches("forgets waiters", with::<time::ForgetsWaiters>),
        test!("line6", no_two_wall_clocks_are_compared)
            .needs(&[PROCESSES, OWN_ENV])
            .catches("compares wall clocks", time::ComparesWallClocks::around),
    ]
}

/// The waiter asks all the time, others come, look and go, and still the holder dies.
async fn others_do_not_prolong_a_hold(setup: Setup) -> Verdict {
    let probe = setup.probe().await?;
    let [next, passer_by] = [0; 2].map(|_| probe.claim("m", LONG));
    let holder = probe.claim("m", setup.short());
    probe.join(&holder).await?.held()?;
    probe.join(&next).await?.ahead()?;
    let asking = async {
        loop {
            probe.join(&passer_by).await?;
            probe.queues().await?;
            probe.leave(&passer_by).await?;
            probe.pause().await;
        }
    };
    tokio::select! {
        held = probe.until_held(&next) => held.map(drop),
        failed = asking => failed,
    }
}

async fn others_do_not_shorten_a_hold(setup: Setup) -> Verdict {
    let probe = setup.probe().await?;
    let (holder, next) = (probe.claim("m", setup.short()), probe.claim("m", LONG));
    let joined = probe.join(&holder).await?;
    joined.held()?;
    probe.join(&next).await?;
    let held = probe.until_held(&next).await?;
    ensure!(
        held.answered >= joined.sent + holder.ttl,
        "a hold of {:?} ended after {:?} at the most",
        holder.ttl,
        held.answered.since(joined.sent)
    );
    Ok(())
}

/// What a standing says is kept: nobody else is let in before the request's sending + the standing's ttl.
async fn a_standings_ttl_counts_from_the_request(setup: Setup) -> Verdict {
    let probe = setup.probe().await?;
    let other = setup.probe().await?;
    let (holder, next) = (probe.claim("m", setup.short()), other.claim("m", LONG));
    let joined = probe.join(&holder).await?;
    let Standing::Held { ttl, .. } = joined.standing else {
        return joined.held().map(drop);
    };
    let told = other.join(&next).await?;
    if let Standing::Queued { ttl, .. } = told.standing {
        ensure!(ttl <= WAITING_TTL_MAX, "a waiter lives {WAITING_TTL_MAX:?} at the most, not {ttl:?}");
    }
    let held = other.until_held(&next).await?;
    ensure!(
        held.answered >= joined.sent + ttl,
        "a standing promised {ttl:?}, but the next one held after {:?}",
        held.answered.since(joined.sent)
    );
    Ok(())
}

/// Who looks only when it is told to look gets in, too.
async fn look_again_is_when_the_one_ahead_can_die(setup: Setup) -> Verdict {
    let probe = setup.probe().await?;
    patiently(setup.short(), async |ttl| {
        let name = format!("m {ttl:?}");
        let (holder, next) = (probe.claim(&name, ttl), probe.claim(&name, LONG));
        probe.join(&holder).await?.held()?;
        let mut told = probe.join(&next).await?;
        for _ in 0..5 {
            let Standing::Queued { ttl: own, look_again, .. } = told.standing else { break };
            ensure!(look_again < own, "told to look in {look_again:?}, when the one ahead lives {ttl:?}");
            let look_at = told.answered + look_again;
            probe.until(look_at).await;
            if probe.env.now() > told.sent + own {
                return Ok(None);
            }
            told = probe.refresh(&next).await?;
        }
        told.held()?;
        Ok(Some(()))
    })
    .await
}

/// A waiter asks for the last time, is handed the lock, and is never heard of again: it dies by what it asked
/// for while it waited, although it would have a long life as a holder.
async fn a_hand_over_is_under_the_deadline_of_the_last_refresh(setup: Setup) -> Verdict {
    let probe = setup.probe().await?;
    let [holder, silent, last] = [0; 3].map(|_| probe.claim("m", LONG));
    probe.join(&holder).await?.held()?;
    let asked = probe.join(&silent).await?;
    asked.ahead()?;
    probe.join(&last).await?;
    probe.leave(&holder).await?;
    let held = probe.until_held(&last).await?;
    ensure!(held.answered >= asked.sent + WAITING_TTL_MAX, "who was handed the lock lost it early");
    probe.refresh(&silent).await?.gone()
}

async fn a_holder_is_not_forgotten_early(setup: Setup) -> Verdict {
    let probe = setup.probe().await?;
    let other = setup.probe().await?;
    let (holder, next) = (probe.claim("m", setup.short()), other.claim("m", LONG));
    let mut last = probe.join(&holder).await?;
    other.join(&next).await?;
    // It renews a few times, and then no more.
    for _ in 0..3 {
        other.keep(&next, last.sent + holder.ttl / 3).await?;
        let told = probe.refresh(&holder).await?;
        if told.standing == Standing::Gone {
            ensure!(
                told.answered >= last.sent + holder.ttl,
                "gone {:?} after a request for {:?}",
                told.answered.since(last.sent),
                holder.ttl
            );
            return Ok(());
        }
        last = told;
    }
    let held = other.until_held(&next).await?;
    ensure!(
        held.answered >= last.sent + holder.ttl,
        "the next one held {:?} after a request for {:?}",
        held.answered.since(last.sent),
        holder.ttl
    );
    Ok(())
}

async fn a_waiter_is_not_forgotten_early(setup: Setup) -> Verdict {
    let probe = setup.probe().await?;
    let other = setup.probe().await?;
    let (holder, last) = (other.claim("m", LONG), other.claim("m", LONG));
    let waiter = probe.claim("m", setup.short());
    other.join(&holder).await?.held()?;
    let asked = probe.join(&waiter).await?;
    asked.ahead()?;
    other.join(&last).await?;
    let one_ahead = |s: &Standing| matches!(s, Standing::Queued { ahead: 1, .. });
    let passed = other.refresh_until(&last, "a silent waiter is passed over", one_ahead).await?;
    ensure!(
        passed.answered >= asked.sent + waiter.waiting_ttl(),
        "passed over {:?} after a request for {:?}",
        passed.answered.since(asked.sent),
        waiter.waiting_ttl()
    );
    probe.refresh(&waiter).await?.gone()
}

async fn no_two_wall_clocks_are_compared(setup: Setup) -> Verdict {
    const HOUR: i64 = 3600;
    let wrong = |by| Env { clock: WrongWall::by(by), ..setup.env.clone() };
    let behind = setup.probe_on(&wrong(-HOUR)).await?;
    let ahead = setup.probe_on(&wrong(HOUR)).await?;
    // Whoever of the two holds, the other is neither too early nor kept out for an hour.
    for (holds, waits, name) in [(&behind, &ahead, "m1"), (&ahead, &behind, "m2")] {
        let (holder, next) = (holds.claim(name, setup.short()), waits.claim(name, LONG));
        let joined = holds.join(&holder).await?;
        joined.held()?;
        waits.join(&next).await?;
        let held = waits.until_held(&next).await?;
        let kept: Duration = held.answered.since(joined.sent);
        if kept < holder.ttl {
            return Err(Failure::Violation(format!("a hold of {:?} ended after {kept:?}", holder.ttl)));
        }
    }
    Ok(())
}
