//! `inspect`: what onlookers are shown, a page at a time.

use leasehold::Query;

use crate::broken::{queue, with};
use crate::probe::LONG;
use crate::setup::{Setup, ask};
use crate::test::{Test, test};
use crate::verdict::{Verdict, ensure};

/// In the order of their bytes, which is not that of any alphabet.
const NAMES: &[&str] =
    &["page/", "page/ ", "page/10", "page/9", "page/B", "page/_", "page/a", "page/ä", "page/🔒"];

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test!("inspect", pages_follow_the_order_of_names)
            .catches("shows the first page for ever", with::<queue::FirstPageForEver>)
            .catches("shows what was not asked for", with::<queue::PrefixUnheard>),
        test!("inspect", the_queue_is_shown_in_its_order)
            .catches("moves who refreshes to the end", with::<queue::RefreshLosesPlace>),
    ]
}

async fn pages_follow_the_order_of_names(setup: Setup) -> Verdict {
    let probe = setup.probe().await?;
    for name in NAMES.iter().rev().chain(&["pagf", "pag", "other"]) {
        probe.join(&probe.claim(name, LONG)).await?.held()?;
    }
    let expected: Vec<String> = NAMES.iter().map(|name| setup.name(name)).collect();
    for limit in [1, 2, 100] {
        let mut shown = Vec::new();
        let mut after = None;
        for _ in 0..=NAMES.len() {
            let query = Query { prefix: setup.name("page/"), after, limit };
            let page = ask(&*setup.env.clock, async || probe.engine.inspect(query.clone()).await).await?;
            ensure!(page.queues.len() <= limit, "a page of {limit} has {} queues", page.queues.len());
            shown.extend(page.queues.iter().map(|q| q.name.to_string()));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        ensure!(shown == expected, "in pages of {limit} it shows {shown:?}");
    }
    Ok(())
}

async fn the_queue_is_shown_in_its_order(setup: Setup) -> Verdict {
    let probe = setup.probe().await?;
    let claims: Vec<_> = (0..5).map(|_| probe.claim("m", LONG)).collect();
    for claim in &claims {
        probe.join(claim).await?;
    }
    probe.refresh(&claims[1]).await?.ahead()?;
    let queues = probe.queues().await?;
    let shown: Vec<_> = queues.iter().flat_map(|q| &q.claims).map(|c| c.id).collect();
    let expected: Vec<_> = claims.iter().map(|c| c.id).collect();
    ensure!(shown == expected, "it shows {shown:?} instead of {expected:?}");
    let tokens = queues.iter().flat_map(|q| &q.claims).filter(|c| c.token.is_some()).count();
    ensure!(tokens == 1, "{tokens} of five claims to a mutex are shown with a token");
    for pair in queues.iter().flat_map(|q| q.claims.windows(2)) {
        ensure!(pair[0].age >= pair[1].age, "who came later is shown as older: {pair:?}");
    }
    Ok(())
}
