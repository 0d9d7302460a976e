//! Tokens of conflicting holds strictly increase in hold order.
//!
//! Hold order is the order in which the guards were handed out: conflicting ones do not overlap, and each lies
//! within its hold at the engine.

use super::history::Grant;
use super::{Rule, Violation};

/// Checks all grants.
pub fn check(grants: &[Grant]) -> Result<(), Violation> {
    let mut order: Vec<&Grant> = grants.iter().collect();
    order.sort_by_key(|g| g.began());
    for (at, later) in order.iter().enumerate() {
        for earlier in order[..at].iter().filter(|earlier| earlier.conflicts(later)) {
            if earlier.token >= later.token {
                return Err(Violation::at(
                    later.began(),
                    Rule::TokenOrder,
                    format!(
                        "call {} holds r{} with {:?} after call {} held it with {:?}",
                        later.call, later.resource, later.token, earlier.call, earlier.token
                    ),
                ));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::history::grant;
    use super::*;

    #[test]
    fn only_conflicting_holds_are_ordered_and_they_strictly() {
        let readers = [grant(1, 1, 9, &[(0, 10)]), grant(2, 1, 8, &[(5, 10)]), grant(3, 3, 10, &[(11, 12)])];
        assert_eq!(check(&readers), Ok(()));
        let same = [grant(1, 3, 9, &[(0, 10)]), grant(2, 3, 9, &[(10, 11)])];
        assert_eq!(check(&same).unwrap_err().rule, Rule::TokenOrder);
        let falls = [grant(2, 1, 8, &[(10, 11)]), grant(1, 3, 9, &[(0, 10)])];
        assert_eq!(check(&falls).unwrap_err().rule, Rule::TokenOrder);
    }
}
