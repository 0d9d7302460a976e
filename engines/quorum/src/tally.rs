//! What the answers of the nodes come to. Pure: no I/O, no clock.

use std::time::Duration;

use leasehold_core::engine::{Refusal, Standing};
use leasehold_core::{Result, Token};

use crate::node::Node;
use crate::round::{PerNode, Round};

/// What a node says of a claim.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Vote {
    /// Nothing yet.
    Silent,
    /// It cannot be asked, or its answer is unknown.
    Failed,
    /// How the claim stands there.
    Said(Standing),
}

/// What the nodes say, in their order.
pub(crate) fn votes(round: &Round<Standing>, at: usize, nodes: usize) -> PerNode<Vote> {
    let mut votes: PerNode<Vote> = (0..nodes).map(|_| Vote::Silent).collect();
    for (node, answer) in round.answers(at) {
        votes[node] = match answer {
            Ok(standing) => Vote::Said(standing.clone()),
            Err(_) => Vote::Failed,
        };
    }
    votes
}

/// What the votes come to for a claim that is not held yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Turn {
    /// A majority has accepted the token; how long it keeps the claim.
    Held(Duration),
    /// A majority holds the claim, but not all under the token.
    Raise,
    /// Others are before it in the queue of this node.
    Waits { node: usize, ahead: u32, ttl: Duration, look_again: Duration },
    /// It is the head of this node's queue, but a majority has not let it in yet.
    Lags { node: usize },
    /// The resource is in use as something else.
    Refused(Refusal),
    /// It died in the queue.
    Gone,
    /// Too few nodes answer.
    Unreachable,
}

/// How the votes stand for a token that was proposed.
pub(crate) struct Count {
    /// Who has accepted it.
    pub(crate) accepted: usize,
    held: usize,
    /// The shortest time that one of those keeps the claim.
    ttl: Duration,
}

pub(crate) fn count(votes: &[Vote], proposed: Token, any_token: bool) -> Count {
    let mut count = Count { accepted: 0, held: 0, ttl: Duration::MAX };
    for vote in votes {
        let Vote::Said(standing) = vote else { continue };
        if let Standing::Held { token, ttl } = standing {
            count.held += 1;
            if *token == proposed || any_token {
                count.accepted += 1;
                count.ttl = count.ttl.min(*ttl);
            }
        }
    }
    count
}

/// The first node that has the claim in its queue; `None` if that is still open or there is none.
///
/// Nobody gets in past the queue of the first node that can be reached: who has just let go is nearer than the
/// next in the queue, and would get in again and again.
fn first(votes: &[Vote], nodes: &[Node], settled: bool) -> Option<usize> {
    for (at, vote) in votes.iter().enumerate() {
        match vote {
            Vote::Said(Standing::Held { .. } | Standing::Queued { .. }) => return Some(at),
            Vote::Silent if !settled && !nodes[at].is_suspect() => return None,
            _ => {}
        }
    }
    None
}

/// What the votes come to, of which so many accept the token; `None` if it is too early to say. `queue` is the node in
/// whose queue it has waited.
pub(crate) fn turn(
    votes: &[Vote],
    nodes: &[Node],
    count: &Count,
    accepted: usize,
    queue: Option<usize>,
    settled: bool,
) -> Option<Turn> {
    let majority = nodes.len() / 2 + 1;
    if let Some(node) = queue
        && votes[node] == Vote::Said(Standing::Gone)
    {
        return Some(Turn::Gone);
    }
    if let Some(node) = first(votes, nodes, settled) {
        match &votes[node] {
            Vote::Said(Standing::Queued { ahead, ttl, look_again }) => {
                return Some(Turn::Waits { node, ahead: *ahead, ttl: *ttl, look_again: *look_again });
            }
            _ if accepted >= majority => return Some(Turn::Held(count.ttl)),
            _ => {}
        }
        if !settled {
            return None;
        }
        if count.held >= majority {
            return Some(Turn::Raise);
        }
    }
    if !settled {
        return None;
    }
    let said = || {
        votes
            .iter()
            .enumerate()
            .filter_map(|(at, v)| if let Vote::Said(s) = v { Some((at, s)) } else { None })
    };
    let queued = said().filter(|(_, s)| matches!(s, Standing::Queued { .. })).count();
    if count.held + queued >= majority {
        return first(votes, nodes, settled).map(|node| Turn::Lags { node });
    }
    let refused =
        said().find_map(|(_, s)| if let Standing::Refused(why) = s { Some(why.clone()) } else { None });
    Some(match refused {
        Some(why) => Turn::Refused(why),
        None if said().filter(|(_, s)| **s == Standing::Gone).count() >= majority => Turn::Gone,
        None => Turn::Unreachable,
    })
}

/// What the votes come to for a claim that is held.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Renewal {
    /// A majority still has it, as it has had since it was let in.
    Held(Duration),
    /// No majority can have it any more.
    Gone,
    /// Too few nodes answer.
    Unknown,
}

/// The tokens of those who hold the claim.
pub(crate) fn tokens(votes: &[Vote]) -> PerNode<Option<Token>> {
    let token = |vote: &Vote| match vote {
        Vote::Said(Standing::Held { token, .. }) => Some(*token),
        _ => None,
    };
    votes.iter().map(token).collect()
}

