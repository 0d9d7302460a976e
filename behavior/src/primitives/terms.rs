//! TTL, at-least, at-most, payload, patience.

use std::time::Duration;

use leasehold::{ErrorKind, Query};

use crate::broken::{time, with};
use crate::probe::patiently;
use crate::setup::{Setup, ask};
use crate::test::{AT_LEAST, ONE_QUEUE, PERMITS, Test, test};
use crate::verdict::{Verdict, ensure};

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test!("terms", a_hold_outlives_its_ttl_by_renewal)
            .catches("does not renew", with::<time::RefreshDoesNotRenew>),
        test!("terms", at_least_survives_a_release).needs(&[AT_LEAST]),
        test!("terms", at_most_ends_a_hold),
        test!("terms", busy_is_none_and_leaves_nothing),
        test!("terms", a_payload_is_seen_by_others).needs(&[ONE_QUEUE]),
        test!("terms", another_capacity_is_refused).needs(&[PERMITS]),
        test!("terms", bad_terms_are_refused),
    ]
}

/// Whoever waits while a hold is renewed does not get in before it is let go.
async fn a_hold_outlives_its_ttl_by_renewal(setup: Setup) -> Verdict {
    patiently(setup.offered(Duration::from_secs(1)), async |ttl| {
        let (client, seen) = setup.watched().await?;
        let lock = client.mutex(&setup.name(&format!("m {ttl:?}")))?.ttl(ttl);
        let guard = lock.lock().await?;
        let mut waiter = tokio::spawn({
            let lock = lock.clone();
            async move { lock.lock().await }
        });
        setup.within("the other waits", seen.queued(1)).await?;
        let enough = guard.deadline() + ttl * 2;
        while guard.deadline() < enough {
            let last = guard.deadline();
            tokio::select! {
                renewed = setup.within("the hold is renewed", guard.renewed(last)) => renewed?,
                early = &mut waiter => {
                    let early = early??;
                    ensure!(!guard.is_valid(), "{early:?} was had while {guard:?} is held");
                }
            }
            if !guard.is_valid() {
                return Ok(None);
            }
        }
        let token = guard.token();
        drop(guard);
        let next = setup.within("the other gets it", waiter).await???;
        ensure!(next.token() > token, "the next hold's token is not above");
        drop(next);
        setup.emptied(&client).await?;
        Ok(Some(()))
    })
    .await
}

async fn at_least_survives_a_release(setup: Setup) -> Verdict {
    let (one, two) = (setup.client().await?, setup.client().await?);
    let kept = Duration::from_millis(700);
    let name = setup.name("m");
    let asked = setup.env.now();
    let guard = one.mutex(&name)?.at_least(kept).lock().await?;
    drop(guard.release().await);
    let next = setup.within("the next one gets it", two.mutex(&name)?.lock()).await??;
    let after = setup.env.now().since(asked);
    ensure!(after >= kept, "kept for at least {kept:?}, it was had again after {after:?}");
    drop(next);
    setup.emptied(&two).await
}

async fn at_most_ends_a_hold(setup: Setup) -> Verdict {
    let client = setup.client().await?;
    let lock = client.mutex(&setup.name("m"))?;
    let guard = lock.clone().at_most(setup.short()).lock().await?;
    setup.within("the hold ends", guard.lost()).await?;
    ensure!(!guard.is_valid() && guard.remaining().is_zero(), "a hold that is over says that it is valid");
    let next = setup.within("the next one gets it", lock.lock()).await??;
    let late = guard.release().await;
    ensure!(
        late.as_ref().is_err_and(|e| e.kind() == ErrorKind::Lost),
        "to release what is lost says {late:?}"
    );
    ensure!(next.is_valid(), "a late release ended the next one's hold");
    drop(next);
    setup.emptied(&client).await
}

async fn busy_is_none_and_leaves_nothing(setup: Setup) -> Verdict {
    let (one, two) = (setup.client().await?, setup.client().await?);
    let name = setup.name("m");
    let guard = one.mutex(&name)?.lock().await?;
    let lock = two.mutex(&name)?;
    for _ in 0..5 {
        ensure!(lock.try_lock().await?.is_none(), "a held lock was had by trying");
        // Where requests are lost, so short a wait may have no answer at all, and that is an error.
        let waited =
            ask(&*setup.env.clock, async || lock.lock_timeout(Duration::from_millis(20)).await).await?;
        ensure!(waited.is_none(), "a held lock was had by waiting a little");
    }
    setup.thinned(&two, 1).await?;
    ensure!(guard.is_valid(), "the holder was disturbed");
    drop(guard.release().await);
    let got = setup.within("patience is rewarded", lock.lock_timeout(Duration::from_secs(20))).await??;
    ensure!(got.is_some(), "a free lock was not had");
    drop(got);
    setup.emptied(&two).await
}

async fn a_payload_is_seen_by_others(setup: Setup) -> Verdict {
    let (one, two) = (setup.client().await?, setup.client().await?);
    let lock = one.mutex(&setup.name("m"))?.payload("http://10.0.0.7:80/ \"leader\" Ω");
    let guard = lock.lock().await?;
    let page = ask(&*setup.env.clock, async || two.inspect(Query::exactly(guard.name())).await).await?;
    let claim = page.queues.first().and_then(|q| q.claims.first());
    ensure!(
        claim.is_some_and(|c| {
            c.meta.payload.as_deref() == Some("http://10.0.0.7:80/ \"leader\" Ω")
                && c.id == guard.id()
                && c.token == Some(guard.token())
                && !c.meta.owner.is_empty()
        }),
        "others see {claim:?}"
    );
    drop(guard);
    setup.emptied(&two).await
}

async fn another_capacity_is_refused(setup: Setup) -> Verdict {
    let client = setup.client().await?;
    let name = setup.name("x");
    let permit = client.semaphore(&name, 3)?.acquire().await?;
    for refused in [
        client.mutex(&name)?.lock().await.map(drop),
        client.rwlock(&name)?.read().await.map(drop),
        client.semaphore(&name, 4)?.acquire().await.map(drop),
    ] {
        let kind = refused.as_ref().err().map(leasehold::Error::kind);
        ensure!(kind == Some(ErrorKind::Refused), "another capacity than the queue's gives {refused:?}");
    }
    ensure!(permit.is_valid(), "the holder was disturbed");
    drop(permit);
    setup.emptied(&client).await?;
    // With nobody there, the name is free for another use.
    drop(client.mutex(&name)?.lock().await?);
    setup.emptied(&client).await
}

async fn bad_terms_are_refused(setup: Setup) -> Verdict {
    let client = setup.client().await?;
    let lock = client.mutex(&setup.name("m"))?;
    let (least, most) = (client.info().ttl_min, client.info().ttl_max);
    for bad in [
        lock.clone().ttl(Duration::ZERO),
        lock.clone().ttl(least / 2),
        lock.clone().ttl(most + Duration::from_secs(1)),
        lock.clone().at_most(Duration::ZERO),
        lock.clone().payload(&"x".repeat(2000)),
    ] {
        let refused = bad.try_lock().await;
        let kind = refused.as_ref().err().map(leasehold::Error::kind);
        ensure!(kind == Some(ErrorKind::InvalidInput), "{bad:?} gives {refused:?}");
    }
    if !client.info().at_least {
        let refused = lock.at_least(Duration::from_secs(1)).try_lock().await;
        let kind = refused.as_ref().err().map(leasehold::Error::kind);
        ensure!(
            kind == Some(ErrorKind::Unsupported),
            "an at-least hold that is not offered gives {refused:?}"
        );
    }
    setup.emptied(&client).await
}
