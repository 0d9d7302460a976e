//! No claim outlives the wish for it.

use std::collections::BTreeSet;

use leasehold_core::{Clock, Page};

use super::book::Book;
use super::{Rule, Violation};
use crate::clock::SimClock;
use crate::executor::NodeId;

/// Once all tasks are done and a little time has passed: nothing is left but what only its TTL can end.
///
/// That is a claim whose process crashed, one whose join arrived after its owner had let go of it and sent the
/// last leave, and one that is kept for its at-least hold.
pub fn soon(
    page: &Page,
    book: &Book,
    crashed: &BTreeSet<(NodeId, u32)>,
    clock: &SimClock,
) -> Result<(), Violation> {
    for (queue, claim) in page.queues.iter().flat_map(|q| q.claims.iter().map(move |c| (q, c))) {
        let known = book.get(claim.id);
        let crashed = known.is_some_and(|record| crashed.contains(&(record.node, record.life)));
        if !crashed && !known.is_some_and(|record| record.is_excused(clock.now())) {
            return Err(Violation::new(
                Rule::NoLeak,
                format!(
                    "{:?} of {} is left in {}, for another {:?}",
                    claim.id, claim.meta.owner, queue.name, claim.ttl_left
                ),
            ));
        }
    }
    Ok(())
}

/// At any time: nobody stands in a queue who has not joined it.
pub fn strangers(page: &Page, book: &Book) -> Result<(), Violation> {
    let mut claims = page.queues.iter().flat_map(|queue| &queue.claims);
    match claims.find(|claim| book.get(claim.id).is_none()) {
        None => Ok(()),
        Some(claim) => Err(Violation::new(Rule::NoStranger, format!("nobody has joined {:?}", claim.id))),
    }
}

/// When every TTL has passed: nothing is left at all.
pub fn late(page: &Page) -> Result<(), Violation> {
    match page.queues.first() {
        None => Ok(()),
        Some(queue) => Err(Violation::new(
            Rule::EmptyAfterTtl,
            format!("{} claims are left in {}", queue.claims.len(), queue.name),
        )),
    }
}
