//! `leasehold run`: a command under a lock.
//!
//! [`plan`] is what was asked, checked; [`hold`] gets the lock, [`waiting`] says what is going on meanwhile;
//! [`guarded`] has the command run by its guardian and keeps that informed.

mod guarded;
mod hold;
mod plan;
mod waiting;

use std::time::Duration;

use leasehold::{Client, ErrorKind};

use crate::args::RunArgs;
use crate::engine::{connect, runtime};
use crate::exit::{End, Failure, LOST};
use crate::guardian::{MARGIN, adopt_orphans};
use crate::output::{note, span};
use crate::signals::{Blocked, Either, Signals};

use guarded::Guarded;
use hold::{Hold, acquire};
use plan::Plan;

/// How long the engine gets to confirm that we are gone.
const LEAVE_PATIENCE: Duration = Duration::from_secs(5);
/// How much longer than it takes to end a command a hold must be certain before the command is started.
const HEAD_START: Duration = Duration::from_millis(500);

/// Runs the command; says how to end.
pub(crate) fn run(url: &str, args: RunArgs) -> Result<End, Failure> {
    let plan = Plan::check(args)?;
    let blocked = Blocked::new().map_err(Failure::internal("signals"))?;
    // If the guardian dies, what it watched over becomes ours, and we end it.
    adopt_orphans().map_err(Failure::internal("subreaper"))?;
    runtime()?.block_on(async {
        let signals = blocked.listen().map_err(Failure::internal("signals"))?;
        let client = match signals.or(connect(url)).await.map_err(Failure::internal("signals"))? {
            Either::Done(client) => client?,
            Either::Interrupted(signal) => return Ok(End::Signal(signal)),
        };
        let end = locked(&client, url, &plan, &signals).await;
        leave(&client, &signals).await;
        end
    })
}

async fn locked(client: &Client, url: &str, plan: &Plan, signals: &Signals) -> Result<End, Failure> {
    let hold = match signals.or(acquire(client, plan)).await.map_err(Failure::internal("signals"))? {
        Either::Done(hold) => hold?.ok_or_else(|| busy(plan))?,
        Either::Interrupted(signal) => return Ok(End::Signal(signal)),
    };
    let end = under(&hold, client, url, plan, signals).await;
    match hold.release().await {
        // If the command was ended for it, that has been said.
        Err(e) if e.kind() == ErrorKind::Lost => end.and_then(|_| {
            Err(Failure::new(LOST, format!("`{}` was lost before the command had ended", plan.name)))
        }),
        Err(e) => {
            note(format_args!("the release is not confirmed, the lock ends with its TTL: {e}"));
            end
        }
        Ok(()) => end,
    }
}

fn busy(plan: &Plan) -> Failure {
    let waited = plan.wait.filter(|wait| !wait.is_zero());
    let waited = waited.map_or_else(String::new, |wait| format!(" after {}", span(wait)));
    Failure::new(plan.conflict_exit_code, format!("`{}` is busy{waited}", plan.name))
}

/// Runs the command under a hold.
async fn under(
    hold: &Hold,
    client: &Client,
    url: &str,
    plan: &Plan,
    signals: &Signals,
) -> Result<End, Failure> {
    let (lease, began) = (hold.lease(), client.clock().now());
    // A hand-over comes with what is left of a waiting claim's life; the full one follows at once.
    let enough = plan.grace + MARGIN + HEAD_START;
    let full = async {
        while lease.remaining() < enough && lease.is_valid() {
            lease.renewed(lease.deadline()).await;
        }
    };
    if let Either::Interrupted(signal) = signals.or(full).await.map_err(Failure::internal("signals"))? {
        return Ok(End::Signal(signal));
    }
    if !lease.is_valid() {
        return Err(Failure::new(LOST, format!("`{}` was lost before the command was started", plan.name)));
    }
    let mut guarded = Guarded::start(lease, began, client, url, plan)?;
    guarded.see_to_its_end(signals).await
}

/// Waits until the engine knows that we are gone; a second signal means not to.
async fn leave(client: &Client, signals: &Signals) {
    tokio::select! {
        biased;
        left = client.shutdown(LEAVE_PATIENCE) => if let Err(e) = left {
            note(e);
        },
        _ = signals.next() => {}
    }
}
