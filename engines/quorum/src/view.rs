//! Who stands where, merged from what the nodes show.
//!
//! A claim is shown as held if a majority shows it as held; who holds fewer nodes waits. The order is that of the
//! first node that answers, where the waiters stand.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use leasehold_core::engine::{ClaimView, Query, QueueView};
use leasehold_core::{Error, ErrorKind, Name, Page, Result, Token};

use crate::roll::is_same;
use crate::round::PerNode;
use crate::shared::Shared;

/// How long an onlooker waits for a node, if the configuration does not say.
const PATIENCE: Duration = Duration::from_secs(30);

/// One claim as several nodes show it.
struct Merged {
    /// As the first node shows it.
    view: ClaimView,
    /// By node that shows it as held.
    held: PerNode<(Option<Token>, Duration)>,
}

impl Shared {
    /// Who holds and who waits.
    pub(crate) async fn view(self: &Arc<Self>, query: Query) -> Result<Page> {
        let until = self.env.now() + self.config.patience(PATIENCE);
        let pages = self.nodes.iter().map(|node| {
            let page = node.engine.inspect(query.clone());
            async move {
                tokio::select! {
                    biased;
                    page = page => page.ok(),
                    () = self.env.clock.sleep_until(until) => None,
                }
            }
        });
        let pages: Vec<Page> = join_all(pages).await.into_iter().flatten().collect();
        if pages.len() < self.majority() {
            return Err(Error::new(
                ErrorKind::Unavailable,
                "inspect",
                format!("{} of {} nodes answer, which is no majority", pages.len(), self.nodes.len()),
            ));
        }
        Ok(merge(pages, query.limit, self.majority()))
    }
}

/// The pages of all nodes as one.
fn merge(pages: Vec<Page>, limit: usize, majority: usize) -> Page {
    // Beyond where a node's page ends, nobody knows what it has.
    let known_to = pages.iter().filter_map(|page| page.next.clone()).min();
    let mut by_name: BTreeMap<Name, Vec<QueueView>> = BTreeMap::new();
    for queue in pages.into_iter().flat_map(|page| page.queues) {
        if known_to.as_ref().is_none_or(|end| queue.name <= *end) {
            by_name.entry(queue.name.clone()).or_default().push(queue);
        }
    }
    let more = known_to.is_some() || by_name.len() > limit;
    let queues: Vec<QueueView> =
        by_name.into_values().take(limit).map(|views| one(views, majority)).collect();
    let next = queues.last().filter(|_| more).map(|queue| queue.name.clone()).or(known_to);
    Page { queues, next }
}

/// One queue as several nodes show it.
fn one(views: Vec<QueueView>, majority: usize) -> QueueView {
    let (name, capacity) = (views[0].name.clone(), views[0].capacity);
    let mut merged: Vec<Merged> = Vec::new();
    for claim in views.into_iter().flat_map(|view| view.claims) {
        let held = claim.token.map(|token| (Some(token), claim.ttl_left));
        match merged.iter_mut().find(|known| is_same(known.view.id, claim.id)) {
            Some(known) => {
                known.held.extend(held);
                known.view.age = known.view.age.max(claim.age);
                known.view.revoked |= claim.revoked;
            }
            None => merged.push(Merged { view: claim, held: held.into_iter().collect() }),
        }
    }
    let claims = merged.into_iter().map(|Merged { mut view, mut held }| {
        if held.len() < majority {
            view.token = None;
            return view;
        }
        // The accepted token is the one that most have; a majority keeps the claim until the first of it forgets.
        let most = |token: &Option<Token>| held.iter().filter(|(other, _)| other == token).count();
        view.token = held.iter().map(|(token, _)| *token).max_by_key(|token| (most(token), *token)).flatten();
        held.sort_unstable_by_key(|(_, left)| std::cmp::Reverse(*left));
        view.ttl_left = held[majority - 1].1;
        view
    });
    QueueView { name, capacity, claims: claims.collect() }
}
