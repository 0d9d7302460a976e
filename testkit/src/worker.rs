//! A process that a test talks to, line by line.

use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::Duration;

use leasehold_core::Clock;
use leasehold_core::clock::BootClock;
use nix::unistd::Pid;
use tokio::sync::mpsc;

use crate::process;

/// How long a worker has for its next line before it counts as hung.
const LINE_PATIENCE: Duration = Duration::from_secs(60);

/// What a worker said at last, in place of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It closed its output.
    Closed,
    /// It said nothing for a minute.
    Hung,
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Closed => "the worker ended before it said what was expected; its stderr says why",
            Self::Hung => "the worker has said nothing for a minute",
        })
    }
}

impl std::error::Error for Ended {}

/// A child process with lines in and lines out. Killed and reaped when dropped, paused or not.
#[derive(Debug)]
pub struct Worker {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: mpsc::UnboundedReceiver<String>,
}

impl Worker {
    /// Starts `command` with its input and output as pipes; its stderr stays the test's.
    ///
    /// # Errors
    /// If the process cannot be started.
    pub fn spawn(command: &mut Command) -> io::Result<Self> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().expect("stdout was piped");
        let (tell, lines) = mpsc::unbounded_channel();
        // Ends with the pipe, so with the worker and whoever inherited its output.
        std::thread::Builder::new().name("worker output".into()).spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if tell.send(line).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { child, stdin, lines })
    }

    /// Starts this very program again, with these arguments.
    ///
    /// # Errors
    /// If the process cannot be started.
    pub fn reexec<S: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = S>) -> io::Result<Self> {
        Self::spawn(Command::new(std::env::current_exe()?).args(arguments))
    }

    /// Writes it a line. It need not be running to be written to: a paused one reads it when it goes on.
    ///
    /// # Errors
    /// If its input is closed.
    pub fn say(&mut self, line: &str) -> io::Result<()> {
        let stdin = self.stdin.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        writeln!(stdin, "{line}")?;
        stdin.flush()
    }

    /// Closes its input.
    pub fn hang_up(&mut self) {
        self.stdin = None;
    }

    /// The next line that it writes.
    ///
    /// # Errors
    /// [`Ended`] if there is none.
    ///
    /// # Cancel safety
    /// No line is lost if it is dropped.
    pub async fn line(&mut self) -> Result<String, Ended> {
        tokio::select! {
            biased;
            line = self.lines.recv() => line.ok_or(Ended::Closed),
            () = BootClock.sleep_until(BootClock.now() + LINE_PATIENCE) => Err(Ended::Hung),
        }
    }

    /// Its process id.
    pub fn pid(&self) -> Pid {
        process::pid(&self.child)
    }

    /// Kills it as `kill -9` does, and returns once it is gone.
    ///
    /// # Errors
    /// If it cannot be reaped.
    pub fn kill(&mut self) -> io::Result<ExitStatus> {
        self.child.kill()?;
        self.child.wait()
    }

    /// Pauses it, and returns once it stands still.
    ///
    /// # Errors
    /// If it is not there, or ends meanwhile.
    pub fn pause(&self) -> io::Result<()> {
        process::pause(self.pid())
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// If it is not there.
    pub fn resume(&self) -> io::Result<()> {
        process::resume(self.pid())
    }

    /// Waits for its end. Close its input first if that is what it ends by.
    ///
    /// # Errors
    /// [`Ended::Hung`], as an I/O error, if it goes on for a minute without a word.
    ///
    /// # Cancel safety
    /// May be dropped and called again; lines that it wrote meanwhile are gone.
    pub async fn ended(&mut self) -> io::Result<ExitStatus> {
        loop {
            match self.line().await {
                Ok(_) => {}
                Err(Ended::Closed) => return self.child.wait(),
                Err(hung @ Ended::Hung) => return Err(io::Error::other(hung)),
            }
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Reaped already, or not ours to save: in either case there is nobody to tell.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// For a worker: ends this process as soon as its input closes, so that it does not outlive a test that was
/// killed. What is said to it until then comes out of the channel.
pub fn die_with_parent() -> mpsc::UnboundedReceiver<String> {
    let (tell, said) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in io::stdin().lines().map_while(Result::ok) {
            // Nobody may be listening, and that is fine: the end of the input is what counts.
            drop(tell.send(line));
        }
        std::process::exit(0);
    });
    said
}

#[cfg(test)]
mod tests {
    use nix::sys::signal::kill;

    use super::*;

    fn shell(script: &str) -> Worker {
        Worker::spawn(Command::new("sh").arg("-c").arg(script)).unwrap()
    }

    #[tokio::test]
    async fn lines_go_both_ways_and_the_end_is_told() {
        let mut worker = shell("read x; echo got $x; read y; exit 3");
        worker.say("this").unwrap();
        assert_eq!(worker.line().await.unwrap(), "got this");
        worker.hang_up();
        assert_eq!(worker.ended().await.unwrap().code(), Some(3));
        assert_eq!(worker.line().await, Err(Ended::Closed));
    }

    #[tokio::test]
    async fn a_paused_worker_answers_when_it_goes_on() {
        let mut worker = shell("echo up; read x; echo $x");
        assert_eq!(worker.line().await.unwrap(), "up");
        worker.pause().unwrap();
        worker.say("late").unwrap();
        worker.resume().unwrap();
        assert_eq!(worker.line().await.unwrap(), "late");
    }

    #[test]
    fn dropped_means_dead_even_if_paused() {
        let worker = shell("exec sleep 600");
        let pid = worker.pid();
        worker.pause().unwrap();
        drop(worker);
        assert_eq!(kill(pid, None), Err(nix::errno::Errno::ESRCH));
    }
}
