//! The one rule, applied to a line as a store tells it.

use crate::claim::ClaimId;
use crate::engine::Refusal;
use crate::ledger::QUEUE_CLAIMS_MAX;
use crate::ordered::store::{Contender, Key, Line};
use crate::token::Token;

/// The most contenders that one waiter watches. Whoever has more of them in its way looks now and then, too.
const WATCHED_MAX: usize = 64;

/// Where a claim stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Held(Token),
    /// It waits behind so many, until one of these may be gone.
    Queued {
        ahead: u32,
        blockers: Vec<Key>,
    },
    Refused(Refusal),
    Absent,
}

/// How this claim stands in the line.
pub(super) fn place(line: &Line, id: ClaimId) -> Place {
    let Some(at) = line.contenders.iter().position(|c| c.id == Some(id)) else { return Place::Absent };
    let (ahead, own) = (&line.contenders[..at], &line.contenders[at]);
    // The first one says how large it is: whoever came behind it and said otherwise is on its way out.
    if let Some(first) = ahead.iter().find(|c| c.id.is_some()).filter(|c| c.capacity != own.capacity) {
        return Place::Refused(Refusal::Capacity { current: first.capacity });
    }
    if at >= QUEUE_CLAIMS_MAX {
        return Place::Refused(Refusal::QueueFull { max: QUEUE_CLAIMS_MAX as u32 });
    }
    match (blockers(ahead, own), own.token) {
        (None, Some(token)) => Place::Held(token),
        // It is first, and the store has still to let it in.
        (None, None) => Place::Queued { ahead: at as u32, blockers: vec![own.key.clone()] },
        (Some(blockers), _) => Place::Queued { ahead: at as u32, blockers },
    }
}

/// The fewest contenders that must be watched: as long as they are all there, it cannot be held. `None` if it fits.
///
/// The last of those ahead that does not fit together with all between is one of them. Those between can make
/// room for it too, if it and that one alone would fit.
fn blockers(ahead: &[Contender], own: &Contender) -> Option<Vec<Key>> {
    let (capacity, weight) = (u64::from(own.capacity), u64::from(own.weight));
    let mut taken = weight;
    let first = ahead.iter().rposition(|contender| {
        taken += u64::from(contender.weight);
        taken > capacity
    })?;
    let alone = weight + u64::from(ahead[first].weight) > capacity;
    let watched = if alone { 1 } else { WATCHED_MAX };
    Some(ahead[first..].iter().take(watched).map(|c| c.key.clone()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claim::{CAPACITY_MAX, Meta};

    fn line(capacity: u32, weights: &[u32]) -> Line {
        let contender = |(at, weight): (usize, &u32)| Contender {
            key: format!("k{at}").into(),
            id: Some(ClaimId(at as u128)),
            capacity,
            weight: *weight,
            token: Token::new(100 + at as u64),
            ttl: None,
            since: None,
            revoked: false,
            meta: Meta::default(),
        };
        Line { contenders: weights.iter().enumerate().map(contender).collect(), stamp: 1 }
    }

    fn watched(line: &Line, id: u128) -> Vec<String> {
        match place(line, ClaimId(id)) {
            Place::Queued { blockers, .. } => blockers.iter().map(|k| k.to_string()).collect(),
            other => panic!("it must wait: {other:?}"),
        }
    }

    #[test]
    fn of_a_mutex_only_the_one_just_ahead_is_watched() {
        let line = line(1, &[1, 1, 1, 1]);
        assert_eq!(place(&line, ClaimId(0)), Place::Held(Token::new(100).unwrap()));
        assert_eq!(watched(&line, 1), ["k0"]);
        assert_eq!(watched(&line, 3), ["k2"]);
        assert_eq!(place(&line, ClaimId(9)), Place::Absent);
    }

    #[test]
    fn a_reader_watches_the_last_writer_and_a_writer_the_one_just_ahead() {
        let all = CAPACITY_MAX;
        let line = line(all, &[1, 1, all, 1, 1, all]);
        assert!(matches!(place(&line, ClaimId(1)), Place::Held(_)));
        assert_eq!(watched(&line, 2), ["k1"]);
        assert_eq!(watched(&line, 4), ["k2"]);
        assert_eq!(watched(&line, 5), ["k4"]);
    }

    #[test]
    fn of_a_semaphore_everybody_who_can_make_room_is_watched() {
        let line = line(3, &[1, 1, 1, 1, 2]);
        assert!(matches!(place(&line, ClaimId(2)), Place::Held(_)));
        assert_eq!(watched(&line, 3), ["k0", "k1", "k2"]);
        // Two permits, behind one that takes one: any two of the three ahead must go, and no other tells of it.
        assert_eq!(watched(&line, 4), ["k2", "k3"]);
    }

    #[test]
    fn foreigners_take_everything_and_name_no_capacity() {
        let mut line = line(4, &[4, 1]);
        line.contenders[0].id = None;
        line.contenders[0].capacity = 1;
        line.contenders[0].weight = u32::MAX;
        assert_eq!(watched(&line, 1), ["k0"]);
    }

    #[test]
    fn another_capacity_ahead_is_refused_and_behind_is_not() {
        let mut line = line(2, &[1, 1]);
        line.contenders[1].capacity = 5;
        assert!(matches!(place(&line, ClaimId(0)), Place::Held(_)));
        assert_eq!(place(&line, ClaimId(1)), Place::Refused(Refusal::Capacity { current: 2 }));
    }

    #[test]
    fn one_that_is_refused_does_not_have_others_refused() {
        let mut line = line(3, &[1, 1, 1]);
        line.contenders[1].capacity = 5;
        assert!(matches!(place(&line, ClaimId(2)), Place::Held(_)));
    }

    #[test]
    fn the_first_waits_until_the_store_lets_it_in() {
        let mut line = line(1, &[1, 1]);
        line.contenders[0].token = None;
        assert_eq!(watched(&line, 0), ["k0"]);
    }
}
