//! A file, written by processes; and a process that is killed at each of its system calls.

use std::io::BufRead;
use std::process::ExitCode;

use leasehold_fence::Marks;
use leasehold_fence::file::Fence;
use leasehold_testkit::Worker;
use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::order::{Order, Reply, refused, sequencer};
use crate::{Answer, Check, Failure, Open, Storage, Target, folder};

/// The first argument of a process that writes once.
pub(crate) const WRITES_ONCE: &str = "writes-once";

/// More than that and something else is wrong.
const STEPS_MAX: usize = 2_000;

pub(crate) struct Stored {
    fence: Fence,
    place: String,
    check: Check,
}

pub(crate) fn target() -> Result<Target, Failure> {
    let (keeps, place) = folder()?;
    Ok(Target {
        name: "file",
        writes: 3_000,
        open: Open::Processes("file", place),
        engine: None,
        _keeps: Box::new(keeps),
    })
}

impl Stored {
    pub(crate) fn open(place: &str, check: Check) -> Result<Self, Failure> {
        Ok(Self { fence: Fence::beside(place)?, place: place.to_owned(), check })
    }

    fn do_it(&self, order: &Order) -> Result<Reply, Failure> {
        let (who, to_write) = order.under(self.check);
        let entered = match who.map(|who| self.fence.enter(who)).transpose() {
            Ok(entered) => entered,
            Err(error) => return refused(error),
        };
        match (entered, to_write) {
            (Some(entered), Some(value)) => match entered.write(value.to_string().as_bytes()) {
                Ok(()) => Ok(Reply::Done),
                Err(error) => refused(error),
            },
            (Some(entered), None) => match entered.read() {
                Ok(content) => Ok(Reply::Value(String::from_utf8(content.unwrap_or_default())?.parse()?)),
                Err(error) => refused(error),
            },
            // Whole, but unasked.
            (None, Some(value)) => {
                let draft = format!("{}.{}", self.place, std::process::id());
                std::fs::write(&draft, value.to_string())?;
                std::fs::rename(&draft, &self.place)?;
                Ok(Reply::Done)
            }
            (None, None) => {
                Ok(Reply::Value(std::fs::read_to_string(&self.place).unwrap_or_default().parse()?))
            }
        }
    }
}

impl Storage for Stored {
    fn obey(&mut self, order: Order) -> Answer<'_> {
        Box::pin(async move { self.do_it(&order) })
    }
}

/// What the process does that is killed: waits for a word, enters with token 2, and writes.
pub(crate) fn write_once(place: &str) -> ExitCode {
    let written = || -> Result<(), Failure> {
        let fence = Fence::beside(place)?;
        println!("ready");
        std::io::stdin().lock().read_line(&mut String::new())?;
        fence.enter(sequencer(2, leasehold_core::Mode::Exclusive))?.write(&new())?;
        Ok(())
    };
    match written() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Too much for one page.
fn new() -> Vec<u8> {
    b"new ".repeat(5_000)
}

/// Kills a writer at its first system call, another one at its second, and so on until one comes through.
pub(crate) fn killed_at_every_step() -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut raised, mut written) = (0, 0);
    for steps in 1..STEPS_MAX {
        let (_keeps, place) = folder()?;
        let fence = Fence::beside(&place)?;
        let first = sequencer(1, leasehold_core::Mode::Exclusive);
        fence.enter(&first)?.write(b"old")?;

        let mut writer = Worker::reexec([WRITES_ONCE, &place])?;
        let ready = runtime.block_on(writer.line())?;
        if ready != "ready" {
            return Err(format!("the writer said `{ready}`").into());
        }
        let came_through = killed_after(&mut writer, steps)?;

        let (marks, content) = (fence.marks()?, std::fs::read(&place)?);
        let is_new = content == new();
        assert!(is_new || content == b"old", "killed at step {steps}, it left a part of the file");
        assert!(
            !is_new || marks == Marks::new(2, 0),
            "killed at step {steps}, the file is ahead of its mark"
        );
        assert!(marks == Marks::new(1, 0) || fence.enter(&first).is_err(), "the old holder is let in again");
        (raised, written) = (raised + usize::from(marks.exclusive() == 2), written + usize::from(is_new));
        fence.enter(sequencer(3, leasehold_core::Mode::Exclusive))?.write(b"next")?;
        assert_eq!(std::fs::read(&place)?, b"next");
        if came_through {
            println!("file: killed at {steps} steps: {raised} had raised the mark, {written} had written");
            assert!(written > 1 && raised > written && steps > raised, "some step was left out");
            return Ok(());
        }
    }
    Err(format!("a writer needs more than {STEPS_MAX} system calls").into())
}

/// Lets it go on for so many stops at system calls, then kills it; whether it ended before.
fn killed_after(writer: &mut Worker, steps: usize) -> Result<bool, Failure> {
    let pid = writer.pid();
    ptrace::seize(pid, ptrace::Options::PTRACE_O_TRACESYSGOOD | ptrace::Options::PTRACE_O_EXITKILL)?;
    ptrace::interrupt(pid)?;
    waitpid(pid, None)?;
    writer.say("go")?;
    for _ in 0..steps {
        if !next_stop(pid)? {
            return Ok(true);
        }
    }
    writer.kill().map(|_| false).map_err(Into::into)
}

/// Whether it has come to the beginning or the end of another system call; if not, it has ended.
fn next_stop(pid: Pid) -> Result<bool, Failure> {
    let mut signal: Option<Signal> = None;
    loop {
        ptrace::syscall(pid, signal)?;
        match waitpid(pid, None)? {
            WaitStatus::PtraceSyscall(_) => return Ok(true),
            WaitStatus::Exited(_, 0) => return Ok(false),
            WaitStatus::Stopped(_, passed_on) => signal = Some(passed_on),
            WaitStatus::PtraceEvent(..) => signal = None,
            other => return Err(format!("the writer came to {other:?}").into()),
        }
    }
}
