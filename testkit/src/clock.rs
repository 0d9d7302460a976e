//! A wall clock for one server, that can be shifted and stopped while the server runs.
//!
//! The library that does it is our own 60 lines, compiled when needed: libfaketime hangs in servers that allocate
//! by jemalloc, and the way around that (the allocator of libc) breaks Valkey.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::tools;

const SOURCE: &str = include_str!("clock.c");

/// The clock of one server; its files are in the server's folder.
#[derive(Debug)]
pub(crate) struct FakeClock {
    folder: PathBuf,
    setting: File,
}

impl FakeClock {
    /// Makes what the server needs into its folder.
    pub(crate) fn make(folder: &Path) -> io::Result<Self> {
        fs::write(folder.join("clock.c"), SOURCE)?;
        let mut compiler = Command::new(tools::program("cc")?);
        compiler
            .current_dir(folder)
            .args(["-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-o", "clock.so", "clock.c"]);
        let output = compiler.output()?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(io::Error::other(format!("cannot compile the library that shifts clocks: {said}")));
        }
        let clock = Self { folder: folder.to_owned(), setting: File::create(folder.join("clock"))? };
        clock.goes(0)?;
        Ok(clock)
    }

    /// Gives it to the program of this command.
    pub(crate) fn give_to(&self, command: &mut Command) {
        command
            .env("LD_PRELOAD", self.folder.join("clock.so"))
            .env("LEASEHOLD_CLOCK", self.folder.join("clock"));
    }

    /// It goes on, so many nanoseconds ahead of the machine's.
    pub(crate) fn goes(&self, ahead: i64) -> io::Result<()> {
        self.set(ahead, 0)
    }

    /// It stands still, so many nanoseconds after 1970.
    pub(crate) fn stands(&self, at: i64) -> io::Result<()> {
        self.set(0, at)
    }

    /// In one write, for the server reads at any time.
    fn set(&self, ahead: i64, stands_at: i64) -> io::Result<()> {
        let bytes: Vec<u8> = [ahead, stands_at].iter().flat_map(|n| n.to_ne_bytes()).collect();
        self.setting.write_all_at(&bytes, 0)
    }
}
