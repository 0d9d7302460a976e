//! The late reader: with the mark raised before it reads, a new holder loses no update; with a storage that checks only
//! writes it does. Where the lock itself is looked at there is nothing to raise, and only a storage that never looks loses one.

use leasehold_core::Mode;

use crate::order::{Order, Reply, Value};
use crate::turn::Locks;
use crate::worker::Writer;
use crate::{Check, Failure, Target, runtime};

pub(crate) fn straggler(target: fn() -> Result<Target, Failure>) -> Result<(), Failure> {
    runtime()?.block_on(async {
        let (first, last) = two_holders(&target()?, Check::Always).await?;
        if (first, last) != (Reply::Stale, LAST) {
            return Err(format!("the late write was answered {first:?}, and {last:?} is stored").into());
        }
        let target = target()?;
        let careless = if target.engine.is_some() { Check::Never } else { Check::Writes };
        let (first, last) = two_holders(&target, careless).await?;
        if (first, last) != (Reply::Done, LAST) {
            return Err(format!("{careless:?} checked, no update was lost; the test has no teeth").into());
        }
        Ok(())
    })
}

/// Written by the second holder, and by nobody before.
const LAST: Value = Value { token: 2, count: 1 };

/// Two holders in turn read and add one each, but the old one's write arrives after the new one's read. What the old one
/// was answered, and what is stored in the end: a count of 2 where no update is lost, or of 1 if the old one was refused.
async fn two_holders(target: &Target, check: Check) -> Result<(Reply, Value), Failure> {
    let (mut old, mut new) = (Writer::new(target, check)?, Writer::new(target, check)?);
    let locks = Locks::of(target).await?;
    let (turn, one) = locks.next(Mode::Exclusive).await?;
    let read_by_old = count(old.ask(Order::Enter(one.clone())).await?)?;
    turn.over().await?;
    let (_turn, two) = locks.next(Mode::Exclusive).await?;
    let read_by_new = count(new.ask(Order::Enter(two.clone())).await?)?;
    let first = old.ask(Order::Write(one, Value { token: 1, count: read_by_old + 1 })).await?;
    let second = new.ask(Order::Write(two, Value { token: 2, count: read_by_new + 1 })).await?;
    if second != Reply::Done {
        return Err(format!("the valid holder was answered {second:?}").into());
    }
    match new.ask(Order::Peek).await? {
        Reply::Value(value) => Ok((first, value)),
        other => Err(format!("a look was answered {other:?}").into()),
    }
}

fn count(reply: Reply) -> Result<u64, Failure> {
    match reply {
        Reply::Value(value) => Ok(value.count),
        other => Err(format!("a valid holder was answered {other:?}").into()),
    }
}
