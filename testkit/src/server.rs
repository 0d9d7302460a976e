//! One server process: on a port of its own, with a folder of its own, and gone with the test.

use std::fs::{self, File};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::clock::FakeClock;
use crate::port::Port;
use crate::wait::{Asked, until};
use crate::{process, scratch};

/// How often to try another port when somebody was faster.
const PORTS_TO_TRY: usize = 10;

/// How much of a log an error shows.
const LOG_LINES_SHOWN: usize = 15;

/// Whether the server with this process id takes requests; if not, why.
pub(crate) type Ready = Box<dyn Fn(Pid) -> io::Result<()> + Send + Sync>;

/// How to start one kind of server.
pub(crate) struct Recipe {
    /// What it is called in errors.
    pub(crate) name: &'static str,
    /// The program.
    pub(crate) program: PathBuf,
    /// Its arguments.
    pub(crate) arguments: Vec<String>,
    /// Whether its wall clock can be shifted.
    pub(crate) fake_clock: bool,
    /// How to see that it is up.
    pub(crate) ready: Ready,
}

/// A server that runs, or can run again: its port and its folder stay until it is dropped. Then it is killed and its
/// folder removed. A test that is killed takes its servers with it.
///
/// All methods block, and may be called from any task or thread.
pub struct Server {
    recipe: Recipe,
    clock: Option<FakeClock>,
    child: Mutex<Option<Child>>,
    port: Port,
    folder: TempDir,
}

