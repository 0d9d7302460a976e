//! An engine, and who runs beside it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use leasehold_bench::{Entrant, Load, Ours, Site, floor, peers};
use leasehold_core::engine::Reach;
use leasehold_core::url::EngineUrl;
use leasehold_core::{Engine, Env, Error, ErrorKind, Result};
use tempfile::TempDir;

/// An engine, and a folder for what the others need.
#[derive(Debug)]
pub(crate) struct Contest {
    engine: Arc<dyn Engine>,
    url: String,
    /// Beside the engine's own file, if it has one, so that all use the same disk.
    scratch: TempDir,
    env: Env,
}

impl Contest {
    /// Opens the engine of this URL.
    pub(crate) async fn open(url: &str, env: &Env) -> Result<Self> {
        let parsed = EngineUrl::parse(url)?;
        let file = Some(Path::new(parsed.rest())).filter(|path| path.is_absolute());
        let beside = file.and_then(Path::parent).filter(|_| parsed.scheme() == "sqlite");
        let scratch = beside.map_or_else(TempDir::new, TempDir::new_in).map_err(|e| {
            let place = beside.map_or_else(std::env::temp_dir, PathBuf::from);
            let message = format!("no folder could be made in `{}`", place.display());
            Error::new(ErrorKind::InvalidInput, "bench", message).with_source(e)
        })?;
        // A benchmark has no business among the locks of the default place.
        let url = if url == "sqlite:" {
            format!("sqlite:{}", scratch.path().join("leasehold.db").display())
        } else {
            url.to_owned()
        };
        Ok(Self { engine: leasehold::open(&url).await?, url, scratch, env: env.clone() })
    }

    /// The engine's name.
    pub(crate) fn engine(&self) -> &'static str {
        self.engine.info().engine
    }

    /// Who can share the engine's locks.
    pub(crate) fn reach(&self) -> Reach {
        self.engine.info().reach
    }

    /// How another process opens the engine.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Where the others have their files.
    pub(crate) fn place(&self) -> &Path {
        self.scratch.path()
    }

    /// The clock and the randomness.
    pub(crate) fn env(&self) -> &Env {
        &self.env
    }

    /// Where the others work.
    pub(crate) fn site(&self) -> Site<'_> {
        Site { url: &self.url, folder: self.place(), env: &self.env }
    }

    /// Who runs a load: ours, the floor, the peers.
    pub(crate) fn entrants(&self, load: &Load) -> Result<Vec<Entrant>> {
        let mut entrants = vec![Ours::entrant(Arc::clone(&self.engine), &self.env)];
        entrants.extend(floor::of(&self.site(), load.case)?);
        entrants.extend(peers::of(&self.site(), load.case)?);
        Ok(entrants)
    }
}
