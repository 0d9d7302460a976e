//! Nobody else is let in before an at-least hold is over, by the engine's clock, even if the holder let go or
//! died.

use super::book::Book;
use super::history::Grant;
use super::{Rule, Violation};
use crate::clock::Course;

/// Checks all grants.
pub fn check(grants: &[Grant], book: &Book, engine: &Course) -> Result<(), Violation> {
    for kept in grants.iter().filter(|g| g.at_least) {
        let Some(until) = book.get(kept.claim).and_then(|record| record.kept_until()) else { continue };
        let until = engine.true_at(until);
        let early = |g: &&Grant| g.conflicts(kept) && g.began() > kept.began() && g.began() < until;
        if let Some(early) = grants.iter().find(early) {
            return Err(Violation::at(
                early.began(),
                Rule::AtLeast,
                format!("call {} is let in while call {} must still keep others out", early.call, kept.call),
            ));
        }
    }
    Ok(())
}
