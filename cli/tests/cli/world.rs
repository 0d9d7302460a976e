//! A directory with an engine of its own, the processes that use it, and the FIFOs through which they talk.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::Pid;
use tempfile::TempDir;

/// How long anything may take before a test fails instead of hanging.
pub(crate) const BOUND: Duration = Duration::from_secs(60);

/// One engine and whatever uses it.
pub(crate) struct World {
    dir: TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        Self { dir: TempDir::new().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// `leasehold` with these arguments, in this world.
    pub(crate) fn leasehold(&self, arguments: &[&str]) -> Command {
        // Who runs the tests may ignore signals, as `nohup` and scripts do with what they start in the background, and
        // the command would ignore them too.
        let mut command = Command::new("/usr/bin/env");
        command.args(["--default-signal=HUP,INT,QUIT", env!("CARGO_BIN_EXE_leasehold")]);
        // A group of its own: the end of a command in an orphaned group in which a test has stopped something
        // would have the kernel hang up the whole group, and with it these tests and who has called them.
        command.args(arguments).process_group(0);
        self.at_home(&mut command);
        command
    }

    /// Lets a command find this world and no other.
    pub(crate) fn at_home(&self, command: &mut Command) {
        command
            .current_dir(self.dir.path())
            .env_remove("XDG_STATE_HOME")
            .env_remove("LEASEHOLD_NAME")
            .env("HOME", self.dir.path())
            .env("LEASEHOLD_ENGINE", format!("sqlite:{}", self.path("locks.db").display()))
            .env("NO_COLOR", "1")
            .env("COLUMNS", "100")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
    }

    /// Starts `leasehold run` with these options and a shell script.
    pub(crate) fn run(&self, options: &[&str], script: &str) -> Running {
        let mut command = self.leasehold(&["run"]);
        command.args(options).args(["--", "sh", "-c", script]);
        Running::start(command)
    }

    /// Runs it to its end.
    pub(crate) fn ran(&self, arguments: &[&str]) -> Ended {
        Running::start(self.leasehold(arguments)).end()
    }

    /// A FIFO that the scripts of this world find under this name.
    pub(crate) fn fifo(&self, name: &str) -> Fifo {
        let path = self.path(name);
        nix::unistd::mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
        // With an end of ours for writing, it never ends between two writers.
        let end = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        Fifo { path, end, read: Vec::new() }
    }

    /// What a test sees of itself replaced by what every run has in common.
    pub(crate) fn redacted(&self) -> insta::Settings {
        let mut settings = insta::Settings::clone_current();
        settings.add_filter(&regex_of(&self.dir.path().display().to_string()), "[DIR]");
        settings.add_filter(r#""[0-9a-f]{32}""#, r#""[ID]""#);
        settings.add_filter(r"[^\s\x22]+:\d+(\b|$)", "[HOST:PID]");
        settings.add_filter(r"\b\d{15,16}\b", "[TOKEN]");
        settings.add_filter(r#"("(?:age|ttl_left|believes)_ms": ?)\d+"#, "$1[MS]");
        // What a shell says of a child that was ended together with it, if it has the time.
        settings.add_filter(r"(?m)^(Terminated|Killed)\n", "");
        settings.set_omit_expression(true);
        settings
    }
}

fn regex_of(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_alphanumeric() || c == '/' { vec![c] } else { vec!['\\', c] }).collect()
}

/// The reading end of a FIFO.
pub(crate) struct Fifo {
    path: PathBuf,
    end: File,
    read: Vec<u8>,
}

impl Fifo {
    /// The next line that somebody writes.
    pub(crate) fn line(&mut self) -> String {
        loop {
            if let Some(at) = self.read.iter().position(|&b| b == b'\n') {
                let line: Vec<u8> = self.read.drain(..=at).collect();
                return String::from_utf8(line).unwrap().trim_end().to_owned();
            }
            self.fill();
        }
    }

    /// The next two lines, which may come in any order.
    pub(crate) fn two(&mut self) -> [String; 2] {
        let mut two = [self.line(), self.line()];
        two.sort();
        two
    }

    /// Lets whoever reads it go on.
    pub(crate) fn say(&self, line: &str) {
        let mut end = OpenOptions::new().write(true).open(&self.path).unwrap();
        writeln!(end, "{line}").unwrap();
    }

    fn fill(&mut self) {
        let mut events = [PollFd::new(self.end.as_fd(), PollFlags::POLLIN)];
        let bound = PollTimeout::try_from(BOUND).unwrap();
        assert_ne!(poll(&mut events, bound).unwrap(), 0, "nothing came through {}", self.path.display());
        let mut buffer = [0; 4096];
        let count = self.end.read(&mut buffer).unwrap();
        self.read.extend_from_slice(&buffer[..count]);
    }
}

/// A process that a test has started.
pub(crate) struct Running {
    child: Option<Child>,
}

/// What is left of one.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ended {
    pub(crate) fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| panic!("ended by a signal: {self:?}"))
    }

    /// All of it, for a snapshot.
    pub(crate) fn all(&self) -> String {
        format!("exit code {}\n--- stdout\n{}--- stderr\n{}", self.code(), self.out, self.err)
    }
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        Self { child: Some(command.spawn().unwrap()) }
    }

    pub(crate) fn pid(&self) -> Pid {
        let id = self.child.as_ref().expect("it has not been waited for").id();
        Pid::from_raw(i32::try_from(id).unwrap())
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    /// Waits until its stderr has this in it.
    pub(crate) fn says(&mut self, what: &str) {
        let stderr = self.child.as_mut().unwrap().stderr.as_mut().unwrap();
        let mut said = Vec::new();
        while !String::from_utf8_lossy(&said).contains(what) {
            let mut events = [PollFd::new(stderr.as_fd(), PollFlags::POLLIN)];
            let bound = PollTimeout::try_from(BOUND).unwrap();
            assert_ne!(poll(&mut events, bound).unwrap(), 0, "it says nothing more: {said:?}");
            let mut byte = [0];
            assert_ne!(stderr.read(&mut byte).unwrap(), 0, "it ended: {}", String::from_utf8_lossy(&said));
            said.push(byte[0]);
        }
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> Ended {
        let child = self.child.take().expect("it has not been waited for");
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || sender.send(child.wait_with_output()));
        let output = receiver.recv_timeout(BOUND).unwrap_or_else(|_| {
            // It is ours until it is waited for, so the number is its own.
            kill(pid, Signal::SIGKILL).unwrap();
            panic!("it did not end within {BOUND:?}")
        });
        let output = output.unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ended { status: output.status, out: text(output.stdout), err: text(output.stderr) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // Its guardian ends whatever it runs.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
