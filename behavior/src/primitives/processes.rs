//! Processes that are killed or paused while they hold or wait.

use std::time::Duration;

use leasehold::engine::ClockKind;
use leasehold::{Mode, Moment, Token};
use leasehold_fence::Marks;
use leasehold_testkit::Worker;

use crate::setup::Setup;
use crate::test::{AT_LEAST, NOTICES_DEATH, PROCESSES, Test, test};
use crate::verdict::{Failure, Verdict, ensure};

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test!("processes", a_killed_holder_is_followed).needs(&[PROCESSES]),
        test!("processes", a_killed_holder_is_followed_before_its_ttl_ends)
            .needs(&[PROCESSES, NOTICES_DEATH]),
        test!("processes", a_killed_waiter_is_passed_over).needs(&[PROCESSES]),
        test!("processes", at_least_survives_the_death_of_the_holder).needs(&[PROCESSES, AT_LEAST]),
        test!("processes", a_paused_holder_knows_that_it_lost_and_is_fenced_off).needs(&[PROCESSES]),
        test!("processes", a_process_that_ends_well_leaves_nothing).needs(&[PROCESSES]),
    ]
}

/// A process that holds the lock, or waits for it.
fn holder(setup: &Setup, ttl: Duration, at_least: Duration) -> Verdict<Worker> {
    let millis = |span: Duration| span.as_millis().to_string();
    let arguments = [
        "--name".into(),
        setup.name("m"),
        "--ttl-ms".into(),
        millis(setup.offered(ttl)),
        "--at-least-ms".into(),
        millis(at_least),
    ];
    setup.worker("hold", &arguments)
}

/// The token that the worker says it holds by.
async fn held(worker: &mut Worker) -> Verdict<Token> {
    loop {
        let line = worker.line().await?;
        let unexpected = || Failure::Violation(format!("the worker said `{line}`"));
        match line.split_once(' ') {
            Some(("held", token)) => return Token::new(token.parse()?).ok_or_else(unexpected),
            Some(("queued", _)) => {}
            _ => return Err(unexpected()),
        }
    }
}

async fn queued(worker: &mut Worker) -> Verdict {
    let line = worker.line().await?;
    ensure!(line.starts_with("queued"), "the worker said `{line}`");
    Ok(())
}

async fn a_killed_holder_is_followed(setup: Setup) -> Verdict {
    let client = setup.client().await?;
    let mut worker = holder(&setup, Duration::from_secs(2), Duration::ZERO)?;
    let token = held(&mut worker).await?;
    worker.kill()?;
    let next = setup.within("the next one gets it", client.mutex(&setup.name("m"))?.lock()).await??;
    ensure!(next.token() > token, "the next hold's token is not above the dead one's");
    drop(next);
    setup.emptied(&client).await
}

/// With a TTL that no test outlives: only by noticing the death can anybody get in.
async fn a_killed_holder_is_followed_before_its_ttl_ends(setup: Setup) -> Verdict {
    let (client, seen) = setup.watched().await?;
    let mut worker = holder(&setup, setup.info.ttl_max, Duration::ZERO)?;
    held(&mut worker).await?;
    let waiting = tokio::spawn({
        let lock = client.mutex(&setup.name("m"))?;
        async move { lock.lock().await }
    });
    setup.within("one waits", seen.queued(1)).await?;
    worker.kill()?;
    drop(setup.within("the death is noticed", waiting).await???);
    setup.emptied(&client).await
}

async fn a_killed_waiter_is_passed_over(setup: Setup) -> Verdict {
    let (client, seen) = setup.watched().await?;
    let lock = client.mutex(&setup.name("m"))?;
    let guard = lock.lock().await?;
    // A waiter that is dead lives on for a few seconds, whatever its TTL, but for one whose place ends with its session.
    let session = setup.info.clock == ClockKind::Session;
    let ttl = Duration::from_secs(if session { 1 } else { 60 });
    let mut worker = holder(&setup, ttl, Duration::ZERO)?;
    queued(&mut worker).await?;
    let last = tokio::spawn({
        let lock = lock.clone();
        async move { lock.lock().await }
    });
    setup.within("another waits behind it", seen.queued(1)).await?;
    worker.kill()?;
    // Not sooner: a last renewal of the dead may still be on its way, and from a holder it would count for the whole TTL.
    setup.thinned(&client, 2).await?;
    drop(guard);
    drop(setup.within("the dead waiter is passed over", last).await???);
    setup.emptied(&client).await
}

async fn at_least_survives_the_death_of_the_holder(setup: Setup) -> Verdict {
    let client = setup.client().await?;
    let at_least = Duration::from_secs(3);
    let asked: Moment = setup.env.now();
    let mut worker = holder(&setup, Duration::from_secs(1), at_least)?;
    held(&mut worker).await?;
    worker.kill()?;
    let next = setup.within("the next one gets it", client.mutex(&setup.name("m"))?.lock()).await??;
    let after = setup.env.now().since(asked);
    ensure!(after >= at_least, "kept for at least {at_least:?}, it was had again after {after:?}");
    drop(next);
    setup.emptied(&client).await
}

async fn a_paused_holder_knows_that_it_lost_and_is_fenced_off(setup: Setup) -> Verdict {
    let client = setup.client().await?;
    let mut fence = Marks::default();
    let mut worker = holder(&setup, Duration::from_secs(1), Duration::ZERO)?;
    let old = held(&mut worker).await?;
    ensure!(fence.admit(Mode::Exclusive, old).is_ok(), "the storage refuses its only holder");
    worker.pause()?;
    // Paused, not dead: it is followed when its TTL has passed, and not for being silent.
    let next = setup.within("the next one gets it", client.mutex(&setup.name("m"))?.lock()).await??;
    ensure!(fence.admit(Mode::Exclusive, next.token()).is_ok(), "the storage refuses its new holder");
    // The question lies there when it goes on: nothing that it knows from before may make it say yes.
    worker.say("report")?;
    worker.resume()?;
    let line = worker.line().await?;
    ensure!(line == "valid=false lost=true", "back from its pause, it says `{line}`");
    ensure!(fence.admit(Mode::Exclusive, old).is_err(), "the storage accepts a write from the past");
    ensure!(next.is_valid(), "the new holder was disturbed");
    drop(next);
    setup.emptied(&client).await
}

async fn a_process_that_ends_well_leaves_nothing(setup: Setup) -> Verdict {
    let client = setup.client().await?;
    let mut worker = holder(&setup, Duration::from_secs(60), Duration::ZERO)?;
    let token = held(&mut worker).await?;
    worker.say("report")?;
    let line = worker.line().await?;
    ensure!(line == "valid=true lost=false", "a holder says `{line}`");
    worker.say("release")?;
    let line = worker.line().await?;
    ensure!(line == "released", "the worker said `{line}`");
    let next = setup.within("the next one gets it", client.mutex(&setup.name("m"))?.lock()).await??;
    ensure!(next.token() > token, "the next hold's token is not above");
    drop(next);
    setup.emptied(&client).await
}
