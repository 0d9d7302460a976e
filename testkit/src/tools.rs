//! Where the programs are that `.ci/servers` installs.

use std::env;
use std::io;
use std::path::PathBuf;

pub(crate) fn missing(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::NotFound,
        format!("{what} is not installed: run .ci/servers at the top of the repository"),
    )
}

/// What `.ci/servers` keeps in the user's cache directory.
fn cache() -> PathBuf {
    let cache = env::var_os("XDG_CACHE_HOME").filter(|set| !set.is_empty()).map(PathBuf::from);
    let home = || PathBuf::from(env::var_os("HOME").unwrap_or_default());
    cache.unwrap_or_else(|| home().join(".cache")).join("leasehold")
}

/// A program of the system, or else the one in the cache.
pub(crate) fn program(name: &str) -> io::Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .map(|folder| folder.join(name))
        .chain(["valkey", "consul/usr/bin"].map(|folder| cache().join(folder).join(name)))
        .find(|file| file.is_file())
        .ok_or_else(|| missing(name))
}

/// A file of a package of npm's.
pub(crate) fn node_module(file: &str) -> io::Result<PathBuf> {
    let file = cache().join("node/node_modules").join(file);
    if file.is_file() { Ok(file) } else { Err(missing(&file.display().to_string())) }
}

/// A Python that knows the clients that we must exclude and be excluded by: redis-py and kazoo.
///
/// # Errors
/// If it is not installed; says how to.
pub fn python() -> io::Result<PathBuf> {
    let python = cache().join("python/bin/python");
    if python.is_file() { Ok(python) } else { Err(missing("the Python with redis-py and kazoo")) }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn python_knows_redis_py_and_kazoo() {
        let status =
            Command::new(python().unwrap()).args(["-c", "import redis.lock, kazoo.client"]).status().unwrap();
        assert!(status.success());
    }

    #[test]
    fn what_is_missing_can_be_installed() {
        let error = program("no-such-server").unwrap_err();
        assert_eq!(
            error.to_string(),
            "no-such-server is not installed: run .ci/servers at the top of the repository"
        );
    }
}
