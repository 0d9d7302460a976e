//! `leasehold watch`: who comes to hold, waits and goes, as it happens.
//!
//! The engine pushes to those who wait in a queue, not to onlookers: so this looks, again and again, and tells the
//! difference.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Duration;

use leasehold::{Client, Env, Name, Token};
use leasehold_core::engine::ClaimView;

use crate::args::WatchArgs;
use crate::engine::{connect, runtime};
use crate::exit::{End, Failure, UNAVAILABLE, USAGE};
use crate::output::{line, note, printable, warning};
use crate::view::{View, look_all};

/// The shortest time between two looks: an onlooker must not be the busiest client of an engine.
const EVERY_MIN: Duration = Duration::from_millis(50);

/// What became of a claim between two looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
enum What {
    /// It holds now.
    Holds,
    /// It waits now.
    Waits,
    /// It still holds, and will not be renewed any more.
    Revoked,
    /// It held and is over: released, expired or evicted.
    Ended,
    /// It waited and has gone without having been seen to hold.
    Left,
}

/// A change, as scripts read it: one object a line.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
struct Change<'a> {
    event: What,
    name: &'a Name,
    #[serde(rename = "as")]
    share: String,
    #[serde(flatten)]
    claim: &'a ClaimView,
}

/// Tells of every change until it is stopped.
pub(crate) fn watch(url: &str, args: &WatchArgs) -> Result<End, Failure> {
    if args.every < EVERY_MIN {
        let message = format!("`--every` is at least {} ms: each look is a request", EVERY_MIN.as_millis());
        return Err(Failure::new(USAGE, message));
    }
    runtime()?.block_on(async { follow(&connect(url).await?, args).await })
}

async fn follow(client: &Client, args: &WatchArgs) -> Result<End, Failure> {
    let clock = Env::system().clock;
    let mut before = Vec::new();
    let mut reached = false;
    let mut out_of_reach = false;
    loop {
        match look_all(client, &args.prefix).await {
            Ok(after) => {
                if out_of_reach {
                    note("the engine answers again");
                    out_of_reach = false;
                }
                if !reached && after.is_empty() {
                    note("nothing is locked; watching");
                }
                reached = true;
                for change in changes(&before, &after) {
                    if tell(&change, args.json)?.is_break() {
                        return Ok(End::Code(0));
                    }
                }
                before = after;
            }
            // What was there may be there still: it is compared with when the engine can be asked again.
            Err(failure) if reached && failure.code == UNAVAILABLE => {
                if !out_of_reach {
                    warning(format_args!("{}; asking again", failure.message));
                    out_of_reach = true;
                }
            }
            Err(failure) => return Err(failure),
        }
        clock.sleep_until(clock.now() + args.every).await;
    }
}

fn tell(change: &Change<'_>, json: bool) -> Result<ControlFlow<()>, Failure> {
    if json {
        return line(serde_json::to_string(change).map_err(Failure::internal("JSON"))?);
    }
    let token = |token: Option<Token>| token.map_or_else(String::new, |token| format!(", token {token}"));
    let Change { event, name, share, claim } = change;
    let owner = printable(&claim.meta.owner);
    let said = match event {
        What::Holds => format!("holds: {share}{}", token(claim.token)),
        What::Waits => format!("waits: {share}"),
        What::Revoked => format!("is revoked{}", token(claim.token)),
        What::Ended => format!("holds no more{}", token(claim.token)),
        What::Left => "waits no more".to_owned(),
    };
    line(format_args!("{name}  {owner} {said}"))
}

