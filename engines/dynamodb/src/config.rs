//! Which table, where, as whom, and how a URL says so.

use std::env;
use std::fmt;
use std::time::Duration;

use leasehold_core::url::{EngineUrl, decode, parse_duration};
use leasehold_core::{Error, ErrorKind, Result};

/// How long a request and its repetitions may take before its outcome is unknown, unless the URL says otherwise.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(3);
/// How often those who wait look whether it is their turn, unless the URL says otherwise.
const POLL_DEFAULT: Duration = Duration::from_millis(200);
/// How much at least lies between two looks: more would cost more than it tells.
const POLL_MIN: Duration = Duration::from_millis(10);
/// Requests are signed for some region. A server of one's own does not look which.
const REGION_OF_OWN_SERVER: &str = "us-east-1";

/// Where the locks are kept.
#[derive(Clone)]
#[non_exhaustive]
pub struct Config {
    /// The table.
    pub table: String,
    /// The region, as in `eu-central-1`; by default that of `AWS_REGION` or `AWS_DEFAULT_REGION`.
    pub region: Option<String>,
    /// Where to send requests; by default to `AWS_ENDPOINT_URL_DYNAMODB`, `AWS_ENDPOINT_URL`, or AWS itself.
    pub endpoint: Option<String>,
    /// An access key and its secret; by default what the environment, the profile, the container or the machine says.
    pub login: Option<(String, String)>,
    /// The profile in `~/.aws`, instead of that of `AWS_PROFILE`.
    pub profile: Option<String>,
    /// How often those who wait look whether it is their turn.
    pub poll: Duration,
    /// How long a request and its repetitions may take before its outcome is unknown.
    pub timeout: Duration,
    /// After how long without use DynamoDB may delete the item of a lock, and with it the last token; never by default.
    pub forget: Option<Duration>,
    /// What the items look like.
    pub layout: Layout,
}

/// What the items of a table look like.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Layout {
    /// leasehold's own.
    #[default]
    Own,
    /// So that the lock client of AWS and python-dynamodb-lock keep ours out and are kept out.
    Aws,
}

fn refuse(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidInput, "engine URL", message)
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("table", &self.table)
            .field("region", &self.region)
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

impl Config {
    /// Locks in this table, with the defaults.
    pub fn new(table: impl Into<String>) -> Self {
        Self {
            table: table.into(),
            region: None,
            endpoint: None,
            login: None,
            profile: None,
            poll: POLL_DEFAULT,
            timeout: TIMEOUT_DEFAULT,
            forget: None,
            layout: Layout::Own,
        }
    }

    /// `dynamodb://[KEY:SECRET@]TABLE`. Options: `region`, `endpoint`, `profile`, `poll`, `timeout`, `forget`, `layout`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for whatever does not fit, and what would.
    pub fn from_url(mut url: EngineUrl) -> Result<Self> {
        let (table, login) = parts(&url)?;
        let mut config = Self::new(table);
        config.login = login;
        config.region = url.take("region").filter(|region| !region.is_empty());
        config.endpoint = url.take("endpoint").map(endpoint).transpose()?;
        config.profile = url.take("profile");
        if config.profile.is_some() && config.login.is_some() {
            return Err(refuse("`profile` and a key in the URL are two users; leave one of them out"));
        }
        if let Some(poll) = url.take("poll") {
            config.poll = parse_duration(&poll)?;
            if config.poll < POLL_MIN {
                return Err(refuse(format!("`poll={poll}` is under {POLL_MIN:?}; every look is a request")));
            }
        }
        if let Some(timeout) = url.take("timeout") {
            config.timeout = parse_duration(&timeout)?;
            if config.timeout.is_zero() {
                return Err(refuse("a `timeout` of zero leaves no time for an answer; write `timeout=3s`"));
            }
        }
        if let Some(forget) = url.take("forget") {
            let span = parse_duration(&forget)?;
            if span < crate::engine::FORGET_MIN {
                return Err(refuse(format!(
                    "`forget={forget}` could end before a lock that is held; write at least `forget=48h`"
                )));
            }
            config.forget = Some(span);
        }
        config.layout = match url.take("layout").as_deref() {
            None => Layout::Own,
            Some("aws") if config.forget.is_some() => {
                return Err(refuse("with `layout=aws` items are never deleted; leave `forget` out"));
            }
            Some("aws") => Layout::Aws,
            Some(other) => {
                return Err(refuse(format!(
                    "there is no `layout={other}`; write `layout=aws` for the items of AWS's lock client, or leave it out"
                )));
            }
        };
        url.done()?;
        Ok(config)
    }

