//! Peers in Python: each in a process of its own, with a thread for each task.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Once;
use std::time::Duration;

use leasehold_core::{Error, ErrorKind, Result};
use leasehold_testkit::{Worker, python};
use serde::Deserialize;

use crate::load::Load;
use crate::measure::{Measured, Waits};

/// How the server is passed: a password has no place among arguments, which everybody can read.
const SERVER_VARIABLE: &str = "LEASEHOLD_BENCH_SERVER";
/// What the process says when it is.
const READY: &str = "ready";
/// What it says from time to time while it works.
const BUSY: &str = "busy";
/// What all peers in Python do; a script of its own calls `run` with its lock.
const LOOP: &str = include_str!("python.py");

/// What the process says at the end.
#[derive(Deserialize)]
struct Report {
    rate_per_s: f64,
    held: Vec<u64>,
    waits: Vec<u64>,
}

/// A lock of Python.
#[derive(Clone, Debug)]
pub(super) struct Library {
    name: &'static str,
    script: String,
    python: PathBuf,
}

impl Library {
    /// `None` where it is not installed; that is said.
    #[expect(clippy::print_stderr, reason = "who reads the figures must know which are missing")]
    pub(super) fn find(name: &'static str, script: &str) -> Option<Self> {
        static SAID: Once = Once::new();
        match python() {
            Ok(python) => Some(Self { name, script: format!("{LOOP}\n{script}"), python }),
            Err(why) => {
                SAID.call_once(|| eprintln!("without {name}: {why}"));
                None
            }
        }
    }

    pub(super) fn failed(&self, how: impl AsRef<str>) -> Error {
        Error::new(ErrorKind::Unexpected, "peer", format!("{} {}", self.name, how.as_ref()))
    }

    /// Runs a load on this server.
    pub(super) async fn run(&self, server: &str, prefix: &str, load: Load) -> Result<Measured> {
        let numbers = [load.tasks as u128, load.span.as_nanos(), load.hold.as_nanos(), load.ttl.as_nanos()];
        let mut command = Command::new(&self.python);
        command.args(["-c", &self.script, &load.case.to_string(), prefix]);
        command.args(numbers.map(|n| n.to_string())).env(SERVER_VARIABLE, server);
        let mut process =
            Worker::spawn(&mut command).map_err(|e| self.failed("did not start").with_source(e))?;
        let said = self.line(&mut process).await?;
        if said != READY {
            return Err(self.failed(format!("said `{said}` in place of `{READY}`")));
        }
        process.say("go").map_err(|e| self.failed("ended early").with_source(e))?;
        let mut said = self.line(&mut process).await?;
        while said == BUSY {
            said = self.line(&mut process).await?;
        }
        let report: Report = serde_json::from_str(&said)
            .map_err(|e| self.failed(format!("reported `{said}`, which is no report")).with_source(e))?;
        let mut waits = Waits::default();
        report.waits.iter().for_each(|&nanos| waits.record(Duration::from_nanos(nanos)));
        Ok(Measured {
            rate_per_s: report.rate_per_s,
            waits,
            shares: report.held,
            requests_per_s: None,
            cpu: None,
        })
    }

    async fn line(&self, process: &mut Worker) -> Result<String> {
        let line = process.line().await;
        line.map_err(|e| self.failed("ended early; its errors are above").with_source(e))
    }
}
