//! Line 7: tokens of conflicting holds strictly increase, through whatever `info()` promises.

use leasehold::claim::Manner;
use leasehold::{Env, Token};

use crate::broken::{tokens, with};
use crate::probe::{LONG, Probe};
use crate::setup::Setup;
use crate::test::{ALONE, DURABLE, SHARED, TOKENS_BY_CLOCK, Test, test};
use crate::time::WrongWall;
use crate::verdict::{Verdict, ensure};

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test!("line7", tokens_rise_through_release)
            .catches("lets tokens fall", with::<tokens::TokensFall>)
            .catches("repeats tokens", with::<tokens::TokensRepeat>),
        test!("line7", tokens_rise_through_hand_over_and_eviction)
            .catches("lets tokens fall", with::<tokens::TokensFall>)
            .catches("repeats tokens", with::<tokens::TokensRepeat>),
        test!("line7", tokens_rise_through_expiry)
            .catches("lets tokens fall", with::<tokens::TokensFall>)
            .catches("gives the token of the dead", with::<tokens::TokenOfTheDead>),
        test!("line7", tokens_of_readers_and_writers_rise)
            .needs(&[SHARED])
            .catches("lets tokens fall", with::<tokens::TokensFall>)
            .catches("repeats tokens", with::<tokens::TokensRepeat>),
        test!("line7", tokens_rise_through_a_restart)
            .needs(&[DURABLE])
            .restarts()
            .catches("starts its tokens again", with::<tokens::TokensRestart>),
        test!("line7", tokens_rise_through_deletion_of_the_data)
            .needs(&[TOKENS_BY_CLOCK, ALONE])
            .catches("starts its tokens again", with::<tokens::TokensRestart>),
        test!("line7", tokens_rise_while_the_clock_is_set_back)
            .needs(&[ALONE])
            .catches("takes tokens from the wall clock", tokens::TokensFromWallClock::around),
        test!("line7", tokens_rise_through_a_restart_with_the_clock_set_back)
            .needs(&[DURABLE, ALONE])
            .catches("takes tokens from the wall clock", tokens::TokensFromWallClock::around),
    ]
}

fn above(token: Token, last: Option<Token>, when: &str) -> Verdict<Option<Token>> {
    ensure!(last.is_none_or(|last| last < token), "{when}, {token:?} follows {last:?}");
    Ok(Some(token))
}

async fn tokens_rise_through_release(setup: Setup) -> Verdict {
    let (one, two) = (setup.probe().await?, setup.probe().await?);
    let mut last = None;
    for turn in 0..20 {
        let probe = if turn % 2 == 0 { &one } else { &two };
        let claim = probe.claim("m", LONG);
        last = above(probe.join(&claim).await?.held()?, last, "after a release")?;
        probe.leave(&claim).await?;
    }
    Ok(())
}

async fn tokens_rise_through_hand_over_and_eviction(setup: Setup) -> Verdict {
    let probe = setup.probe().await?;
    let claims: Vec<_> = (0..12).map(|_| probe.claim("m", LONG)).collect();
    for claim in &claims {
        probe.join(claim).await?;
    }
    let mut last = None;
    for (at, claim) in claims.iter().enumerate() {
        last = above(probe.refresh(claim).await?.held()?, last, "after a hand-over")?;
        let manner = if at % 2 == 0 { Manner::Release } else { Manner::Evict };
        probe.end(claim, manner).await?;
    }
    Ok(())
}

async fn tokens_rise_through_expiry(setup: Setup) -> Verdict {
    let probe = setup.probe().await?;
    let mut last = None;
    let mut dying = probe.claim("m", setup.short());
    last = above(probe.join(&dying).await?.held()?, last, "at first")?;
    for _ in 0..3 {
        let next = probe.claim("m", setup.short());
        probe.join(&next).await?;
        last = above(probe.until_held(&next).await?.held()?, last, "after an expiry")?;
        dying = next;
    }
    probe.leave(&dying).await
}

async fn tokens_of_readers_and_writers_rise(setup: Setup) -> Verdict {
    let probe = setup.probe().await?;
    let mut last = None;
    for _ in 0..5 {
        let readers = [probe.reader("rw"), probe.reader("rw"), probe.reader("rw")];
        let mut highest = last;
        for reader in &readers {
            let token = probe.join(reader).await?.held()?;
            above(token, last, "a reader after a writer")?;
            highest = highest.max(Some(token));
        }
        let writer = probe.writer("rw");
        probe.join(&writer).await?.ahead()?;
        for reader in &readers {
            probe.leave(reader).await?;
        }
        last = above(probe.refresh(&writer).await?.held()?, highest, "a writer after readers")?;
        probe.leave(&writer).await?;
    }
    Ok(())
}

/// Holds and lets go once.
async fn once(probe: &Probe) -> Verdict<Token> {
    let claim = probe.claim("m", LONG);
    let token = probe.join(&claim).await?.held()?;
    probe.leave(&claim).await?;
    Ok(token)
}

async fn tokens_rise_through_a_restart(setup: Setup) -> Verdict {
    let mut last = None;
    for _ in 0..4 {
        let probe = setup.probe().await?;
        for _ in 0..3 {
            last = above(once(&probe).await?, last, "after a restart of the engine")?;
        }
        drop(probe);
        setup.restart().await?;
    }
    Ok(())
}

async fn tokens_rise_through_deletion_of_the_data(setup: Setup) -> Verdict {
    let mut last = None;
    for _ in 0..4 {
        let probe = setup.probe().await?;
        for _ in 0..3 {
            last = above(once(&probe).await?, last, "after its data was deleted")?;
        }
        drop(probe);
        setup.wipe().await?;
    }
    Ok(())
}

/// By how many seconds a clock is set back each time.
const BACK: i64 = -3600;

async fn tokens_rise_while_the_clock_is_set_back(setup: Setup) -> Verdict {
    let wall = WrongWall::by(0);
    let probe = setup.probe_on(&Env { clock: wall.clone(), ..setup.env.clone() }).await?;
    let mut last = None;
    for nth in 0..4 {
        last = above(once(&probe).await?, last, "after a backward step of the clock")?;
        wall.set(BACK * (nth + 1));
        setup.shift_servers(BACK * (nth + 1))?;
    }
    Ok(())
}

async fn tokens_rise_through_a_restart_with_the_clock_set_back(setup: Setup) -> Verdict {
    let wall = WrongWall::by(0);
    let mut last = None;
    for nth in 0..4 {
        let probe = setup.probe_on(&Env { clock: wall.clone(), ..setup.env.clone() }).await?;
        last = above(once(&probe).await?, last, "after a restart and a backward step of the clock")?;
        drop(probe);
        wall.set(BACK * (nth + 1));
        setup.shift_servers(BACK * (nth + 1))?;
        setup.restart().await?;
    }
    Ok(())
}