impl Server {
    /// Starts one and returns when it is ready. `prepare` writes into the folder what the server needs there.
    pub(crate) fn start(prepare: impl Fn(&Port, &Path) -> io::Result<Recipe>) -> io::Result<Self> {
        let mut tries = 1..=PORTS_TO_TRY;
        loop {
            let server = Self::at(Port::reserve()?, &prepare)?;
            server.launch()?;
            match server.await_ready() {
                Ok(()) => return Ok(server),
                Err(_) if server.lost_its_port() && tries.next().is_some() => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// One that is still to be [launched](Self::launch), on this port: several that must know of each other before
    /// any is ready are made so.
    pub(crate) fn at(
        port: Port,
        prepare: impl FnOnce(&Port, &Path) -> io::Result<Recipe>,
    ) -> io::Result<Self> {
        let folder = scratch()?;
        let recipe = prepare(&port, folder.path())?;
        let clock = recipe.fake_clock.then(|| FakeClock::make(folder.path())).transpose()?;
        Ok(Self { recipe, clock, child: Mutex::new(None), port, folder })
    }

    /// Whether somebody else was faster.
    fn lost_its_port(&self) -> bool {
        self.log().to_lowercase().contains("address already in use")
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.port.addr()
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// A second port that came with the first.
    pub(crate) fn second_port(&self) -> u16 {
        self.port.companion()
    }

    /// Its folder: data, configuration, log.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// All that it has written to its log.
    pub fn log(&self) -> String {
        fs::read(self.log_file()).map(|log| String::from_utf8_lossy(&log).into_owned()).unwrap_or_default()
    }

    /// Its process id, if it is running (or paused).
    pub fn pid(&self) -> Option<Pid> {
        self.child().as_ref().map(process::pid)
    }

    /// Kills it as `kill -9` does, and returns once it is gone. Nothing happens if it is not running.
    ///
    /// # Errors
    /// If it cannot be killed.
    pub fn kill(&self) -> io::Result<()> {
        if let Some(mut child) = self.child().take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// Asks it to end, as a system does that shuts down, and returns once it is gone. A paused one goes on first.
    ///
    /// # Errors
    /// If it is not running, or does not end.
    pub fn stop(&self) -> io::Result<ExitStatus> {
        let mut running = self.child();
        let child = running.as_mut().ok_or_else(|| self.not_running())?;
        kill(process::pid(child), Signal::SIGTERM)?;
        process::resume(process::pid(child))?;
        let status = until(format_args!("{self} ended"), || match child.try_wait() {
            Ok(Some(status)) => Asked::Yes(status),
            Ok(None) => Asked::NotYet("it still runs".to_owned()),
            Err(error) => Asked::Never(error.to_string()),
        })?;
        *running = None;
        Ok(status)
    }

    /// Pauses it (SIGSTOP), and returns once it stands still: connections stay open, and nothing answers.
    ///
    /// # Errors
    /// If it is not running.
    pub fn pause(&self) -> io::Result<()> {
        process::pause(self.pid().ok_or_else(|| self.not_running())?)
    }

    /// Lets a paused one go on.
    ///
    /// # Errors
    /// If it is not running.
    pub fn resume(&self) -> io::Result<()> {
        process::resume(self.pid().ok_or_else(|| self.not_running())?)
    }

    /// Starts it again in the same folder and on the same port, and returns when it is ready. One that is running is
    /// stopped first.
    ///
    /// # Errors
    /// If it does not come up; the error ends with the end of its log.
    pub fn restart(&self) -> io::Result<()> {
        if self.pid().is_some() {
            self.stop()?;
        }
        self.launch()?;
        self.await_ready()
    }

    /// Starts it again after [`kill`](Self::kill) or [`stop`](Self::stop), and does not wait until it is ready.
    ///
    /// # Errors
    /// If it is running, or the process cannot be started.
    pub fn launch(&self) -> io::Result<()> {
        let mut running = self.child();
        if running.is_some() {
            return Err(io::Error::other(format!("{self} is already running: kill or stop it first")));
        }
        process::allow_many_files()?;
        let log = File::options().create(true).append(true).open(self.log_file())?;
        let mut command = process::mortal(&self.recipe.program);
        command.args(&self.recipe.arguments).current_dir(self.folder());
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        // In a group of its own, for what a terminal sends is meant for the test; it ends with that.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        if let Some(clock) = &self.clock {
            clock.give_to(&mut command);
        }
        *running = Some(process::spawn(command).map_err(|error| {
            io::Error::new(
                error.kind(),
                format!("cannot start {} through setpriv: {error}", self.recipe.name),
            )
        })?);
        Ok(())
    }

    /// Returns when it takes requests.
    ///
    /// # Errors
    /// If it ends instead, or is not ready in time; the error ends with the end of its log.
    pub fn await_ready(&self) -> io::Result<()> {
        until(format_args!("{self} was ready"), || {
            // Not held while the server is asked: another thread may kill it meanwhile.
            let pid = match self.child().as_mut() {
                None => return Asked::Never("it is not running".to_owned()),
                Some(child) => match child.try_wait() {
                    Ok(Some(status)) => return Asked::Never(format!("it ended with {status}")),
                    Ok(None) => process::pid(child),
                    Err(error) => return Asked::Never(error.to_string()),
                },
            };
            Asked::from((self.recipe.ready)(pid))
        })
        .map_err(|error| io::Error::new(error.kind(), format!("{error}; its log ends:\n{}", self.log_end())))
    }

    /// Sets its wall clock so many seconds ahead of the machine's, or behind with a minus, from now on. Its monotonic
    /// clock goes on as it was.
    ///
    /// # Errors
    /// If it was not started with a clock that can be shifted.
    pub fn shift_clock(&self, seconds: f64) -> io::Result<()> {
        self.fake_clock()?.goes((seconds * 1e9) as i64)
    }

    /// Stops its wall clock at so many microseconds after 1970, until it is set or shifted again. Its monotonic clock
    /// goes on as it was.
    ///
    /// # Errors
    /// If it was not started with a clock that can be shifted.
    pub fn stop_clock_at(&self, micros: u64) -> io::Result<()> {
        self.fake_clock()?.stands(i64::try_from(micros * 1000).map_err(io::Error::other)?)
    }

    fn fake_clock(&self) -> io::Result<&FakeClock> {
        self.clock.as_ref().ok_or_else(|| {
            io::Error::other(format!("the clock of {self} is the machine's: start it with a fake one"))
        })
    }

    fn child(&self) -> MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn not_running(&self) -> io::Error {
        io::Error::new(io::ErrorKind::NotFound, format!("{self} is not running"))
    }

    fn log_file(&self) -> PathBuf {
        self.folder().join("log")
    }

    fn log_end(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n")
    }
}

impl std::fmt::Display for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} on {}", self.recipe.name, self.addr())
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("name", &self.recipe.name).field("addr", &self.addr()).finish()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Gone already, or not to be killed: in either case there is nobody to tell.
        drop(self.kill());
    }
}
