//! Tokens of conflicting holds strictly increase in hold order.
//!
//! Hold order is the order in which the guards were handed out: conflicting ones do not overlap, and each lies
//! within its hold at the engine.

use leasehold_core::Token;

use super::history::Grant;
use super::{Rule, Violation};
use crate::executor::True;

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

/// Checks what must be true of the tokens of a quorum whatever clocks do: those of conflicting holds are unique, and
/// who was handed a guard before another's token was proposed has the lower one.
pub fn check_proposed(
    grants: &[Grant],
    proposed_at: impl Fn(Token) -> Option<True>,
) -> Result<(), Violation> {
    for later in grants {
        let Some(proposed) = proposed_at(later.token) else {
            let what = format!("nobody has proposed {:?} of call {}", later.token, later.call);
            return Err(Violation::at(later.began(), Rule::TokenUnique, what));
        };
        for earlier in grants.iter().filter(|g| g.claim != later.claim && g.conflicts(later)) {
            let same = earlier.token == later.token;
            if same || (earlier.began() <= proposed && earlier.token > later.token) {
                let what = format!(
                    "call {} holds r{} with {:?}, proposed at {:.6} ms; call {} was let in at {:.6} ms with {:?}",
                    later.call,
                    later.resource,
                    later.token,
                    proposed as f64 / 1e6,
                    earlier.call,
                    earlier.began() as f64 / 1e6,
                    earlier.token
                );
                return Err(Violation::at(later.began(), Rule::TokenUnique, what));
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
        let proposed = |of: u64| move |token: Token| (token.get() == of).then_some(10).or(Some(0));
        let stale = [grant(1, 3, 9, &[(10, 20)]), grant(2, 3, 8, &[(15, 20)])];
        assert_eq!(check_proposed(&stale, proposed(9)), Ok(()));
        assert_eq!(check_proposed(&stale, proposed(8)).unwrap_err().rule, Rule::TokenUnique);
        assert_eq!(check_proposed(&stale, |_| None).unwrap_err().rule, Rule::TokenUnique);
        let same = [grant(1, 3, 9, &[(0, 10)]), grant(2, 3, 9, &[(10, 11)])];
        assert_eq!(check(&same).unwrap_err().rule, Rule::TokenOrder);
        let falls = [grant(2, 1, 8, &[(10, 11)]), grant(1, 3, 9, &[(0, 10)])];
        assert_eq!(check(&falls).unwrap_err().rule, Rule::TokenOrder);
    }
}
