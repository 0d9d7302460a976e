//! A process and all that it started: found through `/proc`, signalled one by one, reaped.
//!
//! Whoever uses this is a *subreaper*: a descendant whose parent dies becomes its child. So whatever a
//! process does (`setsid`, a double fork, closing every file), it stays below us, and when we have no child
//! left, nothing of the tree is left either. That, not any list, is the proof.

use std::fs;
use std::io::{self, ErrorKind};
use std::str::FromStr;

use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, kill_process, pidfd_open, pidfd_send_signal, set_child_subreaper,
};

use super::wire::Ending;

/// Makes orphaned descendants ours.
pub(crate) fn adopt_orphans() -> io::Result<()> {
    // The argument only says on or off.
    set_child_subreaper(Some(rustix::process::getpid()))?;
    Ok(())
}

/// A descendant and the parent under which it was found.
#[derive(Clone, Copy, Debug)]
struct Found {
    pid: Pid,
    parent: Pid,
}

/// Sends a signal to every descendant, parents before their children. Who is born meanwhile may be missed:
/// whoever must have all of them repeats this until [`reap`] says that none is left.
pub(crate) fn signal_all(signal: Signal) -> io::Result<()> {
    let me = rustix::process::getpid();
    let mut line = children(me)?;
    let mut next = 0;
    while let Some(&found) = line.get(next) {
        // Signalled before its children are looked up: a killed parent has no more of them.
        send(me, found, signal)?;
        line.extend(children(found.pid)?);
        next += 1;
    }
    Ok(())
}

/// Signals exactly the process that was found, never another that got its number since.
fn send(me: Pid, found: Found, signal: Signal) -> io::Result<()> {
    let sent = if found.parent == me {
        // The number of a child is its own until we reap it.
        kill_process(found.pid, signal)
    } else {
        match pidfd_open(found.pid, PidfdFlags::empty()) {
            // The handle is opened first: if the process behind the number is in our tree after that, the
            // handle's is.
            Ok(handle) => match parent_of(found.pid)? {
                Some(parent) if parent == found.parent || parent == me => pidfd_send_signal(handle, signal),
                _ => Ok(()),
            },
            Err(Errno::NOSYS) => kill_process(found.pid, signal),
            Err(e) => Err(e),
        }
    };
    match sent {
        // Gone already, or of another user: what we cannot signal we can only wait for.
        Ok(()) | Err(Errno::SRCH | Errno::PERM) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// What [`reap`] found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reaped {
    /// This child has ended.
    Child(Pid, Ending),
    /// No child has ended, but there are some.
    Nothing,
    /// There are no children, so there are no descendants.
    NoneLeft,
}

/// Takes the exit status of one child that has ended. Does not wait.
pub(crate) fn reap() -> io::Result<Reaped> {
    loop {
        return match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) => {
                let code = status.exit_status().map(|code| Ending::Exited(code.to_le_bytes()[0]));
                let signal =
                    status.terminating_signal().map(|signal| Ending::Killed(signal.to_le_bytes()[0]));
                match code.or(signal) {
                    Some(ending) => Ok(Reaped::Child(pid, ending)),
                    None => continue,
                }
            }
            Ok(None) => Ok(Reaped::Nothing),
            Err(Errno::CHILD) => Ok(Reaped::NoneLeft),
            Err(Errno::INTR) => continue,
            Err(e) => Err(e.into()),
        };
    }
}

/// The living children of a process; none if it is gone.
fn children(parent: Pid) -> io::Result<Vec<Found>> {
    let mut found = Vec::new();
    let parent_number = parent.as_raw_nonzero();
    let Some(tasks) = there(fs::read_dir(format!("/proc/{parent_number}/task")))? else { return Ok(found) };
    for task in tasks {
        let Some(task) = there(task)? else { continue };
        let list = match fs::read_to_string(task.path().join("children")) {
            Ok(list) => list,
            // A kernel without these files, unless it is only the thread that is gone.
            Err(e) if e.kind() == ErrorKind::NotFound && task.path().exists() => {
                return children_by_scan(parent);
            }
            Err(e) if gone(&e) => continue,
            Err(e) => return Err(e),
        };
        found.extend(list.split_ascii_whitespace().filter_map(pid).map(|pid| Found { pid, parent }));
    }
    Ok(found)
}

/// The same from the list of all processes.
fn children_by_scan(parent: Pid) -> io::Result<Vec<Found>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(pid) else { continue };
        if parent_of(pid)? == Some(parent) {
            found.push(Found { pid, parent });
        }
    }
    Ok(found)
}

/// Whose child a process is; `None` if it is gone.
fn parent_of(pid_asked: Pid) -> io::Result<Option<Pid>> {
    let Some(stat) = there(fs::read(format!("/proc/{}/stat", pid_asked.as_raw_nonzero())))? else {
        return Ok(None);
    };
    // `pid (name) state parent …`, where the name may itself hold spaces and brackets.
    let after_name = stat.iter().rposition(|&b| b == b')').map_or(&stat[..], |at| &stat[at + 1..]);
    let parent = String::from_utf8_lossy(after_name).split_ascii_whitespace().nth(1).and_then(pid);
    Ok(parent)
}

fn pid(text: &str) -> Option<Pid> {
    i32::from_str(text).ok().and_then(Pid::from_raw)
}

/// `None` if the process behind the file ended.
fn there<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(e) if gone(&e) => Ok(None),
        Err(e) => Err(e),
    }
}

fn gone(error: &io::Error) -> bool {
    error.kind() == ErrorKind::NotFound
        || error.kind() == ErrorKind::PermissionDenied
        || error.raw_os_error() == Some(Errno::SRCH.raw_os_error())
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn children_are_found_both_ways() {
        // The shell says when it has its child, and is then waiting for it.
        let mut shell = Command::new("sh")
            .args(["-c", "sleep 600 & echo $!; wait"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(shell.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let sleeper = pid(line.trim()).unwrap();
        let parent = Pid::from_child(&shell);
        let quick: Vec<Pid> = children(parent).unwrap().iter().map(|f| f.pid).collect();
        let slow: Vec<Pid> = children_by_scan(parent).unwrap().iter().map(|f| f.pid).collect();
        assert_eq!((quick, slow), (vec![sleeper], vec![sleeper]));
        assert_eq!(parent_of(sleeper).unwrap(), Some(parent));
        kill_process(sleeper, Signal::KILL).unwrap();
        shell.wait().unwrap();
        assert!(children(parent).unwrap().is_empty(), "a process that is gone has none");
        assert_eq!(parent_of(parent).unwrap(), None);
    }
}
