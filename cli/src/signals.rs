//! Signals as events. They are blocked and read from a descriptor, so that none ends us before the command
//! has ended, and each says where it came from.

use std::fs;
use std::io;
use std::pin::pin;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use tokio::io::unix::AsyncFd;

/// What is passed on to the command. What stops and continues a job works by itself, and the rest is about
/// us.
pub(crate) const FORWARDED: [Signal; 8] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGALRM,
    Signal::SIGTERM,
    Signal::SIGWINCH,
];

/// The kernel itself sent it (`SI_KERNEL`).
const FROM_KERNEL: i32 = 0x80;

/// A signal that came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Came {
    /// Which.
    pub(crate) number: u8,
    /// Whether a terminal sent it: then all of its foreground processes have got it, the command among them.
    pub(crate) from_terminal: bool,
}

/// Blocked signals. Block them before any thread is started: each thread has a mask of its own.
#[derive(Debug)]
pub(crate) struct Blocked(SigSet);

impl Blocked {
    /// Blocks what is forwarded, except what we were told to ignore, as `nohup` does.
    pub(crate) fn new() -> io::Result<Self> {
        let ignored = ignored(&fs::read_to_string("/proc/self/status")?);
        let set = SigSet::from_iter(FORWARDED.into_iter().filter(|&s| ignored & (1 << (s as u32 - 1)) == 0));
        set.thread_block()?;
        Ok(Self(set))
    }

    /// Where they can be read; inside a runtime.
    #[expect(
        deprecated,
        reason = "the successor is unsafe, and asks for what a SignalFd does: to own its descriptor"
    )]
    pub(crate) fn listen(&self) -> io::Result<Signals> {
        let fd = SignalFd::with_flags(&self.0, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        Ok(Signals(AsyncFd::new(fd)?))
    }
}

/// The mask of ignored signals in the words of `/proc/PID/status`.
fn ignored(status: &str) -> u64 {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

/// The stream of signals that come.
#[derive(Debug)]
pub(crate) struct Signals(AsyncFd<SignalFd>);

impl Signals {
    /// The next one. May be dropped at any time.
    pub(crate) async fn next(&self) -> io::Result<Came> {
        loop {
            let mut ready = self.0.readable().await?;
            match ready.get_inner().read_signal()? {
                Some(info) => {
                    let number = info.ssi_signo.to_le_bytes()[0];
                    return Ok(Came { number, from_terminal: info.ssi_code == FROM_KERNEL });
                }
                None => ready.clear_ready(),
            }
        }
    }
}

/// What came first: an end, or a signal that asks for one.
pub(crate) enum Either<T> {
    Done(T),
    Interrupted(u8),
}

impl Signals {
    /// Goes on with the work until it is done or a signal comes that would end a process with no handlers.
    pub(crate) async fn or<T>(&self, work: impl Future<Output = T>) -> io::Result<Either<T>> {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return Ok(Either::Done(done)),
                came = self.next() => {
                    let number = came?.number;
                    if i32::from(number) != Signal::SIGWINCH as i32 {
                        return Ok(Either::Interrupted(number));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nohup_ignores_is_known() {
        assert_eq!(ignored("Name:\tx\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\n"), 0x1001);
        assert_eq!(ignored("Name:\tx\n"), 0);
    }
}
