//! A holder that is paused for longer than its session, and writes when it goes on, in the belief that it holds.

use leasehold_core::Mode;

use crate::order::{Order, Reply, Value, sequencer};
use crate::turn::Locks;
use crate::worker::Writer;
use crate::{Check, Failure, Target, runtime};

pub(crate) fn paused(target: fn() -> Result<Target, Failure>) -> Result<(), Failure> {
    runtime()?.block_on(async {
        let (late, last) = overslept(&target()?, Check::Always).await?;
        if (late, last) != (Reply::Stale, 2) {
            return Err(format!("the late write was answered {late:?}, and the value counts {last}").into());
        }
        let (late, last) = overslept(&target()?, Check::Never).await?;
        if (late, last) != (Reply::Done, 1) {
            return Err("without the check no update was lost; the test has no teeth".into());
        }
        Ok(())
    })
}

/// One enters and is paused; its session runs out, and the next one adds two. What the first is answered when it adds one to
/// what it has read, and what the value counts in the end.
async fn overslept(target: &Target, check: Check) -> Result<(Reply, u64), Failure> {
    let url = target.engine.clone().ok_or("a storage that knows no lock")?;
    let Writer::Process(mut old) = Writer::new(target, check)? else { return Err("no process".into()) };
    let mut new = Writer::new(target, check)?;
    old.say(&Order::Hold(url).to_string())?;
    let Reply::Held(token) = old.line().await?.parse()? else { return Err("it does not hold".into()) };
    let who = sequencer(token, Mode::Exclusive);
    old.say(&Order::Enter(who.clone()).to_string())?;
    let Reply::Value(read) = old.line().await?.parse()? else { return Err("it was not let in".into()) };
    old.pause()?;

    let locks = Locks::of(target).await?;
    let (_turn, next) = locks.next(Mode::Exclusive).await?;
    let Reply::Value(found) = new.ask(Order::Enter(next.clone())).await? else {
        return Err("the next one was not let in".into());
    };
    let value = Value { token: next.token().get(), count: found.count + 2 };
    if new.ask(Order::Write(next, value)).await? != Reply::Done {
        return Err("the next one could not write".into());
    }

    old.resume()?;
    let value = Value { token, count: read.count + 1 };
    old.say(&Order::Write(who, value).to_string())?;
    let late = old.line().await?.parse()?;
    match new.ask(Order::Peek).await? {
        Reply::Value(last) => Ok((late, last.count)),
        other => Err(format!("a look was answered {other:?}").into()),
    }
}
