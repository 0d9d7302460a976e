use super::*;
use crate::claim::Meta;
use crate::error::ErrorKind;
use crate::name::Name;

const TTL: Duration = Duration::from_secs(10);

fn ms(ms: u64) -> Moment {
    Moment::BOOT + Duration::from_millis(ms)
}

fn token(n: u64) -> Token {
    Token::new(n).unwrap()
}

/// A claim whose `join`, sent at 0, was answered so at `now`.
fn answered(answer: &Standing, now: u64, at_most: Option<Duration>) -> Option<Arc<Hold>> {
    let claim = Claim {
        name: Name::new("r").unwrap(),
        id: ClaimId(7),
        capacity: 1,
        weight: 1,
        ttl: TTL,
        at_least: Duration::ZERO,
        raise: None,
        meta: Meta::default(),
    };
    let terms = Terms::of(&claim, at_most);
    let state = State::first(answer, (ms(0), ms(now)), &terms, &Rules::default(), None)?;
    Some(Hold::new(claim, terms, state))
}

fn holding() -> Arc<Hold> {
    answered(&held(1), 1, None).unwrap()
}

fn waiting() -> Arc<Hold> {
    answered(&queued(), 1, None).unwrap()
}

fn hear(hold: &Hold, answer: Standing, sent: u64, now: u64) -> Heard {
    hold.hear(Ok(answer), ms(sent), ms(now), &Rules::default()).0
}

fn held(n: u64) -> Standing {
    Standing::Held { token: token(n), ttl: TTL }
}

fn queued() -> Standing {
    Standing::Queued { ahead: 1, ttl: Duration::from_secs(5), look_again: Duration::from_secs(8) }
}

#[test]
fn whoever_begins_by_a_hint_is_not_woken_for_it_later() {
    let hold = waiting();
    hold.state().waiter = Some(Waker::noop().clone());
    let (begun, next) = hold.hear_hint(token(9), ms(2), &Rules::default());
    assert!(begun && next == hold.next());
    assert!(hold.state().waiter.is_none());
}

#[test]
fn the_deadline_counts_from_the_sending() {
    // 10 s less 0.2 % and 2 ms, from the sending at 0; the answer took two seconds.
    let hold = answered(&held(1), 2000, None).unwrap();
    assert_eq!(hold.state().deadline.since(ms(2000)), Duration::from_millis(7978));
    assert!(hold.is_valid(ms(9977)) && !hold.is_valid(ms(9978)));
}

#[test]
fn an_answer_after_its_own_deadline_starts_nothing() {
    assert!(answered(&held(1), 9978, None).is_none());
    let hold = waiting();
    assert_eq!(hear(&hold, held(1), 2000, 4989), Heard::Lost(None), "it may have died in the queue");
    assert_eq!(hear(&hold, held(1), 4990, 4991), Heard::Stray, "what is over stays over");
}

#[test]
fn a_renewal_after_the_deadline_does_not_revive() {
    let hold = holding();
    assert_eq!(hear(&hold, held(1), 9000, 9990), Heard::Lost(Some(Duration::from_millis(9989))));
    assert!(!hold.is_valid(ms(9991)));
}

#[test]
fn overlapping_renewals_never_move_a_deadline_back() {
    let hold = holding();
    hear(&hold, held(1), 5000, 5001);
    hear(&hold, held(1), 3000, 5002);
    assert_eq!(hold.state().deadline, ms(5000 + 9978));
}

#[test]
fn another_token_is_another_hold() {
    let hold = holding();
    assert!(matches!(hear(&hold, held(2), 2, 3), Heard::Lost(Some(_))));
}

#[test]
fn a_short_hold_has_its_margin_too() {
    let ttl = Duration::from_secs(3);
    let hold = answered(&Standing::Held { token: token(1), ttl }, 1, None).unwrap();
    assert_eq!(hold.state().deadline, ms(3000) - Duration::from_millis(8));
}

#[test]
fn an_answer_that_a_hint_has_overtaken_says_nothing() {
    let hold = waiting();
    hold.hear_hint(token(1), ms(1000), &Rules::default());
    assert_eq!(hear(&hold, queued(), 900, 1001), Heard::Nothing);
    assert!(hold.is_valid(ms(1002)));
    assert!(matches!(hear(&hold, queued(), 1100, 1200), Heard::Lost(Some(_))), "asked while it was held");
}

#[test]
fn a_hint_starts_a_hold_only_with_half_of_its_time_left() {
    let rules = Rules::default();
    for (at, starts) in [(2400, true), (2600, false), (5100, false)] {
        let hold = waiting();
        hold.hear_hint(token(1), ms(at), &rules);
        assert_eq!(hold.is_valid(ms(at)), starts, "at {at} ms");
    }
    let hold = waiting();
    hold.hear_hint(token(1), ms(2000), &rules);
    let due = hold.due(ms(2010), Duration::from_millis(100));
    assert_eq!(due.refresh.unwrap().ttl, TTL, "renewed to the full TTL at once");
}

#[test]
fn at_risk_at_half_and_lost_at_the_deadline() {
    let hold = answered(&held(1), 0, None).unwrap();
    let ttl_min = Duration::from_millis(100);
    let due = hold.due(ms(4988), ttl_min);
    assert!(due.at_risk.is_none() && due.refresh.is_some());
    assert_eq!(hold.due(ms(4989), ttl_min).at_risk, Some(Duration::from_millis(4989)));
    assert_eq!(hold.due(ms(4990), ttl_min).at_risk, None, "said once");
    let due = hold.due(ms(9978), ttl_min);
    assert!(due.over && due.ran_out == Some(Some(Duration::from_millis(9978))));
}

#[test]
fn at_most_is_never_asked_beyond() {
    let hold = answered(&held(1), 0, Some(Duration::from_secs(12))).unwrap();
    let ttl_min = Duration::from_millis(100);
    assert_eq!(hold.due(ms(4000), ttl_min).refresh.unwrap().ttl, Duration::from_secs(8));
    hear(&hold, Standing::Held { token: token(1), ttl: Duration::from_secs(8) }, 4000, 4001);
    let deadline = hold.state().deadline;
    assert!(deadline <= ms(12_000));
    assert!(hold.due(deadline, ttl_min).over);
}

#[test]
fn a_waiter_hears_what_cannot_be_cured_and_asks_again_for_the_rest() {
    let rules = Rules::default();
    let hold = waiting();
    let flaky = Error::new(ErrorKind::Unavailable, "refresh", "no answer");
    assert!(matches!(hold.hear(Err(flaky), ms(100), ms(200), &rules).0, Heard::Failed(_)));
    assert!(hold.next() < ms(300));
    let fatal = Error::new(ErrorKind::Corrupt, "refresh", "not a database");
    assert!(matches!(hold.hear(Err(fatal), ms(300), ms(400), &rules).0, Heard::Lost(None)));
    assert!(matches!(&hold.state().phase, Phase::Ended(End::Failed(e)) if e.kind() == ErrorKind::Corrupt));
}
