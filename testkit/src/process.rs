//! Signals to a process of ours, and processes that end with this one.

use std::io;
use std::process::{Child, Command};
use std::sync::{LazyLock, mpsc};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// The id of a child.
pub(crate) fn pid(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).expect("process ids fit into an i32"))
}

/// Pauses a child, and returns once it stands still.
pub(crate) fn pause(pid: Pid) -> io::Result<()> {
    kill(pid, Signal::SIGSTOP)?;
    match waitpid(pid, Some(WaitPidFlag::WUNTRACED))? {
        WaitStatus::Stopped(..) => Ok(()),
        other => Err(io::Error::other(format!("process {pid} did not stop: {other:?}"))),
    }
}

/// Lets a paused process go on.
pub(crate) fn resume(pid: Pid) -> io::Result<()> {
    Ok(kill(pid, Signal::SIGCONT)?)
}

/// Lets this process and those that it starts open as many files as the system allows: who is no administrator begins with
/// 1,024, with which Consul does not start.
pub(crate) fn allow_many_files() -> io::Result<()> {
    let (now, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if now < most {
        setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    }
    Ok(())
}

type Job = Box<dyn FnOnce() + Send>;

/// A thread that lasts as long as the process: the kernel counts the *thread* that started a child as its parent,
/// and a test's own thread ends before others have done with a server that they share.
static PARENT: LazyLock<mpsc::Sender<Job>> = LazyLock::new(|| {
    let (sender, jobs) = mpsc::channel::<Job>();
    std::thread::Builder::new()
        .name("parent of servers".into())
        .spawn(move || jobs.into_iter().for_each(|job| job()))
        .expect("a thread can be started");
    sender
});

/// Starts a command that the kernel kills as soon as this process ends, in whatever way. It must run its program
/// through [`mortal`].
pub(crate) fn spawn(mut command: Command) -> io::Result<Child> {
    let (tell, told) = mpsc::sync_channel(1);
    PARENT
        .send(Box::new(move || drop(tell.send(command.spawn()))))
        .map_err(|_| io::Error::other("the thread that starts servers has ended"))?;
    told.recv().map_err(io::Error::other)?
}

/// A command for `program` that can be given to [`spawn`].
pub(crate) fn mortal(program: &std::path::Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}
