//! A siege: three servers that agree, some clients that lock, and somebody who kills, pauses and cuts off one server
//! after the other. In the end there must be peace, nobody may have held what somebody else held, tokens must have
//! risen, and nothing may be left.

mod client;
mod ensemble;
mod history;
mod nemesis;

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use leasehold::engine::Query;
use leasehold::{Client, Env};
use tokio::sync::watch;

use crate::setup::within;
use crate::verdict::{Failure, Verdict, ensure};
use client::Record;
use ensemble::{Ensemble, Kind};
use nemesis::{Deeds, Fault};

/// What everybody locks begins so.
const PREFIX: &str = "siege/";
/// After the last fault, everything that waits must get in within this time.
const PEACE: Duration = Duration::from_secs(60);

/// How to besiege what.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Siege {
    /// What to start and besiege: three servers of this kind.
    #[arg(value_enum)]
    kind: Kind,
    /// How long, in seconds.
    #[arg(long, default_value_t = 300)]
    seconds: u64,
    /// Decides who does what when; times are real, so two runs of a seed are alike but not the same.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Clients, each with a session of its own.
    #[arg(long, default_value_t = 4)]
    clients: usize,
    /// Tasks of each client.
    #[arg(long, default_value_t = 4)]
    tasks: usize,
    /// Locks that they all want.
    #[arg(long, default_value_t = 3)]
    locks: usize,
    /// The TTL of every lock, in milliseconds; 0 for the shortest that the engine offers, or 2 s if that is less.
    #[arg(long, default_value_t = 0)]
    ttl_ms: u64,
    /// What is done to the servers.
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["kill", "pause", "cut-off"])]
    faults: Vec<Fault>,
}

/// Besieges, prints a line of figures, and says by its exit code how it went: 0 well, 1 violated, 2 not carried out.
pub(crate) fn main(siege: &Siege) -> ExitCode {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime can be made");
    let (text, code) = match runtime.block_on(run(siege)) {
        Ok(figures) => (figures, 0),
        Err(failure @ Failure::Violation(_)) => (failure.to_string(), 1),
        Err(failure @ Failure::Trouble(_)) => (failure.to_string(), 2),
    };
    // A closed stdout changes nothing about how it went.
    drop(writeln!(std::io::stdout(), "{text}"));
    ExitCode::from(code)
}

async fn run(siege: &Siege) -> Verdict<String> {
    say(&format!("{siege:?}"));
    let kind = siege.kind;
    let ensemble = tokio::task::spawn_blocking(move || kind.start()).await??;
    let url = ensemble.url();
    let clients = open(siege, &url).await?;
    let record = Arc::new(Record::default());
    let deeds = wage(siege, &ensemble, &clients, &record).await?;
    aftermath(siege, &url, &clients).await?;
    let holds = std::mem::take(&mut *record.holds.lock().expect("nobody panics under it"));
    let figures = figures(siege, &holds, &record, deeds);
    let violations = history::check(holds);
    if let Some(first) = violations.first() {
        let message = format!("{figures}, {} violations; the first: {first}", violations.len());
        return Err(Failure::Violation(message));
    }
    Ok(format!("{figures}, no violation, nothing left"))
}

async fn open(siege: &Siege, url: &str) -> Verdict<Vec<Client>> {
    let mut clients = Vec::new();
    for _ in 0..siege.clients {
        let engine = crate::stack::open(url).await?;
        let ttl = match siege.ttl_ms {
            0 => engine.info().ttl_min.max(Duration::from_secs(2)),
            ms => Duration::from_millis(ms),
        };
        clients.push(Client::builder_dyn(engine).ttl(ttl).spawn()?);
    }
    Ok(clients)
}

