//! What a URL says beyond which database.

use leasehold_core::url::EngineUrl;
use leasehold_core::{Error, ErrorKind, Result};

use crate::advisory::Keys;

/// How many connections may wait in the server or hold what they have waited for, if nothing is said.
const WAITERS: usize = 8;

/// Which database, and how its advisory locks are used.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// The database. Its `listen` is of no meaning here.
    pub database: crate::Config,
    /// How names become keys.
    pub keys: Keys,
    /// How many connections may wait in the server or hold what they have waited for; more waiters look by themselves.
    pub waiters: usize,
}

impl Config {
    /// Locks in this database, with the defaults.
    pub fn new(database: crate::Config) -> Self {
        Self { database, keys: Keys::default(), waiters: WAITERS }
    }

    /// `postgres+advisory://USER:PASSWORD@HOST:PORT/DATABASE`. The options are `keys`, `waiters`, and those of
    /// [`crate::Config::from_url`] but for `listen`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for what is not such a URL.
    pub fn from_url(mut url: EngineUrl) -> Result<Self> {
        let refuse = |message: String| Err(Error::new(ErrorKind::InvalidInput, "engine URL", message));
        let keys = match url.take("keys").as_deref() {
            None | Some("sqlx") => Keys::Sqlx,
            Some("madelson") => Keys::Madelson,
            Some(other) => {
                return refuse(format!("`keys={other}` is neither `keys=sqlx` nor `keys=madelson`"));
            }
        };
        let waiters = match url.take("waiters").map(|count| (count.parse(), count)) {
            None => WAITERS,
            Some((Ok(count @ 1..=1000), _)) => count,
            Some((_, said)) => {
                return refuse(format!("`waiters={said}` is no number of connections; write 1 to 1000"));
            }
        };
        if url.take("listen").is_some() {
            return refuse(
                "`listen` is for `postgres://`; here the server's own queue wakes who waits".into(),
            );
        }
        Ok(Self { keys, waiters, ..Self::new(crate::Config::from_url(url)?) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Config> {
        Config::from_url(EngineUrl::parse(url).unwrap())
    }

    #[test]
    fn urls() {
        let config = parse("postgres+advisory://me@h/db?keys=madelson&waiters=3&timeout=1s").unwrap();
        assert_eq!((config.keys, config.waiters), (Keys::Madelson, 3));
        assert_eq!(config.database.place(), "h:5432");
        let config = parse("postgres+advisory://me@h/db").unwrap();
        assert_eq!((config.keys, config.waiters), (Keys::Sqlx, WAITERS));
    }

    #[test]
    fn bad_urls_say_what_to_do() {
        let said: Vec<String> = [
            "postgres+advisory://h/db",
            "postgres+advisory://me@h?keys=md5",
            "postgres+advisory://me@h?waiters=0",
            "postgres+advisory://me@h?waiters=many",
            "postgres+advisory://me@h?listen=off",
            "postgres+advisory://me@h?wiaters=2",
        ]
        .iter()
        .map(|url| format!("{url}: {}", parse(url).unwrap_err()))
        .collect();
        insta::assert_debug_snapshot!(said);
    }
}
