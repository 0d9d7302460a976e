//! `leasehold run`'s side of the guardian: starts it, tells it each new deadline and each signal, and learns
//! how the command ended.
//!
//! The guardian ends the command without our help. What is left to us is the case that the guardian itself is
//! killed or stopped: then we do its work.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use leasehold::{Client, Clock, Lease, Moment};
use tokio::net::unix::pipe::{Receiver, Sender};

use super::plan::Plan;
use crate::args::ENGINE;
use crate::engine::absolute;
use crate::exit::{End, Failure, INTERNAL, LOST, NOT_EXECUTABLE, NOT_FOUND};
use crate::guardian::{Ending, Incoming, LeftOpen, MARGIN, Message, News, Report, kill_descendants};
use crate::output::{note, printable, span};
use crate::signals::Signals;

/// How long before the deadline we do what the guardian should have done.
const TAKE_OVER: Duration = Duration::from_millis(25);
/// How long what the command has left behind may take to end before we speak of it.
const SILENT: Duration = Duration::from_secs(1);

/// A command under a lock, and its guardian.
pub(super) struct Guarded<'a> {
    lease: &'a Lease,
    clock: &'a dyn Clock,
    plan: &'a Plan,
    /// When the hold began, as far as we know.
    began: Moment,
    guardian: Child,
    news: Sender,
    reports: Receiver,
    incoming: Incoming,
    /// The deadline that the guardian knows of.
    told: Moment,
    lost: bool,
    /// The command was ended before its time.
    stopped: bool,
    /// Nothing of the command is left, or it was never there.
    over: bool,
    /// When to say that something of the command is still there.
    speak_of_rest: Option<Moment>,
}

impl<'a> Guarded<'a> {
    /// Starts the guardian, which starts the command.
    pub(super) fn start(
        lease: &'a Lease,
        began: Moment,
        client: &'a Client,
        url: &str,
        plan: &'a Plan,
    ) -> Result<Self, Failure> {
        let failed = Failure::internal::<io::Error>;
        let told = lease.deadline();
        let (news_end, news) = io::pipe().map_err(failed("pipe"))?;
        let (reports, reports_end) = io::pipe().map_err(failed("pipe"))?;
        let news_copy = LeftOpen::copy(&news_end).map_err(failed("pipe"))?;
        let reports_copy = LeftOpen::copy(&reports_end).map_err(failed("pipe"))?;
        // The guardian, the command and all below it inherit this, so an engine that can tell when a process
        // is gone waits for the last of them.
        let _lifeline = client
            .engine()
            .lifeline()
            .map(LeftOpen::copy)
            .transpose()
            .map_err(failed("the engine's lifeline"))?;
        let group = nix::unistd::getpgrp().as_raw();
        let mut guardian = Command::new("/proc/self/exe");
        if group != 0 {
            guardian.process_group(0);
        }
        let guardian = guardian
            .arg0("leasehold")
            .arg("guardian")
            .args(["--news", &news_copy.number().to_string()])
            .args(["--reports", &reports_copy.number().to_string()])
            .args(["--deadline", &told.as_nanos().to_string()])
            .args(["--group", &group.to_string()])
            .args(["--grace-ms", &plan.grace.as_millis().to_string()])
            .arg("--")
            .args(&plan.command)
            .env("LEASEHOLD_NAME", lease.name().as_str())
            .env("LEASEHOLD_TOKEN", lease.token().to_string())
            .env(ENGINE, absolute(url))
            .spawn()
            .map_err(failed("the guardian cannot be started"))?;
        Ok(Self {
            lease,
            clock: &**client.clock(),
            plan,
            began,
            guardian,
            news: Sender::from_owned_fd(OwnedFd::from(news)).map_err(failed("pipe"))?,
            reports: Receiver::from_owned_fd(OwnedFd::from(reports)).map_err(failed("pipe"))?,
            incoming: Incoming::default(),
            told,
            lost: false,
            stopped: false,
            over: false,
            speak_of_rest: None,
        })
    }

    /// Waits until nothing of the command is left; says how to end.
    pub(super) async fn see_to_its_end(&mut self, signals: &Signals) -> Result<End, Failure> {
        loop {
            tokio::select! {
                biased;
                ready = self.reports.readable() => {
                    ready.map_err(Failure::internal("pipe"))?;
                    if let Some(end) = self.read_reports()? {
                        return end;
                    }
                }
                () = self.clock.sleep_until(self.told - TAKE_OVER) => {
                    // If we were stopped, the guardian's reports have come as well: this lets them in.
                    tokio::task::yield_now().await;
                    return match self.read_reports()? {
                        Some(end) => end,
                        None => self.take_over(),
                    };
                }
                () = self.lease.lost(), if !self.lost => self.lose(),
                () = self.lease.renewed(self.told), if !self.lost => {
                    self.told = self.lease.deadline();
                    self.tell(News::Deadline(self.told));
                }
                came = signals.next() => {
                    let came = came.map_err(Failure::internal("signals"))?;
                    if !came.from_terminal {
                        self.tell(News::Signal(came.number));
                    }
                }
                () = self.clock.sleep_until(self.speak_of_rest.unwrap_or(Moment::NEVER)),
                    if self.speak_of_rest.is_some() =>
                {
                    self.speak_of_rest = None;
                    note("the command has ended, but not all that it started; that is ended now");
                }
            }
        }
    }

