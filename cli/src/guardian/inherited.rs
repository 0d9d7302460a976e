//! Pipe ends that a process leaves open for the one it starts.
//!
//! The command, which the guardian starts in turn, must not get them; and a number is not a descriptor that
//! one owns. So the guardian opens the pipe anew through `/proc`, which gives it an end of its own that
//! closes on exec, and closes the number.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

/// A copy of a descriptor that stays open in the programs that are started while it lives.
#[derive(Debug)]
pub(crate) struct LeftOpen(OwnedFd);

impl LeftOpen {
    /// Copies it.
    pub(crate) fn copy(of: impl AsFd) -> io::Result<Self> {
        Ok(Self(nix::unistd::dup(of)?))
    }

    /// The number under which the started program finds it.
    pub(crate) fn number(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// The reading end of the pipe that was left open under this number, which is closed.
pub(crate) fn reader(number: RawFd) -> io::Result<File> {
    taken(number, OpenOptions::new().read(true))
}

/// The writing end of the pipe that was left open under this number, which is closed.
pub(crate) fn writer(number: RawFd) -> io::Result<File> {
    taken(number, OpenOptions::new().write(true))
}

fn taken(number: RawFd, how: &OpenOptions) -> io::Result<File> {
    let end = how.open(format!("/proc/self/fd/{number}"))?;
    nix::unistd::close(number)?;
    Ok(end)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn a_taken_end_is_the_only_one() {
        let (read, write) = io::pipe().unwrap();
        let (read_copy, write_copy) = (LeftOpen::copy(&read).unwrap(), LeftOpen::copy(&write).unwrap());
        let (read_number, write_number) = (read_copy.number(), write_copy.number());
        drop((read, write));
        // As if in the started program, where nobody owns the numbers.
        std::mem::forget((read_copy, write_copy));
        let (mut reader, mut writer) = (reader(read_number).unwrap(), writer(write_number).unwrap());
        writer.write_all(b"hello").unwrap();
        drop(writer);
        let mut all = String::new();
        reader.read_to_string(&mut all).unwrap();
        assert_eq!(all, "hello", "and the end of it was seen, so no other writer is open");
    }
}
