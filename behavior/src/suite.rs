//! From tests and stacks to trials.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use leasehold::clock::BootClock;
use leasehold::{Clock, EngineInfo};
use libtest_mimic::{Failed, Trial};

use crate::servers;
use crate::setup::Setup;
use crate::stack::Stack;
use crate::test::{Break, Test};
use crate::verdict::{Failure, Verdict};
use crate::{contract, differential, primitives};

/// No test takes longer.
const TEST_MAX: Duration = Duration::from_secs(300);

/// All tests.
fn all() -> Vec<Test> {
    [contract::tests(), primitives::tests(), differential::tests()].concat()
}

/// What an engine's `info()` excludes, and why.
pub(crate) fn excluded(stack: &Stack, info: &EngineInfo) -> BTreeMap<String, String> {
    all()
        .into_iter()
        .map(|test| (test.lacks(info, stack).join(", "), test.name))
        .filter(|(lacks, _)| !lacks.is_empty())
        .map(|(lacks, name)| (name, lacks))
        .collect()
}

/// What the engine of this stack says that it can do.
pub(crate) fn info(stack: &Stack) -> Result<EngineInfo, Failed> {
    on_runtime(async { Ok(Setup::new(stack, 0, None, false).await?.info) }).map_err(Failed::from)
}

/// The trials of one stack.
pub(crate) fn trials(stack: &Stack, info: &EngineInfo, seed: u64, pin: bool) -> Vec<Trial> {
    let label = stack.label();
    let mut trials = vec![pinned(stack, info, pin)];
    // Beyond the contract it is the test that is in question, not the layers: without them is enough.
    let bare = stack.layers.is_empty();
    for test in all() {
        let excluded = !test.lacks(info, stack).is_empty();
        let name = format!("{label}::{}", test.name);
        // Nor is it servers that are started for one test.
        let few = !(test.is_alone() && servers::are_many(&stack.engine));
        for (what, broken) in test.broken.clone().into_iter().filter(|_| few && (bare || test.is_contract()))
        {
            let (stack, what) = (stack.clone(), what.to_owned());
            let name = format!("{name}::catches::{}", what.replace(' ', "_"));
            let test = test.clone();
            let trial = Trial::test(name, move || caught(&stack, seed, &test, broken, &what));
            trials.push(trial.with_ignored_flag(excluded));
        }
        let stack = stack.clone();
        let trial = Trial::test(name, move || Ok(run(&stack, seed, &test, None)?));
        trials.push(trial.with_ignored_flag(excluded));
    }
    trials
}

/// Runs a test, over a broken engine if that is given.
fn run(stack: &Stack, seed: u64, test: &Test, broken: Option<Break>) -> Verdict {
    on_runtime(async {
        let setup = Setup::new(stack, seed, broken, test.is_alone()).await?;
        tokio::select! {
            verdict = (test.run)(setup) => verdict,
            () = BootClock.sleep_until(BootClock.now() + TEST_MAX) => {
                Err(Failure::Violation(format!("the test did not end within {TEST_MAX:?}")))
            }
        }
    })
}

/// How often a broken engine is tried: if the machine stands still at the wrong moment, there may be nothing to notice.
const TRIES: usize = 3;

/// Runs a test over a broken engine; it must fail, and by what it found.
fn caught(stack: &Stack, seed: u64, test: &Test, broken: Break, what: &str) -> Result<(), Failed> {
    for _ in 0..TRIES {
        match run(stack, seed, test, Some(broken)) {
            Err(Failure::Violation(_)) => return Ok(()),
            Ok(()) => {}
            Err(trouble @ Failure::Trouble(_)) => return Err(trouble.into()),
        }
    }
    Err(format!("the test did not notice an engine that {what}").into())
}

/// Every test has a runtime of its own, so that nothing of one runs on into the next.
fn on_runtime<T>(test: impl Future<Output = Verdict<T>>) -> Verdict<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let verdict = runtime.block_on(test);
    // A task that blocks for ever must not keep the suite.
    runtime.shutdown_timeout(Duration::from_secs(5));
    verdict
}

/// Compares what is excluded with what was: an engine that comes to promise less must not pass unnoticed.
fn pinned(stack: &Stack, info: &EngineInfo, pin: bool) -> Trial {
    let label = stack.label();
    let now: String =
        excluded(stack, info).into_iter().map(|(name, lacks)| format!("{name}: needs {lacks}\n")).collect();
    Trial::test(format!("{label}::excluded_as_pinned"), move || {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("pinned/{label}.txt"));
        if pin {
            return Ok(std::fs::write(&path, now)?);
        }
        let then = std::fs::read_to_string(&path).map_err(|e| {
            format!("{e}: {}; run the suite once with --pin, and review the file", path.display())
        })?;
        if then == now {
            return Ok(());
        }
        Err(format!(
            "what info() excludes has changed; if that is meant, run with --pin\n--- {}\n{then}--- now\n{now}",
            path.display()
        )
        .into())
    })
}