    fn tell(&self, news: News) {
        // A guardian that does not read is stopped: it needs no news, and at the deadline we take over.
        let _ = self.news.try_write(&news.bytes());
    }

    fn lose(&mut self) {
        self.lost = true;
        self.tell(News::Stop);
    }

    /// Takes in what the guardian says; the end, if it has come.
    fn read_reports(&mut self) -> Result<Option<Result<End, Failure>>, Failure> {
        let open = self.incoming.fill(&mut NoWait(&self.reports)).map_err(Failure::internal("guardian"))?;
        while let Some(report) = self.incoming.next().map_err(Failure::internal("guardian"))? {
            match report {
                Report::Stopping => self.stopping(),
                Report::LeftBehind => self.speak_of_rest = Some(self.clock.now() + SILENT),
                Report::NotStarted(errno) => return Ok(Some(self.over(|us| Err(us.not_started(errno))))),
                Report::TooLate => {
                    return Ok(Some(
                        self.over(|us| Err(us.ended_for_loss("before the command was started"))),
                    ));
                }
                Report::Ended(ending) => return Ok(Some(self.over(|us| us.ended(ending)))),
            }
        }
        Ok(if open { None } else { Some(self.take_over()) })
    }

    fn over(&mut self, end: impl FnOnce(&Self) -> Result<End, Failure>) -> Result<End, Failure> {
        self.over = true;
        end(self)
    }

    fn stopping(&mut self) {
        self.stopped = true;
        let why = if self.at_most_is_over() {
            format!("the {} of `--at-most` are over", span(self.plan.at_most.unwrap_or_default()))
        } else if self.lost {
            format!("`{}` is lost", self.plan.name)
        } else {
            format!("`{}` could not be renewed in time", self.plan.name)
        };
        note(format_args!("{why}; ending the command"));
    }

    /// Whether the hold's own end is why it cannot be renewed.
    fn at_most_is_over(&self) -> bool {
        let end = |most| self.began + most;
        self.plan.at_most.is_some_and(|most| self.told + MARGIN >= end(most))
    }

    fn ended(&self, ending: Ending) -> Result<End, Failure> {
        match ending {
            _ if self.stopped => Err(self.ended_for_loss("and the command was ended")),
            Ending::Exited(code) => Ok(End::Code(code)),
            Ending::Killed(signal) => Ok(End::Signal(signal)),
        }
    }

    fn ended_for_loss(&self, what: &str) -> Failure {
        let name = &self.plan.name;
        if self.at_most_is_over() {
            Failure::new(LOST, format!("the time of `{name}` was over {what}"))
        } else {
            Failure::new(LOST, format!("`{name}` was lost {what}"))
        }
    }

    fn not_started(&self, errno: i32) -> Failure {
        let error = io::Error::from_raw_os_error(errno);
        let program = self.plan.command.first().map(OsString::as_os_str).unwrap_or_default();
        let text = program.to_string_lossy();
        let name = printable(&text);
        match error.kind() {
            io::ErrorKind::NotFound => {
                let message = format!("`{name}` was not found, or the interpreter that it names was not");
                Failure::new(NOT_FOUND, message)
            }
            io::ErrorKind::PermissionDenied if !is_somewhere(program) => {
                Failure::new(NOT_FOUND, format!("`{name}` was not found where we may look"))
            }
            _ => Failure::new(NOT_EXECUTABLE, format!("`{name}` cannot be executed: {error}")),
        }
    }

    /// The guardian is gone or does not do its work: what it watched over becomes ours, and ends.
    fn take_over(&mut self) -> Result<End, Failure> {
        self.end_it_ourselves().map_err(Failure::internal("killing the command"))?;
        if self.lease.is_valid() && self.clock.now() + TAKE_OVER < self.told {
            return Err(Failure::new(
                INTERNAL,
                "the guardian of the command died, and the command was killed",
            ));
        }
        Err(self.ended_for_loss("and the command was killed"))
    }
}

impl Guarded<'_> {
    /// Kills the guardian, which leaves the command and all that it started to us, and kills that.
    fn end_it_ourselves(&mut self) -> io::Result<()> {
        self.over = true;
        // It may be gone already.
        let _ = self.guardian.kill();
        kill_descendants()
    }
}

impl Drop for Guarded<'_> {
    /// However we fail, the lock is not released while anything works under it.
    fn drop(&mut self) {
        if !self.over
            && let Err(e) = self.end_it_ourselves()
        {
            note(format_args!("the command could not be killed: {e}"));
        }
    }
}

/// Whether a program is there at all. One folder of the search path that we may not read makes "not found" into
/// "permission denied".
fn is_somewhere(program: &OsStr) -> bool {
    let program = Path::new(program);
    if program.components().nth(1).is_some() {
        return true;
    }
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths).any(|folder| folder.join(program).exists())
}

/// Reads what is there.
struct NoWait<'a>(&'a Receiver);

impl Read for NoWait<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buffer)
    }
}
