//! Where there are no faults, whoever asks first is let in first.
//!
//! A call's place is where the first of its claims arrived at the engine: a call that has to queue anew has lost
//! it. Tokens are minted in the order of the queue, so they must rise in the order of arrival, readers included.

use std::collections::BTreeMap;

use super::book::Book;
use super::history::Grant;
use super::{Rule, Violation};

/// Checks all grants of a run without faults.
pub fn check<'a>(grants: impl IntoIterator<Item = &'a Grant>, book: &Book) -> Result<(), Violation> {
    let mut arrivals: BTreeMap<&str, u64> = BTreeMap::new();
    for record in book.records() {
        if let Some(call) = record.call.as_deref() {
            let first = arrivals.entry(call).or_insert(record.arrival);
            *first = record.arrival.min(*first);
        }
    }
    let mut order: Vec<(usize, u64, &Grant)> = grants
        .into_iter()
        .filter_map(|g| Some((g.resource, *arrivals.get(g.call.to_string().as_str())?, g)))
        .collect();
    order.sort_by_key(|(resource, arrival, _)| (*resource, *arrival));
    for pair in order.windows(2) {
        let [(of, _, first), (also_of, _, second)] = pair else { continue };
        if of == also_of && first.token > second.token {
            return Err(Violation::at(
                first.began(),
                Rule::Fifo,
                format!(
                    "call {} asked for r{of} before call {}, but was let in after it ({:?}, {:?})",
                    first.call, second.call, first.token, second.token
                ),
            ));
        }
    }
    Ok(())
}
