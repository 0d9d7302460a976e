//! The other processes of the tests: this program again, with a role.
//!
//! They are told what to do by lines on stdin, say what has happened by lines on stdout, and end with their
//! stdin, so they do not outlive a suite that was killed.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use leasehold::observe::{Event, Observer, What};
use leasehold::{Client, Env};
use tokio::sync::mpsc::UnboundedReceiver;

use crate::primitives::counter;
use crate::stack::{Stack, Weather, open};
use crate::verdict::{Failure, Verdict};

/// A worker with much to do says after each so many turns that it goes on, however slow the machine is.
const PROGRESS: u64 = 10;

/// What a worker is to do.
#[derive(clap::Args)]
pub(crate) struct Task {
    role: Role,
    /// The engine and its layers.
    #[arg(long)]
    stack: Stack,
    /// Which of the test's engines this is.
    #[arg(long)]
    nth: u64,
    /// The lock.
    #[arg(long)]
    name: String,
    #[arg(long)]
    ttl_ms: u64,
    #[arg(long, default_value_t = 0)]
    at_least_ms: u64,
    /// The file to increment a number in.
    #[arg(long)]
    file: Option<PathBuf>,
    /// How often.
    #[arg(long, default_value_t = 0)]
    turns: u64,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Role {
    /// Increments a number in a file under the lock, once it has heard a line.
    Increment,
    /// The same without the lock.
    IncrementUnlocked,
    /// Holds the lock and tells what it believes whenever it hears `report`; lets go upon `release`.
    Hold,
}

/// Runs a worker.
pub(crate) fn main(task: &Task) -> ExitCode {
    let said = leasehold_testkit::die_with_parent();
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error.into()),
    };
    match runtime.block_on(work(task, said)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failed(&failure),
    }
}

fn failed(failure: &Failure) -> ExitCode {
    // Without a stderr the exit code must do.
    drop(writeln!(std::io::stderr(), "worker {}: {failure}", std::process::id()));
    ExitCode::FAILURE
}

fn say(line: &str) {
    // If nobody reads any more, stdin has closed too, and that is the end of this process.
    drop(writeln!(std::io::stdout().lock(), "{line}"));
}

/// Tells the test that the claim waits.
#[derive(Debug)]
struct Tell;

impl Observer for Tell {
    fn observe(&self, event: &Event<'_>) {
        if let What::Queued { ahead } = event.what {
            say(&format!("queued {ahead}"));
        }
    }
}

async fn work(task: &Task, mut said: UnboundedReceiver<String>) -> Verdict {
    let env = Env::system();
    let engine = task.stack.wrap(open(&task.stack.engine).await?, &env, task.nth, Weather::Any);
    let mut builder = Client::builder_dyn(engine).ttl(Duration::from_millis(task.ttl_ms));
    if matches!(task.role, Role::Hold) {
        builder = builder.observer(Arc::new(Tell));
    }
    let client = builder.spawn()?;
    match task.role {
        Role::Hold => hold(task, &client, said).await,
        Role::Increment | Role::IncrementUnlocked => {
            let file = task.file.as_deref().ok_or_else(|| Failure::Trouble("no file to increment".into()))?;
            let lock = client.mutex(&task.name)?;
            say("ready");
            said.recv().await;
            for turn in 0..task.turns {
                if turn % PROGRESS == 0 {
                    say(&format!("turn {turn}"));
                }
                if matches!(task.role, Role::Increment) {
                    let guard = lock.lock().await?;
                    counter::increment(file, guard.token().get()).await?;
                    // Unconfirmed, it is repeated; what it covered was done while it was held.
                    drop(guard.release().await);
                } else {
                    counter::increment_unlocked(file).await?;
                }
            }
            drop(client.shutdown(Duration::from_secs(20)).await);
            say("done");
            Ok(())
        }
    }
}

async fn hold(task: &Task, client: &Client, mut said: UnboundedReceiver<String>) -> Verdict {
    let lock = client.mutex(&task.name)?.at_least(Duration::from_millis(task.at_least_ms));
    let guard = lock.lock().await?;
    say(&format!("held {}", guard.token()));
    while let Some(line) = said.recv().await {
        if line == "release" {
            guard.release().await?;
            say("released");
            return Ok(());
        }
        say(&format!("valid={} lost={}", guard.is_valid(), guard.lost().now_or_never().is_some()));
    }
    Ok(())
}
