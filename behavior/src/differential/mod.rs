//! The same random operations upon the ledger and upon the engine, on the same clock: the same standings.
//!
//! The ledger says what an engine must do. Tokens are compared by their order among conflicting holds, not by
//! their value. A list that shows a difference is shortened before it is shown.

mod compare;
mod plan;

use crate::broken::{queue, time, tokens, with};
use crate::setup::Setup;
use crate::test::{ALONE, ANYONE, PERMITS, PROCESSES, Test, test};
use crate::verdict::{Failure, Verdict};

use compare::Ground;
use plan::{List, Scope};

/// How many lists a run compares.
const LISTS: u64 = 150;

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test!("differential", one_engine_does_as_the_ledger)
            .needs(&[ALONE])
            .catches("moves who refreshes to the end", with::<queue::RefreshLosesPlace>)
            .catches("revives the dead", with::<queue::RevivesTheDead>)
            .catches("queues a repeated join twice", with::<queue::JoinQueuesTwice>)
            .catches("renews at the hand-over", with::<time::HandOverRenews>)
            .catches("lets tokens fall", with::<tokens::TokensFall>)
            .catches("repeats tokens", with::<tokens::TokensRepeat>),
        test!("differential", two_engines_on_the_same_data_do_as_the_ledger)
            .needs(&[ALONE, PROCESSES, ANYONE]),
    ]
}

async fn one_engine_does_as_the_ledger(setup: Setup) -> Verdict {
    lists(&setup, 1).await
}

/// Each operation goes to one of two engines, as if from two processes.
async fn two_engines_on_the_same_data_do_as_the_ledger(setup: Setup) -> Verdict {
    lists(&setup, 2).await
}

async fn lists(setup: &Setup, engines: usize) -> Verdict {
    let info = &setup.info;
    let scope = Scope {
        // A batch that is repeated as a whole may be answered otherwise: its later items came first meanwhile.
        batch_max: if setup.stack.layers.is_empty() { info.batch_max } else { 1 },
        shared: info.shared,
        permits: (PERMITS.met)(info, &setup.stack),
        at_least: info.at_least,
        coarse: !setup.own_servers().is_empty(),
    };
    let ground = Ground::new(setup, engines, scope.coarse).await?;
    for seed in setup.seed..setup.seed + LISTS {
        let list = List::random(seed, scope);
        if let Err(difference) = ground.compare(&list).await? {
            let (list, difference) = shorten(&ground, list, difference).await?;
            return Err(Failure::Violation(format!("{difference}\nseed {seed}, shortened:\n{list:?}")));
        }
    }
    Ok(())
}

/// Takes steps away for as long as a difference is left.
async fn shorten(ground: &Ground<'_>, mut list: List, mut difference: String) -> Verdict<(List, String)> {
    for steps in [16, 4, 1] {
        let mut at = 0;
        while at < list.steps.len() {
            let shorter = list.without(at, steps);
            match ground.compare(&shorter).await? {
                Err(other) => (list, difference) = (shorter, other),
                Ok(()) => at += steps,
            }
        }
    }
    Ok((list, difference))
}
