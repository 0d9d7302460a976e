//! A wall clock for one server, that can be shifted while the server runs.
//!
//! The library that shifts it is our own 50 lines, compiled when needed: libfaketime hangs in servers that allocate
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
    shift: File,
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
        let clock = Self { folder: folder.to_owned(), shift: File::create(folder.join("clock"))? };
        clock.set(0)?;
        Ok(clock)
    }

    /// Gives it to the program of this command.
    pub(crate) fn give_to(&self, command: &mut Command) {
        command
            .env("LD_PRELOAD", self.folder.join("clock.so"))
            .env("LEASEHOLD_CLOCK", self.folder.join("clock"));
    }

    /// So many nanoseconds ahead of the machine's. In one write, for the server reads at any time.
    pub(crate) fn set(&self, nanos: i64) -> io::Result<()> {
        self.shift.write_all_at(&nanos.to_ne_bytes(), 0)
    }
}
