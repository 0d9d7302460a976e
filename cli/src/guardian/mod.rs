//! The guardian: the parent of the command that runs under a lock.
//!
//! A small process with one thread, no runtime and no engine, so that little can hold it up. `leasehold run`
//! tells it each new deadline; it ends the command before the last one that it heard of. It knows no locks:
//! if `leasehold` is stopped it hears of no new deadline, if `leasehold` is killed its pipe closes, and
//! either way it does what it always does.
//!
//! It is in a process group of its own and blocks every signal that can be blocked, so what is meant for
//! the command (a key press, a `kill` of the whole group) cannot take its guardian away.

mod inherited;
mod schedule;
mod tree;
mod wire;

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use leasehold_core::clock::BootClock;
use leasehold_core::{Clock, Moment};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal as NixSignal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::time::TimeSpec;
use nix::sys::timer::{Expiration, TimerSetTimeFlags};
use nix::sys::timerfd::{ClockId, TimerFd, TimerFlags};
use rustix::process::{Pid, Signal, kill_process};

pub(crate) use inherited::LeftOpen;
pub(crate) use schedule::MARGIN;
pub(crate) use tree::adopt_orphans;
pub(crate) use wire::{Ending, Incoming, Message, News, Report};

use schedule::{Order, Schedule};
use tree::Reaped;

/// How soon to look for survivors again while killing; a child's end is told at once.
const RESCAN: Duration = Duration::from_millis(10);

/// What `leasehold run` tells its guardian when it starts it.
#[derive(Debug, clap::Args)]
pub(crate) struct Task {
    /// The number of the pipe with our news.
    #[arg(long)]
    pub(crate) news: RawFd,
    /// The number of the pipe for our reports.
    #[arg(long)]
    pub(crate) reports: RawFd,
    /// The first deadline, in nanoseconds since boot.
    #[arg(long)]
    pub(crate) deadline: u64,
    /// The process group of `leasehold`, for the command; 0 if it is not to be seen from here.
    #[arg(long)]
    pub(crate) group: i32,
    /// How long the command gets to end in order.
    #[arg(long)]
    pub(crate) grace_ms: u64,
    /// The command.
    #[arg(last = true, required = true)]
    pub(crate) command: Vec<OsString>,
}