/// What differs, lock by lock: first who has gone, then who is there, in the order of the queue.
fn changes<'a>(before: &'a [View], after: &'a [View]) -> Vec<Change<'a>> {
    let claims = |view: &'a View| view.holders.iter().chain(&view.waiting);
    let mut looks: BTreeMap<&str, (Option<&'a View>, Option<&'a View>)> = BTreeMap::new();
    for view in before {
        looks.entry(view.name.as_str()).or_default().0 = Some(view);
    }
    for view in after {
        looks.entry(view.name.as_str()).or_default().1 = Some(view);
    }
    let mut changes = Vec::new();
    for (old, new) in looks.into_values() {
        let find = |view: Option<&'a View>, claim: &ClaimView| {
            view.into_iter().flat_map(claims).find(|other| is_same(other, claim))
        };
        let mut push = |event, view: &'a View, claim: &'a ClaimView| {
            changes.push(Change { event, name: &view.name, share: view.share(claim), claim });
        };
        if let Some(view) = old {
            for claim in claims(view).filter(|claim| find(new, claim).is_none()) {
                push(if holds(claim) { What::Ended } else { What::Left }, view, claim);
            }
        }
        if let Some(view) = new {
            for claim in claims(view) {
                match (find(old, claim), holds(claim)) {
                    (Some(seen), true) if !holds(seen) => push(What::Holds, view, claim),
                    (Some(seen), true) if claim.revoked && !seen.revoked => push(What::Revoked, view, claim),
                    (Some(_), _) => {}
                    (None, true) => push(What::Holds, view, claim),
                    (None, false) => push(What::Waits, view, claim),
                }
            }
        }
    }
    changes
}

fn holds(claim: &ClaimView) -> bool {
    claim.token.is_some() || claim.is_foreign()
}

/// Locks of other clients have no id of ours; they are told apart by what they say of themselves.
fn is_same(one: &ClaimView, two: &ClaimView) -> bool {
    one.id == two.id && (!one.is_foreign() || one.meta.owner == two.meta.owner)
}

#[cfg(test)]
mod tests {
    use leasehold::{ClaimId, Meta};
    use leasehold_core::engine::QueueView;

    use super::*;

    fn claim(id: u128, token: Option<u64>, revoked: bool) -> ClaimView {
        ClaimView {
            id: ClaimId(id),
            weight: 1,
            token: token.and_then(Token::new),
            age: Duration::ZERO,
            ttl_left: Duration::ZERO,
            revoked,
            meta: Meta { owner: format!("h:{id}").as_str().into(), payload: None },
        }
    }

    fn queue(name: &str, claims: impl IntoIterator<Item = ClaimView>) -> View {
        let claims = claims.into_iter().collect();
        QueueView { name: Name::new(name).unwrap(), capacity: 1, claims }.into()
    }

    fn told(before: &[View], after: &[View]) -> Vec<(String, What, u128)> {
        let change = |change: Change<'_>| (change.name.to_string(), change.event, change.claim.id.0);
        changes(before, after).into_iter().map(change).collect()
    }

    #[test]
    fn each_change_is_told_once() {
        let looks = [
            vec![],
            vec![queue("a", [claim(1, Some(7), false), claim(2, None, false), claim(3, None, false)])],
            vec![queue("a", [claim(1, Some(7), true), claim(2, None, false)])],
            vec![queue("a", [claim(2, Some(8), false)]), queue("b", [claim(4, Some(9), false)])],
            vec![queue("b", [claim(4, Some(9), false)])],
        ];
        let told: Vec<_> = looks.windows(2).flat_map(|pair| told(&pair[0], &pair[1])).collect();
        let expected = [
            ("a", What::Holds, 1),
            ("a", What::Waits, 2),
            ("a", What::Waits, 3),
            ("a", What::Left, 3),
            ("a", What::Revoked, 1),
            ("a", What::Ended, 1),
            ("a", What::Holds, 2),
            ("b", What::Holds, 4),
            ("a", What::Ended, 2),
        ];
        assert_eq!(told, expected.map(|(name, what, id)| (name.to_owned(), what, id)));
        assert!(changes(&looks[3], &looks[3]).is_empty());
    }

    #[test]
    fn foreign_holders_are_told_apart_by_their_owners() {
        let foreign = |owner: &str| {
            let mut claim = claim(0, None, false);
            claim.meta.owner = owner.into();
            [queue("a", [claim])]
        };
        assert!(changes(&foreign("x"), &foreign("x")).is_empty());
        assert_eq!(
            told(&foreign("x"), &foreign("y")),
            [("a".to_owned(), What::Ended, 0), ("a".to_owned(), What::Holds, 0)]
        );
    }
}
