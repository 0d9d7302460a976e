//! PostgreSQL: one server, a standby of it, and a pooler before it.

mod builder;
mod pooler;

use std::fmt;
use std::fs;
use std::io;
use std::ops::Deref;
use std::path::PathBuf;
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

pub use builder::Builder;
pub use pooler::Pooler;

use crate::certificates::Certificates;
use crate::server::Server;
use crate::wait::{Asked, until};
use crate::{process, tools};

/// The superuser, who needs no password on this machine.
const ADMINISTRATOR: &str = "leasehold";
/// The database that everybody uses.
const DATABASE: &str = "postgres";

/// A server that runs: all that [`Server`] can, and to be talked to.
///
/// It is more than one process: to kill, pause or stop it is to do so to all of them.
pub struct Postgres {
    server: Server,
    certificates: Option<Certificates>,
}

impl Postgres {
    /// Starts one as it comes, but for not waiting for its disk.
    ///
    /// # Errors
    /// If it does not come up.
    pub fn start() -> io::Result<Self> {
        Self::builder().start()
    }

    /// One to be described.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Its URL, as the superuser.
    pub fn url(&self) -> String {
        self.url_of(ADMINISTRATOR)
    }

    /// Its URL for this user, who may have a password behind a colon.
    pub fn url_of(&self, user: &str) -> String {
        let url = format!("postgres://{user}@{}/{DATABASE}", self.addr());
        match &self.certificates {
            Some(certificates) => {
                format!("{url}?sslmode=verify-full&ca={}", certificates.authority().display())
            }
            None => url,
        }
    }

    /// The certificates it was started with.
    pub fn certificates(&self) -> Option<&Certificates> {
        self.certificates.as_ref()
    }

    /// What the server answers to these statements, as the superuser: a line a row, with `|` between the columns.
    ///
    /// # Errors
    /// Its own words if it refuses one.
    pub fn sql(&self, statements: &str) -> io::Result<String> {
        psql(&self.server.folder().display().to_string(), self.port(), statements)
    }

    /// Kills all its processes as `kill -9` does, and returns once they are gone.
    ///
    /// # Errors
    /// If one cannot be killed.
    pub fn kill(&self) -> io::Result<()> {
        let backends = self.backends();
        self.server.kill()?;
        for backend in &backends {
            // It may have gone with its parent.
            let _ = kill(*backend, Signal::SIGKILL);
        }
        until(format_args!("all processes of {self:?} were gone"), || {
            match backends.iter().find(|backend| kill(**backend, None).is_ok()) {
                Some(backend) => Asked::NotYet(format!("process {backend} is there")),
                None => Asked::Yes(()),
            }
        })
    }

    /// Asks it to end, whoever is connected, and returns once it is gone.
    ///
    /// # Errors
    /// If it is not running, or does not end.
    pub fn stop(&self) -> io::Result<()> {
        self.end(Signal::SIGINT)
    }

    /// Starts it again in the same folder and on the same port, and returns when it is ready. One that is running is
    /// stopped first.
    ///
    /// # Errors
    /// As [`Server::restart`].
    pub fn restart(&self) -> io::Result<()> {
        if self.pid().is_some() {
            self.stop()?;
        }
        self.server.restart()
    }

    /// Pauses all its processes.
    ///
    /// # Errors
    /// If it is not running.
    pub fn pause(&self) -> io::Result<()> {
        // First the one that could start others.
        self.server.pause()?;
        self.backends().into_iter().try_for_each(|backend| Ok(kill(backend, Signal::SIGSTOP)?))
    }

    /// Lets them go on.
    ///
    /// # Errors
    /// If it is not running.
    pub fn resume(&self) -> io::Result<()> {
        self.backends().into_iter().try_for_each(process::resume)?;
        self.server.resume()
    }

    fn end(&self, signal: Signal) -> io::Result<()> {
        if let Some(pid) = self.pid() {
            self.resume()?;
            kill(pid, signal)?;
        }
        // It is on its way, and a politer request does not stop that.
        self.server.stop().map(drop)
    }

    fn backends(&self) -> Vec<Pid> {
        let Some(pid) = self.pid() else { return Vec::new() };
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        children.split_whitespace().filter_map(|pid| pid.parse().ok().map(Pid::from_raw)).collect()
    }
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Postgres").field("server", &self.server).finish_non_exhaustive()
    }
}

/// All that a server can.
impl Deref for Postgres {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // At once, but so that it gives back its shared memory; if that fails, it is killed.
        drop(self.end(Signal::SIGQUIT));
    }
}

/// Speaks with the server that has its socket in this folder, which no TLS and no password is in the way of.
fn psql(folder: &str, port: u16, statements: &str) -> io::Result<String> {
    let mut command = Command::new(program("psql")?);
    command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", folder, "-p", &port.to_string()]);
    command.args(["-U", ADMINISTRATOR, "-d", DATABASE, "-c", statements]);
    succeed(&mut command)
}

/// What a command prints.
fn succeed(command: &mut Command) -> io::Result<String> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned());
    }
    Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}

/// A program of the newest PostgreSQL that is installed: Debian keeps them outside of the path.
fn program(name: &str) -> io::Result<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let found = versions.map(|version| version.path().join("bin").join(name)).filter(|file| file.is_file());
    found.max().map_or_else(|| tools::program(name), Ok)
}
