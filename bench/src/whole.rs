//! The whole command: `leasehold run NAME -- true` against `true`, from the fork to the exit.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use leasehold_bench::measure::{Measured, Waits, per_second};
use leasehold_bench::{Entrant, Load, Role};
use leasehold_core::{Env, Error, ErrorKind, Result};

use crate::contest::Contest;

/// What is run under the lock, and alone.
const COMMAND: &str = "true";

/// The command under our lock, alone, and under flock(1) where there is one.
pub(crate) fn entrants(contest: &Contest, cli: PathBuf) -> Vec<Entrant> {
    let name = format!("leasehold-bench/{:08x}", contest.env().rng.next() >> 96);
    let engine = contest.url().to_owned();
    let ours = move || {
        let mut command = Command::new(&cli);
        command.env("LEASEHOLD_ENGINE", &engine).args(["run", &name, "--", COMMAND]);
        command
    };
    let lock = contest.place().join("command.lock");
    let flock = move || {
        let mut command = Command::new("flock");
        command.arg(&lock).arg(COMMAND);
        command
    };
    let mut all = vec![
        entrant("leasehold", Role::Ours, contest.env(), ours),
        entrant(COMMAND, Role::Floor, contest.env(), || Command::new(COMMAND)),
    ];
    if Command::new("flock").arg("--version").stdout(Stdio::null()).status().is_ok_and(|s| s.success()) {
        all.push(entrant("flock", Role::Peer, contest.env(), flock));
    }
    all
}

fn entrant(
    name: &'static str,
    role: Role,
    env: &Env,
    command: impl Fn() -> Command + Send + Sync + 'static,
) -> Entrant {
    let env = env.clone();
    Entrant::new(name, role, move |load| Box::pin(std::future::ready(run(&env, &command, load))))
}

/// Runs the command again and again. Blocks: nothing else runs in this process meanwhile.
fn run(env: &Env, command: &dyn Fn() -> Command, load: Load) -> Result<Measured> {
    let mut waits = Waits::default();
    let began = env.now();
    let mut count = 0;
    let mut now = began;
    while now < began + load.span {
        let mut command = command();
        let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status();
        if !status.as_ref().is_ok_and(std::process::ExitStatus::success) {
            let message = format!("{command:?} did not succeed: {status:?}");
            return Err(Error::new(ErrorKind::Unexpected, "run", message));
        }
        let done = env.now();
        waits.record(done.since(now));
        count += 1;
        now = done;
    }
    let rate_per_s = per_second(count, now.since(began));
    Ok(Measured { rate_per_s, waits, shares: Vec::new(), requests_per_s: None, cpu: None })
}
