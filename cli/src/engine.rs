//! Which engine is meant, and how a command reaches it.

use std::path::PathBuf;

use leasehold::sqlite::Config;
use leasehold::url::EngineUrl;
use leasehold::{Client, Guarantee, Reach};

use crate::exit::Failure;
use crate::output;

/// A runtime for one command: one thread, for starting more would cost more than most commands do.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::internal("runtime"))
}

/// Who we are in a queue: the same as a client calls itself, but known to us.
pub(crate) fn owner() -> String {
    let host = nix::unistd::gethostname().ok().and_then(|host| host.into_string().ok());
    format!("{}:{}", host.as_deref().unwrap_or("?"), std::process::id())
}

/// Connects to an engine that other processes can share: a command is a process of its own.
pub(crate) async fn connect(url: &str) -> Result<Client, Failure> {
    let client = leasehold::connect(url).owner(&owner()).require([Guarantee::Reach(Reach::Host)]).await?;
    for warning in &client.info().warnings {
        output::warning(warning);
    }
    Ok(client)
}

/// The same engine for a process that may stand in another directory or call another one its home.
pub(crate) fn absolute(url: &str) -> String {
    let place = || -> Option<PathBuf> {
        let parts =
            EngineUrl::parse(url).ok().filter(|parts| parts.scheme() == "sqlite" && !url.contains('?'))?;
        std::path::absolute(Config::from_url(parts).ok()?.path).ok()
    };
    match place() {
        Some(path) => format!("sqlite:{}", path.to_string_lossy().replace('%', "%25").replace('?', "%3F")),
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_are_completed() {
        let here = std::env::current_dir().unwrap();
        assert_eq!(absolute("sqlite:a%20b/c.db"), format!("sqlite:{}/a b/c.db", here.display()));
        for same in ["sqlite:/x.db", "sqlite:/a%25b.db", "redis://h/0"] {
            assert_eq!(absolute(same), same);
        }
    }
}
