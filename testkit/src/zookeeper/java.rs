//! Programs in Java: the clients that we must exclude and be excluded by, and what else only Java can do.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::{scratch, tools};

/// What a server needs: itself (which names most of the rest), a log, and what TLS needs besides.
pub(super) const SERVER: [&str; 4] = ["zookeeper", "slf4j-simple", "netty-codec", "netty-resolver"];

/// What a client needs.
const CLIENT: [&str; 3] = ["curator-recipes", "slf4j-simple", "zookeeper"];

/// Where Debian puts libraries.
const JARS: &str = "/usr/share/java";

/// The paths of these libraries.
pub(super) fn class_path(names: &[&str]) -> io::Result<String> {
    let paths: Vec<_> = names.iter().map(|name| Path::new(JARS).join(format!("{name}.jar"))).collect();
    match paths.iter().find(|path| !path.is_file()) {
        Some(missing) => Err(tools::missing(&missing.display().to_string())),
        None => Ok(paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(":")),
    }
}

/// Programs that have been compiled.
#[derive(Debug)]
pub struct Java {
    folder: TempDir,
}

impl Java {
    /// A program that runs Curator's locks as it is told by lines: see its text.
    pub const CURATOR: (&str, &str) = ("Curator", include_str!("programs/Curator.java"));

    /// A program that sets how many children a node has had, in the data of a server that is stopped.
    pub const COUNTER: (&str, &str) = ("Counter", include_str!("programs/Counter.java"));

    /// Compiles these sources, each `(name of the class, text)`.
    ///
    /// # Errors
    /// If there is no compiler, or it finds fault with them.
    pub fn compile(sources: &[(&str, &str)]) -> io::Result<Self> {
        let folder = scratch()?;
        let mut compiler = Command::new(tools::program("javac")?);
        compiler.args(["-nowarn", "-cp", &class_path(&CLIENT)?]).current_dir(&folder);
        for (class, text) in sources {
            let file = format!("{class}.java");
            fs::write(folder.path().join(&file), text)?;
            compiler.arg(file);
        }
        let output = compiler.output()?;
        if !output.status.success() {
            return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()));
        }
        Ok(Self { folder })
    }

    /// The command that runs a class: a program and its arguments, for more to follow.
    ///
    /// # Errors
    /// If Java is not installed; says how to.
    pub fn command(&self, class: &str) -> io::Result<(std::path::PathBuf, Vec<String>)> {
        let class_path = format!("{}:{}", class_path(&CLIENT)?, self.folder.path().display());
        let words = ["-Xmx64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"].map(str::to_owned);
        let log = ["-Dorg.slf4j.simpleLogger.defaultLogLevel=error".to_owned(), "-cp".to_owned()];
        let rest = [class_path, class.to_owned()];
        Ok((tools::program("java")?, words.into_iter().chain(log).chain(rest).collect()))
    }
}
