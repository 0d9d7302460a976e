//! Several processes at once, each locking and releasing a lock of its own in the same place: how they share it.
//!
//! This program starts itself. A worker says that it is ready, waits for the word to go, and prints its figures.

use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use leasehold_bench::floor::{self, Synchronous};
use leasehold_bench::measure::{Measured, Waits};
use leasehold_bench::{Case, Entrant, Load, Ours, Role, Site};
use leasehold_core::client::TTL_DEFAULT;
use leasehold_core::{Env, Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use crate::args::Worker;
use crate::contest::Contest;

const OURS: &str = "leasehold";
const BARE_FULL: &str = "rusqlite full";
const READY: &str = "ready";

/// What a worker reports.
#[derive(Debug, Serialize, Deserialize)]
struct Report {
    rate_per_s: f64,
    held: u64,
    waits: Vec<(u64, u64)>,
}

/// Who runs in several processes.
pub(crate) fn entrants(contest: &Contest) -> Result<Vec<Entrant>> {
    let entrant = |name: &'static str, role: Role| {
        let (url, place) = (contest.url().to_owned(), contest.place().to_owned());
        Entrant::new(name, role, move |load| {
            let run = run(name, &url, &place, load);
            Box::pin(std::future::ready(run))
        })
    };
    let mut all = vec![entrant(OURS, Role::Ours)];
    all.extend(floor::of(&contest.site(), Case::Pair)?.map(|floor| entrant(floor.name(), Role::Floor)));
    if contest.site().scheme() == "sqlite" {
        all.push(entrant(BARE_FULL, Role::Peer));
    }
    Ok(all)
}

fn failed(what: &str, error: io::Error) -> Error {
    Error::new(ErrorKind::Unexpected, "processes", format!("a worker {what}")).with_source(error)
}

/// A worker process; it does not outlive this.
#[derive(Debug)]
struct Running {
    child: Child,
    go: ChildStdin,
    said: BufReader<ChildStdout>,
}

impl Drop for Running {
    fn drop(&mut self) {
        // Most often it has ended by itself, and neither has anything left to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    fn start(entrant: &str, url: &str, place: &Path, span: Duration) -> Result<Self> {
        let own = std::env::current_exe().map_err(|e| failed("cannot be found", e))?;
        let mut child = Command::new(own)
            .args(["worker", "--entrant", entrant, "--engine", url, "--nanos", &span.as_nanos().to_string()])
            .arg("--place")
            .arg(place)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| failed("did not start", e))?;
        let (Some(go), Some(said)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(failed("has no pipes", io::ErrorKind::BrokenPipe.into()));
        };
        Ok(Self { child, go, said: BufReader::new(said) })
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        match self.said.read_line(&mut line) {
            Ok(0) => Err(failed("ended early", io::ErrorKind::UnexpectedEof.into())),
            Ok(_) => Ok(line),
            Err(error) => Err(failed("could not be heard", error)),
        }
    }
}

/// Runs the workers together. Blocks: nothing else runs in this process meanwhile.
fn run(entrant: &str, url: &str, place: &Path, load: Load) -> Result<Measured> {
    let start = || Running::start(entrant, url, place, load.span);
    let mut workers = (0..load.tasks).map(|_| start()).collect::<Result<Vec<_>>>()?;
    for worker in &mut workers {
        if worker.line()?.trim_end() != READY {
            return Err(failed("did not get ready", io::ErrorKind::InvalidData.into()));
        }
    }
    for worker in &mut workers {
        worker.go.write_all(b"go\n").map_err(|e| failed("could not be told to go", e))?;
    }
    let mut measured = Measured {
        rate_per_s: 0.0,
        waits: Waits::default(),
        shares: Vec::new(),
        requests_per_s: None,
        cpu: None,
    };
    for worker in &mut workers {
        let report: Report = serde_json::from_str(&worker.line()?)
            .map_err(|e| failed("reported what is no report", e.into()))?;
        measured.rate_per_s += report.rate_per_s;
        measured.waits.add(&Waits::from_counts(&report.waits));
        measured.shares.push(report.held);
    }
    Ok(measured)
}

/// A worker's work; its report as text.
pub(crate) async fn work(worker: &Worker) -> Result<String> {
    let env = Env::system();
    let entrant = match worker.entrant.as_str() {
        OURS => Ours::entrant(leasehold::open(&worker.engine).await?, &env),
        BARE_FULL => floor::rusqlite(BARE_FULL, Role::Peer, Synchronous::Full, &worker.place, &env)?,
        name => {
            let site = Site { url: &worker.engine, folder: &worker.place, env: &env };
            let floor = floor::of(&site, Case::Pair)?.filter(|floor| floor.name() == name);
            floor.ok_or_else(|| failed("does not know who it is", io::ErrorKind::NotFound.into()))?
        }
    };
    wait_for_go()?;
    let span = Duration::from_nanos(worker.nanos);
    let load = Load { case: Case::Pair, tasks: 1, hold: Duration::ZERO, span, ttl: TTL_DEFAULT };
    let measured = entrant.run(load).await?;
    let held = measured.shares.iter().sum();
    let report = Report { rate_per_s: measured.rate_per_s, held, waits: measured.waits.counts() };
    serde_json::to_string(&report).map_err(|e| failed("has no report", e.into()))
}

#[expect(clippy::print_stdout, reason = "standard output is the pipe to the process that counts")]
fn wait_for_go() -> Result<()> {
    println!("{READY}");
    let mut go = String::new();
    match io::stdin().lock().read_line(&mut go) {
        Ok(n) if n > 0 => Ok(()),
        Ok(_) => Err(failed("was not told to go", io::ErrorKind::UnexpectedEof.into())),
        Err(error) => Err(failed("could not hear", error)),
    }
}
