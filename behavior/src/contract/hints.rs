//! Line 5: hints, and what they are worth.

use futures_util::StreamExt;
use leasehold::engine::{Hint, Standing};

use crate::broken::{queue, with};
use crate::probe::LONG;
use crate::setup::Setup;
use crate::test::{PUSH, Test, test};
use crate::verdict::{Verdict, ensure};

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test!("line5", a_hint_tells_the_next_holder)
            .needs(&[PUSH])
            .catches("gives no hints", with::<queue::NoHints>)
            .catches("hints at what is not so", with::<queue::HintsTooEarly>)
            .catches("hints with a wrong token", with::<queue::HintsWrongToken>),
        test!("line5", without_any_hint_the_next_one_holds)
            .catches("tells waiters by hints only", with::<queue::OnlyHintsTell>),
        test!("line5", hints_are_for_their_claim_alone)
            .needs(&[PUSH])
            .catches("hints at what is not so", with::<queue::HintsTooEarly>),
    ]
}

async fn a_hint_tells_the_next_holder(setup: Setup) -> Verdict {
    let (here, there) = (setup.probe().await?, setup.probe().await?);
    let (holder, next) = (there.claim("m", LONG), here.claim("m", LONG));
    there.join(&holder).await?.held()?;
    here.join(&next).await?.ahead()?;
    let mut hints = here.watch(&next);
    there.leave(&holder).await?;
    loop {
        let hint = setup.within("the next in the queue is given a hint", hints.next()).await?;
        ensure!(hint.is_some(), "the hints ended before the claim was held");
        let told = here.refresh(&next).await?;
        match (hint, told.token()) {
            (Some(Hint::Held(hinted)), held) => {
                ensure!(held == Some(hinted), "hinted at {hinted:?}, but it is {:?}", told.standing);
                return Ok(());
            }
            (_, Some(_)) => return Ok(()),
            (_, None) => {}
        }
    }
}

async fn without_any_hint_the_next_one_holds(setup: Setup) -> Verdict {
    let probe = setup.probe().await?;
    let claims: Vec<_> = (0..5).map(|_| probe.claim("m", LONG)).collect();
    for claim in &claims {
        probe.join(claim).await?;
    }
    for pair in claims.windows(2) {
        probe.leave(&pair[0]).await?;
        probe.refresh(&pair[1]).await?.held()?;
    }
    Ok(())
}

/// While one lock changes hands, who waits for another is never told that it holds.
async fn hints_are_for_their_claim_alone(setup: Setup) -> Verdict {
    let probe = setup.probe().await?;
    let (holder, waiter) = (probe.claim("kept", LONG), probe.claim("kept", LONG));
    probe.join(&holder).await?.held()?;
    probe.join(&waiter).await?.ahead()?;
    let mut hints = probe.watch(&waiter);
    let others: Vec<_> = (0..5).map(|_| probe.claim("passed on", LONG)).collect();
    for claim in &others {
        probe.join(claim).await?;
    }
    for claim in &others {
        probe.leave(claim).await?;
    }
    probe.leave(&holder).await?;
    loop {
        let hint = setup.within("the waiter is given a hint", hints.next()).await?;
        match (hint, probe.refresh(&waiter).await?.standing) {
            (Some(Hint::Held(hinted)), Standing::Held { token, .. }) if hinted == token => return Ok(()),
            (Some(Hint::Look), Standing::Held { .. }) => return Ok(()),
            (Some(Hint::Look), Standing::Queued { .. }) => {}
            (hint, standing) => {
                ensure!(false, "told {hint:?} when it is {standing:?}");
            }
        }
    }
}