/// Starts the command and sees it to its end.
pub(crate) fn guard(task: &Task) -> io::Result<()> {
    nix::sys::prctl::set_name(c"leasehold-guard")?;
    let mask = block_signals()?;
    adopt_orphans()?;
    let news = inherited::reader(task.news)?;
    let mut reports = inherited::writer(task.reports)?;
    let schedule = Schedule::new(Moment::from_nanos(task.deadline), Duration::from_millis(task.grace_ms));
    if schedule.next().is_none_or(|soft| soft <= BootClock.now()) {
        return Report::TooLate.send(&mut reports);
    }
    let command = match start(task, mask) {
        Ok(command) => command,
        Err(e) => return Report::NotStarted(e.raw_os_error().unwrap_or(0)).send(&mut reports),
    };
    let watched = Guardian {
        command: Some(command),
        ending: None,
        schedule,
        news: Some(news),
        incoming: Incoming::default(),
        reports,
        ended_children: SignalFd::with_flags(&chld(), SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?,
        timer: TimerFd::new(ClockId::CLOCK_BOOTTIME, TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC)?,
    }
    .watch();
    if watched.is_err() {
        // Whatever failed, the command must not outlive the watch over it.
        kill_descendants()?;
    }
    watched
}

/// Kills every descendant of this process and waits until none is left.
pub(crate) fn kill_descendants() -> io::Result<()> {
    chld().thread_block()?;
    let ended_children = SignalFd::with_flags(&chld(), SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
    loop {
        tree::signal_all(Signal::KILL)?;
        let mut reaped = tree::reap()?;
        while let Reaped::Child(..) = reaped {
            reaped = tree::reap()?;
        }
        if reaped == Reaped::NoneLeft {
            return Ok(());
        }
        let rescan = PollTimeout::try_from(RESCAN).unwrap_or(PollTimeout::ZERO);
        wait_for(&mut [PollFd::new(ended_children.as_fd(), PollFlags::POLLIN)], rescan)?;
        while ended_children.read_signal()?.is_some() {}
    }
}

fn chld() -> SigSet {
    SigSet::from_iter([NixSignal::SIGCHLD])
}

/// Blocks every signal; says which the command shall have blocked: what `leasehold` has not blocked for
/// itself.
fn block_signals() -> io::Result<SigSet> {
    let mut mask = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
    for signal in crate::signals::FORWARDED {
        mask.remove(signal);
    }
    mask.remove(NixSignal::SIGCHLD);
    Ok(mask)
}

/// Starts the command in the process group of `leasehold`, where its terminal expects it.
fn start(task: &Task, mask: SigSet) -> io::Result<Pid> {
    let Some((program, arguments)) = task.command.split_first() else {
        return Err(io::ErrorKind::NotFound.into());
    };
    let mut command = Command::new(program);
    command.args(arguments);
    if task.group != 0 {
        command.process_group(task.group);
    }
    // The mask is inherited, so it is set for this moment. A signal that now takes us away is safe: `leasehold`
    // sees us die and kills whatever we leave.
    mask.thread_set_mask()?;
    let child = command.spawn();
    SigSet::all().thread_set_mask()?;
    Ok(Pid::from_child(&child?))
}

fn wait_for(what: &mut [PollFd<'_>], timeout: PollTimeout) -> io::Result<()> {
    match poll(what, timeout) {
        Ok(_) | Err(nix::Error::EINTR) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// The watch over one command.
struct Guardian {
    /// The command until it has been reaped: only so long is its number its own.
    command: Option<Pid>,
    ending: Option<Ending>,
    schedule: Schedule,
    /// Closed when `leasehold` is gone.
    news: Option<File>,
    incoming: Incoming,
    reports: File,
    ended_children: SignalFd,
    timer: TimerFd,
}

impl Guardian {
    fn watch(mut self) -> io::Result<()> {
        loop {
            if self.reap()? {
                let ending = self.ending.unwrap_or(Ending::Killed(NixSignal::SIGKILL as u8));
                self.report(Report::Ended(ending));
                return Ok(());
            }
            self.act()?;
            self.wait()?;
        }
    }

    /// Takes in what has ended; `true` if nothing of the tree is left.
    fn reap(&mut self) -> io::Result<bool> {
        loop {
            match tree::reap()? {
                Reaped::Child(pid, ending) if self.command == Some(pid) => {
                    self.command = None;
                    self.ending = Some(ending);
                }
                Reaped::Child(..) => {}
                Reaped::Nothing => break,
                Reaped::NoneLeft => return Ok(true),
            }
        }
        if self.command.is_none() && self.schedule.running() {
            self.report(Report::LeftBehind);
            self.schedule.stop();
        }
        Ok(false)
    }

    /// Does what is due.
    fn act(&mut self) -> io::Result<()> {
        if self.schedule.due(BootClock.now()) == Some(Order::Terminate) {
            if self.command.is_some() {
                self.report(Report::Stopping);
            }
            tree::signal_all(Signal::TERM)?;
            // A stopped process would see it only when somebody continues it.
            tree::signal_all(Signal::CONT)?;
        }
        if self.schedule.killing() {
            tree::signal_all(Signal::KILL)?;
        }
        Ok(())
    }

    /// Waits for the next event and takes it in.
    fn wait(&mut self) -> io::Result<()> {
        let wake = self.schedule.next().unwrap_or_else(|| BootClock.now() + RESCAN);
        // Zero would disarm it.
        let wake = TimeSpec::from_duration(Duration::from_nanos(wake.as_nanos().max(1)));
        self.timer.set(Expiration::OneShot(wake), TimerSetTimeFlags::TFD_TIMER_ABSTIME)?;

        let mut events = vec![
            PollFd::new(self.ended_children.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.timer.as_fd(), PollFlags::POLLIN),
        ];
        events.extend(self.news.as_ref().map(|news| PollFd::new(news.as_fd(), PollFlags::POLLIN)));
        wait_for(&mut events, PollTimeout::NONE)?;
        let news = events.get(2).is_some_and(|e| e.any().unwrap_or(true));

        while self.ended_children.read_signal()?.is_some() {}
        if news {
            self.listen()?;
        }
        Ok(())
    }

    fn listen(&mut self) -> io::Result<()> {
        let Some(news) = &mut self.news else { return Ok(()) };
        if !self.incoming.fill(news)? {
            self.news = None;
            self.schedule.kill();
        }
        while let Some(news) = self.incoming.next()? {
            match news {
                News::Deadline(deadline) => self.schedule.renew(deadline),
                News::Stop => self.schedule.stop(),
                News::Signal(number) => self.pass_on(number),
            }
        }
        Ok(())
    }

    fn pass_on(&self, number: u8) {
        if let (Some(command), Some(signal)) = (self.command, Signal::from_named_raw(number.into())) {
            // It may have ended, or belong to another user by now: then there is nobody to tell.
            let _ = kill_process(command, signal);
        }
    }

    fn report(&mut self, report: Report) {
        // With `leasehold` gone there is nobody to read it, and the work is the same.
        let _ = report.send(&mut self.reports);
    }
}