    /// Where requests go and for which region they are signed.
    pub(crate) fn place(&self) -> Result<Place> {
        let variable = |name| env::var(name).ok().filter(|value| !value.is_empty());
        let endpoint = match &self.endpoint {
            Some(set) => Some(set.clone()),
            None => variable("AWS_ENDPOINT_URL_DYNAMODB")
                .or_else(|| variable("AWS_ENDPOINT_URL"))
                .map(endpoint)
                .transpose()?,
        };
        let region = self.region.clone().or_else(|| variable("AWS_REGION"));
        let region = region.or_else(|| variable("AWS_DEFAULT_REGION"));
        match (endpoint, region) {
            (Some(endpoint), region) => {
                Ok(Place { endpoint, region: region.unwrap_or_else(|| REGION_OF_OWN_SERVER.to_owned()) })
            }
            (None, Some(region)) => {
                if region.is_empty() || !region.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
                    return Err(refuse(format!("`{region}` is not a region of AWS, as `eu-central-1` is")));
                }
                let domain = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
                Ok(Place { endpoint: format!("https://dynamodb.{region}.{domain}/"), region })
            }
            (None, None) => Err(refuse(format!(
                "it does not say in which region the table is; write `dynamodb://{}?region=eu-central-1`, or set AWS_REGION",
                self.table
            ))),
        }
    }
}

/// Where requests go, and what for.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) endpoint: String,
    pub(crate) region: String,
}

/// Takes `//[KEY:SECRET@]TABLE` apart.
fn parts(url: &EngineUrl) -> Result<(String, Option<(String, String)>)> {
    let raw = url.raw();
    let rest = raw
        .strip_prefix("//")
        .ok_or_else(|| refuse(format!("`dynamodb:{raw}` names no table; write `dynamodb://TABLE`")))?;
    let (login, table) = match rest.rsplit_once('@') {
        Some((login, table)) => (Some(login), table),
        None => (None, rest),
    };
    let table = decode(table.trim_end_matches('/'))?;
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
    if !(3..=255).contains(&table.len()) || !table.bytes().all(fits) {
        return Err(refuse(format!(
            "`{table}` is not the name of a table: 3 to 255 letters, digits, `_`, `.` or `-`; where it is, is said by \
             `?region=` or `?endpoint=`"
        )));
    }
    let login = match login.map(|login| login.split_once(':')) {
        None => None,
        Some(Some((key, secret))) if !key.is_empty() && !secret.is_empty() => {
            Some((decode(key)?, decode(secret)?))
        }
        Some(_) => return Err(refuse("before the `@` stand an access key, a colon and its secret")),
    };
    Ok((table, login))
}

fn endpoint(text: String) -> Result<String> {
    let bad =
        || refuse(format!("`{text}` is not where a server is; write `http://localhost:8000` or `https://…`"));
    let uri: hyper::Uri = text.parse().map_err(|_| bad())?;
    match (uri.scheme_str(), uri.host(), uri.path_and_query().map(|path| path.as_str())) {
        (Some(scheme @ ("http" | "https")), Some(host), None | Some("/" | "")) if !host.is_empty() => {
            Ok(format!("{scheme}://{}/", uri.authority().ok_or_else(bad)?))
        }
        _ => Err(bad()),
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
        let config = parse("dynamodb://locks?region=eu-central-1&poll=1s&timeout=500ms&forget=90h").unwrap();
        assert_eq!((config.table.as_str(), config.poll), ("locks", Duration::from_secs(1)));
        assert_eq!(config.timeout, Duration::from_millis(500));
        assert_eq!(config.forget, Some(Duration::from_secs(90 * 3600)));
        let config = parse("dynamodb://key:s%40me@locks?endpoint=http://localhost:8000").unwrap();
        assert_eq!(config.login, Some(("key".into(), "s@me".into())));
        assert_eq!(config.place().unwrap().endpoint, "http://localhost:8000/");
        assert!(!format!("{config:?}").contains("s@me"), "secrets are not printed");
        let config = parse("dynamodb://locks?endpoint=https://h&region=cn-north-1").unwrap();
        assert_eq!(config.place().unwrap().region, "cn-north-1");
    }

    #[test]
    fn bad_urls_say_what_to_do() {
        let said: Vec<String> = [
            "dynamodb:locks",
            "dynamodb://",
            "dynamodb://localhost:8000",
            "dynamodb://key@locks",
            "dynamodb://key:secret@locks?profile=me",
            "dynamodb://locks?reigon=x",
            "dynamodb://locks?endpoint=localhost:8000",
            "dynamodb://locks?endpoint=http://h/path",
            "dynamodb://locks?poll=1ms",
            "dynamodb://locks?timeout=0s",
            "dynamodb://locks?forget=1h",
            "dynamodb://locks?layout=java",
            "dynamodb://locks?layout=aws&forget=90h",
        ]
        .iter()
        .map(|url| format!("{url}: {}", parse(url).unwrap_err()))
        .collect();
        insta::assert_debug_snapshot!(said);
    }
}
