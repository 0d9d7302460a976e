//! What a URL says beyond which server.

use leasehold_core::url::EngineUrl;
use leasehold_core::{Error, ErrorKind, Result};

/// How many connections may wait in the server or hold what they have waited for, if nothing is said.
const WAITERS: usize = 8;

/// Which server, and how its locks are used.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// The server. Its database is where sessions begin, and of no meaning for locks; nor is its `listen`.
    pub server: crate::Config,
    /// How many connections may wait in the server or hold what they have waited for; more waiters look by themselves.
    pub waiters: usize,
}

impl Config {
    /// Locks in this server, with the defaults.
    pub fn new(server: crate::Config) -> Self {
        Self { server, waiters: WAITERS }
    }

    /// `mysql+getlock://USER:PASSWORD@HOST:PORT/DATABASE`, or `mariadb+getlock:` in its place. The options are `waiters`, and
    /// those of [`crate::Config::from_url`] but for `listen`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for what is not such a URL.
    pub fn from_url(mut url: EngineUrl) -> Result<Self> {
        let refuse = |message: String| Err(Error::new(ErrorKind::InvalidInput, "engine URL", message));
        let waiters = match url.take("waiters").map(|count| (count.parse(), count)) {
            None => WAITERS,
            Some((Ok(count @ 1..=1000), _)) => count,
            Some((_, said)) => {
                return refuse(format!("`waiters={said}` is no number of connections; write 1 to 1000"));
            }
        };
        if url.take("listen").is_some() {
            return refuse("`listen` is for `mysql://`; here the server's own queue wakes who waits".into());
        }
        Ok(Self { waiters, ..Self::new(crate::Config::from_url(url)?) })
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
        let config = parse("mysql+getlock://me@h/db?waiters=3&timeout=1s").unwrap();
        assert_eq!((config.waiters, config.server.place().as_str()), (3, "h:3306"));
        assert_eq!(parse("mariadb+getlock://me@h/db").unwrap().waiters, WAITERS);
    }

    #[test]
    fn bad_urls_say_what_to_do() {
        let said: Vec<String> = [
            "mysql+getlock://h/db",
            "mysql+getlock://me@h/db?waiters=0",
            "mysql+getlock://me@h/db?waiters=many",
            "mysql+getlock://me@h/db?listen=off",
            "mysql+getlock://me@h/db?wiaters=2",
        ]
        .iter()
        .map(|url| format!("{url}: {}", parse(url).unwrap_err()))
        .collect();
        insta::assert_debug_snapshot!(said);
    }
}
