//! Where the database is, and how a URL says so.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use leasehold_core::url::EngineUrl;
use leasehold_core::{Error, ErrorKind, Result};

/// Where the locks are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// The database file. It is made if it is missing; its folder must be there, but for the default one.
    pub path: PathBuf,
    /// Whether a missing folder is made, for this user alone: so for the default place.
    make_folder: bool,
    /// What to take as this machine's boot id, for tests of restarts.
    #[doc(hidden)]
    pub boot_id: Option<String>,
}

fn refuse(message: String) -> Error {
    Error::new(ErrorKind::InvalidInput, "engine URL", message)
}

impl Config {
    /// Locks in this file.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), make_folder: false, boot_id: None }
    }

    /// Locks of this user, in [`Config::default_path`].
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if the environment does not say where this user's files are.
    pub fn of_user() -> Result<Self> {
        Ok(Self { path: Self::default_path()?, make_folder: true, boot_id: None })
    }

    /// `sqlite:PATH`; `sqlite:` alone is [`Config::of_user`].
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if the URL has options, of which there are none, or looks as if it meant a
    /// host.
    pub fn from_url(url: EngineUrl) -> Result<Self> {
        let path = url.rest().to_owned();
        url.done()?;
        if path.is_empty() {
            return Self::of_user();
        }
        if path.starts_with("//") && !path.starts_with("///") {
            let file = path.trim_start_matches('/');
            return Err(refuse(format!(
                "`sqlite:{path}` names a host, and a SQLite file has none; write `sqlite:/{file}` or \
                 `sqlite:{file}`"
            )));
        }
        Ok(Self::new(path))
    }

    /// `$XDG_STATE_HOME/leasehold/locks.db`, by default in `~/.local/state`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if neither `XDG_STATE_HOME` nor `HOME` is set to an absolute path.
    pub fn default_path() -> Result<PathBuf> {
        default_path(std::env::var_os("XDG_STATE_HOME"), std::env::var_os("HOME"))
    }

    pub(crate) fn makes_folder(&self) -> bool {
        self.make_folder
    }
}

fn default_path(state: Option<OsString>, home: Option<OsString>) -> Result<PathBuf> {
    // The base directory specification says that a relative one is to be ignored.
    let absolute = |dir: Option<OsString>| dir.map(PathBuf::from).filter(|dir| dir.is_absolute());
    absolute(state)
        .or_else(|| absolute(home).map(|home| home.join(".local/state")))
        .map(|state| state.join(Path::new("leasehold/locks.db")))
        .ok_or_else(|| {
            refuse(
                "neither `XDG_STATE_HOME` nor `HOME` is set to an absolute path, so there is no default place \
                 for the locks; say where they are, as in `sqlite:/var/lib/locks.db`"
                    .into(),
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(url: &str) -> PathBuf {
        Config::from_url(EngineUrl::parse(url).unwrap()).unwrap().path
    }

    #[test]
    fn urls_name_files() {
        assert_eq!(path("sqlite:/a/b.db"), Path::new("/a/b.db"));
        assert_eq!(path("sqlite:b%20c.db"), Path::new("b c.db"));
        assert_eq!(path("sqlite:///a/b.db"), Path::new("/a/b.db"));
    }

    #[test]
    fn the_default_place_is_the_users_state_directory() {
        let place = |state: &str, home: &str| default_path(Some(state.into()), Some(home.into())).unwrap();
        assert_eq!(place("/s", "/h"), Path::new("/s/leasehold/locks.db"));
        assert_eq!(place("", "/h"), Path::new("/h/.local/state/leasehold/locks.db"));
        assert_eq!(place("relative", "/h"), Path::new("/h/.local/state/leasehold/locks.db"));
    }

    #[test]
    fn refusals_say_what_to_do() {
        let refused = |url: &str| Config::from_url(EngineUrl::parse(url).unwrap()).unwrap_err().to_string();
        let said = [
            refused("sqlite:/x.db?sync=full"),
            refused("sqlite://x.db"),
            default_path(None, Some("".into())).unwrap_err().to_string(),
        ];
        insta::assert_debug_snapshot!(said);
    }
}
