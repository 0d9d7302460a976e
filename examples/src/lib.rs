//! What the examples share: their arguments, a shop in a SQLite file, and other processes of the same program.
//!
//! Each program prints what happens without the lock and with it. By default the locks are in a file of its own; give it
//! `--engine redis://localhost` or any other engine's URL to have them there.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use leasehold::Client;
use leasehold_fence::sql::{Dialect, Table, schema};
use rusqlite::Connection;
use tempfile::TempDir;

/// What an example may come to.
pub type Outcome<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Where the example's data and, unless `--engine` says otherwise, its locks are.
#[derive(Debug)]
pub struct Stage {
    folder: TempDir,
    engine: String,
}

impl Stage {
    /// From the arguments of the program.
    ///
    /// # Errors
    /// If there are others than `--engine URL`.
    pub fn new() -> Outcome<Self> {
        let folder = tempfile::Builder::new().prefix("leasehold-").tempdir()?;
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let engine = match &arguments[..] {
            [] => format!("sqlite:{}", folder.path().join("locks.db").display()),
            [flag, url] if flag == "--engine" => url.clone(),
            other => return Err(format!("unknown arguments {other:?}; give --engine URL, or none").into()),
        };
        Ok(Self { folder, engine })
    }

    /// The URL of the engine.
    pub fn engine(&self) -> &str {
        &self.engine
    }

    /// A path for a file of the example's.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A client of the engine.
    ///
    /// # Errors
    /// Whatever the engine says.
    pub async fn locks(&self) -> Outcome<Client> {
        Ok(leasehold::connect(&self.engine).await?)
    }
}

/// A lock's name that no other run of the example uses.
pub fn unique(name: &str) -> String {
    format!("example/{}/{name}", std::process::id())
}

/// A database with a table of marks.
///
/// # Errors
/// Whatever SQLite says.
pub fn database(file: &Path, tables: &str) -> Outcome<Connection> {
    let connection = reopen(file)?;
    connection.execute_batch("PRAGMA journal_mode = WAL")?;
    connection.execute_batch(&schema::table(Dialect::Sqlite, &Table::new()))?;
    connection.execute_batch(tables)?;
    Ok(connection)
}

/// The same database, from another process.
///
/// # Errors
/// Whatever SQLite says.
pub fn reopen(file: &Path) -> Outcome<Connection> {
    let connection = Connection::open(file)?;
    connection.busy_timeout(Duration::from_secs(30))?;
    Ok(connection)
}

/// Another process of this program, which is told to go on by a line and says what it did in one.
#[derive(Debug)]
pub struct Actor {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Actor {
    /// Starts one with these arguments.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(arguments: &[&str]) -> Outcome<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        let mut child = command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (to, from) = (child.stdin.take().ok_or("no input")?, child.stdout.take().ok_or("no output")?);
        Ok(Self { child, to, from: BufReader::new(from) })
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// If it has ended.
    pub fn go_on(&mut self) -> Outcome {
        Ok(self.to.write_all(b"\n").and_then(|()| self.to.flush())?)
    }

    /// What it says next.
    ///
    /// # Errors
    /// If it has ended without a word.
    pub fn says(&mut self) -> Outcome<String> {
        let mut line = String::new();
        if self.from.read_line(&mut line)? == 0 {
            return Err("an actor ended without a word".into());
        }
        Ok(line.trim_end().to_owned())
    }

    /// Its process id.
    pub fn pid(&self) -> nix::unistd::Pid {
        nix::unistd::Pid::from_raw(self.child.id().cast_signed())
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        // It may have ended, and that is well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// For an actor: waits until it is told to go on.
///
/// # Errors
/// If nobody will.
pub fn wait_for_cue() -> Outcome {
    if std::io::stdin().lock().read_line(&mut String::new())? == 0 {
        return Err("the stage is gone".into());
    }
    Ok(())
}

/// Work that takes a while.
pub fn work(span: Duration) {
    std::thread::sleep(span);
}

/// Says it to whoever reads: a person, a test, or the stage.
#[expect(clippy::print_stdout, reason = "it is what the examples are for")]
pub fn say(line: impl std::fmt::Display) {
    println!("{line}");
}
