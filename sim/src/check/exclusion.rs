//! Never two valid conflicting guards, by true time: the weights of valid guards never exceed the capacity.
//!
//! A guard is valid from when it was handed out until its holder let go of it or its deadline passed on its
//! node's clock, paused or not. Sorting the ends of those spans and sweeping over them is exact.

use super::history::Grant;
use super::{Rule, Violation};
use crate::executor::True;

/// Checks all grants.
pub fn check(grants: &[Grant]) -> Result<(), Violation> {
    let resources = grants.iter().map(|g| g.resource + 1).max().unwrap_or(0);
    (0..resources).try_for_each(|resource| {
        let of: Vec<&Grant> = grants.iter().filter(|g| g.resource == resource).collect();
        sweep(&of)
    })
}

fn sweep(grants: &[&Grant]) -> Result<(), Violation> {
    // Ends sort before beginnings of the same moment: a span does not contain its end.
    let mut edges: Vec<(True, bool, usize)> = Vec::new();
    for (at, grant) in grants.iter().enumerate() {
        for &(from, until) in grant.spans.iter().filter(|(from, until)| from < until) {
            edges.push((from, true, at));
            edges.push((until, false, at));
        }
    }
    edges.sort_unstable();
    let mut taken: u64 = 0;
    let mut valid: Vec<usize> = Vec::new();
    for (at, begins, which) in edges {
        let grant = grants[which];
        if !begins {
            taken -= u64::from(grant.weight);
            valid.retain(|v| *v != which);
            continue;
        }
        taken += u64::from(grant.weight);
        valid.push(which);
        if taken > u64::from(grant.capacity) {
            let who: Vec<String> = valid
                .iter()
                .map(|v| format!("call {} on n{} ({:?})", grants[*v].call, grants[*v].node, grants[*v].token))
                .collect();
            return Err(Violation::at(
                at,
                Rule::Exclusion,
                format!(
                    "at {:.6} ms {taken} of {} of r{} are held, by {}",
                    at as f64 / 1e6,
                    grant.capacity,
                    grant.resource,
                    who.join(" and ")
                ),
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::history::grant;
    use super::*;

    #[test]
    fn what_fits_and_what_only_touches_is_allowed() {
        let all = [
            grant(1, 2, 1, &[(0, 10)]),
            grant(2, 1, 2, &[(5, 20)]),
            grant(3, 2, 3, &[(10, 20)]),
            grant(4, 3, 4, &[(20, 30)]),
            grant(5, 3, 5, &[(25, 25)]),
        ];
        assert_eq!(check(&all), Ok(()));
    }

    #[test]
    fn an_overlap_of_one_nanosecond_and_a_revival_are_found() {
        let overlap = [grant(1, 2, 1, &[(0, 10)]), grant(2, 2, 2, &[(9, 20)])];
        assert_eq!(check(&overlap).unwrap_err().rule, Rule::Exclusion);
        let revival = [grant(1, 3, 1, &[(0, 10), (15, 30)]), grant(2, 1, 2, &[(12, 16)])];
        assert_eq!(check(&revival).unwrap_err().rule, Rule::Exclusion);
    }
}