/// What the votes come to, given the token that the claim has at each node as far as that is known; `None` if it is
/// too early to say.
///
/// A node that has it under another token is no help, but does not prove either that it is lost: perhaps an old
/// request has arrived once more.
pub(crate) fn renewal(votes: &[Vote], lives: &[Option<Token>], settled: bool) -> Option<Renewal> {
    let majority = votes.len() / 2 + 1;
    let (mut held, mut gone, mut shortest) = (0, 0, Duration::MAX);
    for (vote, life) in votes.iter().zip(lives) {
        match vote {
            Vote::Said(Standing::Held { token, ttl }) if life.is_none_or(|life| life == *token) => {
                held += 1;
                shortest = shortest.min(*ttl);
            }
            Vote::Said(Standing::Held { .. }) | Vote::Silent | Vote::Failed => {}
            Vote::Said(_) => gone += 1,
        }
    }
    if held >= majority {
        return Some(Renewal::Held(shortest));
    }
    if votes.len() - gone < majority {
        return Some(Renewal::Gone);
    }
    settled.then_some(Renewal::Unknown)
}

/// An error that asking again will not cure, if a node has said so.
pub(crate) fn lasting<'a, T: 'a>(
    mut answers: impl Iterator<Item = (usize, &'a Result<T>)>,
) -> Option<(usize, leasehold_core::Error)> {
    answers.find_map(|(node, answer)| match answer {
        Err(error) if !error.is_transient() => Some((node, error.clone())),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use leasehold_core::{Env, Memory};

    use super::*;

    const TTL: Duration = Duration::from_secs(9);

    fn token(n: u64) -> Token {
        Token::new(n).unwrap()
    }

    fn held(n: u64) -> Vote {
        Vote::Said(Standing::Held { token: token(n), ttl: TTL })
    }

    fn queued() -> Vote {
        Vote::Said(Standing::Queued { ahead: 1, ttl: TTL, look_again: TTL })
    }

    fn decide(votes: &[Vote], settled: bool) -> Option<Turn> {
        let node = |nth| Node::new(format!("n{nth}"), Arc::new(Memory::new(Env::system())));
        let nodes: Vec<Node> = (0..votes.len()).map(node).collect();
        let count = count(votes, token(7), false);
        turn(votes, &nodes, &count, count.accepted, None, settled)
    }

    #[test]
    fn a_majority_must_have_accepted_the_token() {
        use Vote::{Failed, Silent};
        assert_eq!(decide(&[held(7), held(7), Silent, Silent, Silent], false), None);
        assert_eq!(decide(&[held(7), held(7), held(7), Silent, Silent], false), Some(Turn::Held(TTL)));
        assert_eq!(decide(&[held(7), held(7), held(8), Failed, Failed], true), Some(Turn::Raise));
        assert_eq!(decide(&[held(7), held(7), queued(), Failed, Failed], true), Some(Turn::Lags { node: 0 }));
        assert_eq!(decide(&[held(7), held(7), Failed, Failed, Silent], true), Some(Turn::Unreachable));
        // Two of four are no majority.
        assert_eq!(decide(&[held(7), held(7), Failed, Failed], true), Some(Turn::Unreachable));
    }

    #[test]
    fn the_queue_of_the_first_node_that_answers_is_not_passed() {
        let waits = |node| Some(Turn::Waits { node, ahead: 1, ttl: TTL, look_again: TTL });
        assert_eq!(decide(&[Vote::Silent, held(7), held(7)], false), None);
        assert_eq!(decide(&[queued(), held(7), held(7)], false), waits(0));
        assert_eq!(decide(&[Vote::Failed, queued(), Vote::Silent], false), waits(1));
        assert_eq!(decide(&[Vote::Failed, held(7), held(7)], false), Some(Turn::Held(TTL)));
        assert_eq!(decide(&[Vote::Silent, held(7), held(7)], true), Some(Turn::Held(TTL)));
    }

    #[test]
    fn what_is_in_use_as_something_else_is_refused_unless_a_majority_is_free() {
        let refused = || Vote::Said(Standing::Refused(Refusal::Capacity { current: 1 }));
        let why = Some(Turn::Refused(Refusal::Capacity { current: 1 }));
        assert_eq!(decide(&[refused(), refused(), held(7)], true), why);
        assert_eq!(decide(&[refused(), held(7), held(7)], true), Some(Turn::Held(TTL)));
    }

    #[test]
    fn a_renewal_counts_the_lives_that_began_with_the_hold() {
        let gone = || Vote::Said(Standing::Gone);
        let lives = [Some(token(7)), Some(token(7)), Some(token(6)), None, None];
        let renewal = |votes: &[Vote], settled| renewal(votes, &lives, settled);
        assert_eq!(renewal(&[held(7), held(7), held(6), gone(), gone()], false), Some(Renewal::Held(TTL)));
        assert_eq!(
            renewal(&[held(7), held(7), Vote::Silent, held(3), gone()], false),
            Some(Renewal::Held(TTL))
        );
        // It was let in anew at the third node: neither a vote nor a proof.
        assert_eq!(renewal(&[held(7), held(7), held(8), gone(), gone()], false), None);
        assert_eq!(renewal(&[held(7), held(7), held(8), gone(), gone()], true), Some(Renewal::Unknown));
        assert_eq!(
            renewal(&[gone(), gone(), queued(), Vote::Silent, Vote::Silent], false),
            Some(Renewal::Gone)
        );
    }
}
