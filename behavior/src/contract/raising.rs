//! Line 9: a proposed token is accepted if and only if it is above all before it.

use leasehold::engine::Standing;
use leasehold::{Claim, Token};

use crate::broken::{tokens, with};
use crate::probe::{LONG, Probe};
use crate::setup::Setup;
use crate::test::{RAISE, Test, test};
use crate::verdict::{Verdict, ensure};

/// How far above a proposal is: more than others on the same engine are given meanwhile.
const FAR: u64 = 1_000_000;

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test!("line9", a_proposal_above_all_is_the_token)
            .needs(&[RAISE])
            .catches("takes no notice of proposals", with::<tokens::NeverRaises>)
            .catches("forgets what it has accepted", with::<tokens::RaiseForgotten>),
        test!("line9", a_proposal_for_a_hold_is_the_token_from_now_on)
            .needs(&[RAISE])
            .catches("takes no notice of proposals", with::<tokens::NeverRaises>)
            .catches("forgets what it has accepted", with::<tokens::RaiseForgotten>),
        test!("line9", a_proposal_too_low_is_answered_with_a_higher_token)
            .needs(&[RAISE])
            .catches("accepts whatever is proposed", with::<tokens::TakesAnyProposal>),
        test!("line9", a_proposal_for_a_claim_that_is_gone_raises_nothing)
            .needs(&[RAISE])
            .catches("accepts proposals for the dead", with::<tokens::RaisesForTheDead>),
    ]
}

fn far_above(token: Token) -> Token {
    Token::new(token.get() + FAR).expect("far below 2^53")
}

/// A token of this resource, as high as any so far.
async fn last(probe: &Probe) -> Verdict<Token> {
    let claim = probe.claim("m", LONG);
    let token = probe.join(&claim).await?.held()?;
    probe.leave(&claim).await?;
    Ok(token)
}

fn proposing(claim: Claim, raise: Token) -> Claim {
    Claim { raise: Some(raise), ..claim }
}

async fn a_proposal_above_all_is_the_token(setup: Setup) -> Verdict {
    let probe = setup.probe().await?;
    let high = far_above(last(&probe).await?);
    let claim = proposing(probe.claim("m", LONG), high);
    for when in ["joined", "joined again"] {
        let token = probe.join(&claim).await?.held()?;
        ensure!(token == high, "{when} with the proposal {high:?}, it has {token:?}");
    }
    let token = probe.refresh(&claim).await?.held()?;
    ensure!(token == high, "refreshed with the same proposal, it has {token:?}");
    probe.leave(&claim).await?;
    let next = last(&probe).await?;
    ensure!(next > high, "{next:?} follows the accepted {high:?}");
    Ok(())
}

async fn a_proposal_for_a_hold_is_the_token_from_now_on(setup: Setup) -> Verdict {
    let probe = setup.probe().await?;
    let plain = probe.claim("m", LONG);
    let high = far_above(probe.join(&plain).await?.held()?);
    let claim = proposing(plain.clone(), high);
    let token = probe.refresh(&claim).await?.held()?;
    ensure!(token == high, "refreshed with the proposal {high:?}, it has {token:?}");
    let token = probe.refresh(&plain).await?.held()?;
    ensure!(token == high, "after {high:?} was accepted, it has {token:?}");
    probe.leave(&claim).await?;
    let next = last(&probe).await?;
    ensure!(next > high, "{next:?} follows the accepted {high:?}");
    Ok(())
}

async fn a_proposal_too_low_is_answered_with_a_higher_token(setup: Setup) -> Verdict {
    let probe = setup.probe().await?;
    let low = last(&probe).await?;
    let claim = proposing(probe.claim("m", LONG), low);
    let joined = probe.join(&claim).await?.held()?;
    ensure!(joined > low, "joined with the stale {low:?}, it has {joined:?}");
    let refreshed = probe.refresh(&claim).await?.held()?;
    ensure!(refreshed > low, "refreshed with the stale {low:?}, it has {refreshed:?}");
    Ok(())
}

async fn a_proposal_for_a_claim_that_is_gone_raises_nothing(setup: Setup) -> Verdict {
    let probe = setup.probe().await?;
    let claim = probe.claim("m", LONG);
    let high = far_above(probe.join(&claim).await?.held()?);
    probe.leave(&claim).await?;
    let told = probe.refresh(&proposing(claim, high)).await?;
    ensure!(told.standing == Standing::Gone, "a claim that has left is {:?}", told.standing);
    let token = probe.join(&proposing(probe.claim("m", LONG), high)).await?.held()?;
    ensure!(token == high, "the proposal of a claim that is gone kept {high:?} from being accepted");
    Ok(())
}