/// The siege itself.
async fn wage(
    siege: &Siege,
    ensemble: &Arc<dyn Ensemble>,
    clients: &[Client],
    record: &Arc<Record>,
) -> Verdict<Deeds> {
    let (stop, stopped) = mpsc::channel();
    let (faults, seed, besieged) = (siege.faults.clone(), siege.seed, Arc::clone(ensemble));
    let nemesis = tokio::task::spawn_blocking(move || nemesis::rage(&besieged, &faults, seed, &stopped));
    let (over, watching) = watch::channel(false);
    let locks: Vec<String> = (0..siege.locks).map(|nth| format!("{PREFIX}{nth}")).collect();
    let mut tasks = Vec::new();
    for nth in 0..clients.len() * siege.tasks {
        let client = clients[nth % clients.len()].clone();
        let seed = siege.seed.wrapping_mul(1_000_003).wrapping_add(nth as u64);
        let life = client::live(client, locks.clone(), seed, Arc::clone(record), watching.clone());
        tasks.push(tokio::spawn(life));
    }
    let clock = Env::system().clock;
    for second in 1..=siege.seconds {
        clock.sleep_until(clock.now() + Duration::from_secs(1)).await;
        if second % 10 == 0 {
            let holds = record.holds.lock().expect("nobody panics under it").len();
            say(&format!("{second} s of {}: {holds} holds", siege.seconds));
        }
    }
    drop(stop);
    let deeds = nemesis.await??;
    // Nobody is in the way any more: whoever waits gets in, and then all are done.
    over.send_replace(true);
    within(&*clock, PEACE, "everybody gets in once there is peace", async {
        for task in tasks {
            task.await??;
        }
        Ok(deeds)
    })
    .await?
}

/// Peace: every lock can be had by every client, and after that nothing is left.
async fn aftermath(siege: &Siege, url: &str, clients: &[Client]) -> Verdict {
    let clock = Env::system().clock;
    within(&*clock, PEACE, "every client gets every lock", async {
        for client in clients {
            for nth in 0..siege.locks {
                client.rwlock(&format!("{PREFIX}{nth}"))?.write().await?.release().await?;
            }
            client.shutdown(PEACE).await?;
        }
        Ok::<_, Failure>(())
    })
    .await??;
    let onlooker = Client::builder_dyn(crate::stack::open(url).await?).spawn()?;
    let query = || Query { prefix: PREFIX.into(), limit: 100, ..Query::default() };
    within(&*clock, PEACE, "nothing is left", async {
        while !onlooker.inspect(query()).await?.queues.is_empty() {
            clock.sleep_until(clock.now() + Duration::from_millis(50)).await;
        }
        Ok::<_, Failure>(())
    })
    .await??;
    ensure!(onlooker.inspect(query()).await?.queues.is_empty(), "something has come back");
    Ok(())
}

fn figures(siege: &Siege, holds: &[history::Hold], record: &Record, deeds: Deeds) -> String {
    let tally = *record.tally.lock().expect("nobody panics under it");
    let exclusive = holds.iter().filter(|hold| client::is_exclusive(hold)).count();
    format!(
        "{:?}, {} s, seed {}: {} holds ({exclusive} exclusive), {} lost, {} given up, {} errors, longest without a grant {:.1} s; \
         {} kills, {} pauses, {} cuts, {} of them of the leader",
        siege.kind,
        siege.seconds,
        siege.seed,
        holds.len(),
        tally.lost,
        tally.given_up,
        tally.errors,
        client::longest_gap(holds).as_secs_f64(),
        deeds.kills,
        deeds.pauses,
        deeds.cuts,
        deeds.leaders,
    )
}

fn say(text: &str) {
    // A closed stderr is no reason to stop.
    drop(writeln!(std::io::stderr(), "{text}"));
}

#[cfg(test)]
mod tests {
    use leasehold::{Engine, Memory};

    use super::*;
    use crate::broken::{queue, with};
    use history::Violation;

    /// What is found after so many holds on this engine.
    async fn history_of(engine: Arc<dyn Engine>, holds: usize) -> Vec<Violation> {
        let record = Arc::new(Record::default());
        let (over, watching) = watch::channel(false);
        let tasks: Vec<_> = (0..8)
            .map(|nth| {
                let client = Client::builder_dyn(Arc::clone(&engine)).spawn().unwrap();
                tokio::spawn(client::live(
                    client,
                    vec!["m".into()],
                    nth,
                    Arc::clone(&record),
                    watching.clone(),
                ))
            })
            .collect();
        let env = Env::system();
        while record.holds.lock().unwrap().len() < holds {
            env.clock.sleep_until(env.now() + Duration::from_millis(5)).await;
        }
        over.send_replace(true);
        for task in tasks {
            task.await.unwrap().unwrap();
        }
        history::check(std::mem::take(&mut *record.holds.lock().unwrap()))
    }

    #[tokio::test]
    async fn an_engine_that_hands_over_too_early_is_found_out_and_a_sound_one_is_not() {
        let sound: Arc<dyn Engine> = Arc::new(Memory::new(Env::system()));
        assert!(history_of(Arc::clone(&sound), 50).await.is_empty());
        let broken = with::<queue::HintsTooEarly>(sound, &Env::system());
        assert!(!history_of(broken, 50).await.is_empty());
    }
}
