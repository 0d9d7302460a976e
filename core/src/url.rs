//! Engine URLs: `scheme:rest?option=value&option=value`.
//!
//! Not the URLs of browsers: `redlock://a,b,c` and `etcd://a:1,b:2` have several hosts, `sqlite:PATH` has none.

use std::time::Duration;

use percent_encoding::percent_decode_str;

use crate::error::{Error, ErrorKind, Result};

/// An engine URL in its parts. Options are taken out one by one; what is left at the end is unknown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineUrl {
    scheme: String,
    rest: String,
    raw: String,
    options: Vec<(String, String)>,
    asked: Vec<&'static str>,
}

fn refuse(message: String) -> Error {
    Error::new(ErrorKind::InvalidInput, "engine URL", message)
}

/// Decodes `%XX`.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] if that is no UTF-8.
pub fn decode(text: &str) -> Result<String> {
    percent_decode_str(text)
        .decode_utf8()
        .map(std::borrow::Cow::into_owned)
        .map_err(|_| refuse(format!("`{text}` in the engine URL does not decode to UTF-8")))
}

impl EngineUrl {
    /// Takes a URL apart.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if there is no scheme or an option has no value.
    pub fn parse(url: &str) -> Result<Self> {
        let Some((scheme, rest)) = url.split_once(':').filter(|(s, _)| !s.is_empty() && !s.contains('/'))
        else {
            return Err(refuse(format!(
                "`{url}` is not an engine URL; it starts with a scheme, as in `sqlite:/var/lib/locks.db`"
            )));
        };
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let options = query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| match pair.split_once('=') {
                Some((key, value)) => Ok((decode(key)?, decode(value)?)),
                None => Err(refuse(format!(
                    "the option `{pair}` in the engine URL has no value; write `{pair}=…`"
                ))),
            })
            .collect::<Result<_>>()?;
        let (scheme, raw) = (scheme.to_ascii_lowercase(), rest.to_owned());
        Ok(Self { scheme, rest: decode(rest)?, raw, options, asked: Vec::new() })
    }

    /// What is before the first colon, in lower case.
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// What is between the scheme and the options, decoded.
    pub fn rest(&self) -> &str {
        &self.rest
    }

    /// The same as it was written, for those who take it apart first: an encoded `@` in a password is not one.
    pub fn raw(&self) -> &str {
        &self.raw
    }

    /// Takes out the last value of an option.
    pub fn take(&mut self, option: &'static str) -> Option<String> {
        self.asked.push(option);
        let mut found = None;
        self.options.retain(|(key, value)| {
            let hit = key == option;
            if hit {
                found = Some(value.clone());
            }
            !hit
        });
        found
    }

    /// Refuses whatever has not been taken out, naming the nearest option there is.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] naming the first option left.
    pub fn done(self) -> Result<()> {
        let Some((unknown, _)) = self.options.first() else { return Ok(()) };
        let hint = suggestion(unknown, self.asked.iter().copied(), "it has no options");
        Err(refuse(format!("`{}:` has no option `{unknown}`; {hint}", self.scheme)))
    }
}

/// "did you mean X" if something is near, else what there is, else `none`.
pub fn suggestion<'a>(word: &str, known: impl IntoIterator<Item = &'a str>, none: &str) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    let near = known.iter().map(|k| (strsim::damerau_levenshtein(word, k), *k)).min();
    match near {
        Some((distance, k)) if distance <= 2.max(k.len() / 3) => format!("did you mean `{k}`?"),
        Some(_) => format!("there is `{}`", known.join("`, `")),
        None => none.to_owned(),
    }
}

/// Reads a duration as people write it: `30s`, `1.5s`, `500ms`, `2m`, `1h`.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] if it is not one, is negative, or has no unit.
pub fn parse_duration(text: &str) -> Result<Duration> {
    let bad = |why: &str| {
        Error::new(ErrorKind::InvalidInput, "duration", format!("`{text}` is not a duration: {why}"))
    };
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let seconds: f64 =
        number.trim().parse().map_err(|_| bad("write a number and a unit, as in `30s` or `500ms`"))?;
    if seconds < 0.0 {
        return Err(bad("it is negative"));
    }
    let scale = match unit {
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "" if seconds == 0.0 => 1.0,
        "" => return Err(bad("it has no unit; write `s`, `ms`, `m` or `h` behind the number")),
        _ => return Err(bad("its unit is not `ms`, `s`, `m` or `h`")),
    };
    Duration::try_from_secs_f64(seconds * scale).map_err(|_| bad("it is too long"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_come_apart() {
        let mut url = EngineUrl::parse("sqlite:/var/my%20locks.db?a=1&b=x%26y").unwrap();
        assert_eq!((url.scheme(), url.rest()), ("sqlite", "/var/my locks.db"));
        assert_eq!(url.take("b").as_deref(), Some("x&y"));
        assert_eq!(url.take("a").as_deref(), Some("1"));
        url.done().unwrap();
    }

    #[test]
    fn bad_urls_say_what_to_do() {
        let mut unknown = EngineUrl::parse("sqlite:/x?sycn=full").unwrap();
        unknown.take("sync");
        let said = [
            EngineUrl::parse("/var/locks.db").unwrap_err().to_string(),
            EngineUrl::parse("sqlite:/x?sync").unwrap_err().to_string(),
            unknown.done().unwrap_err().to_string(),
            suggestion("redsi", ["memory", "redis", "sqlite"], ""),
            suggestion("oracle", ["memory", "sqlite"], ""),
        ];
        insta::assert_debug_snapshot!(said);
    }

    #[test]
    fn durations() {
        assert_eq!(parse_duration("1.5s").unwrap(), Duration::from_millis(1500));
        assert_eq!(parse_duration("250ms").unwrap(), Duration::from_millis(250));
        assert_eq!(parse_duration("2m").unwrap(), Duration::from_secs(120));
        let said: Vec<String> = ["", "5", "-3s", "1d", "x", "9e99h"]
            .iter()
            .map(|t| parse_duration(t).unwrap_err().to_string())
            .collect();
        insta::assert_debug_snapshot!(said);
    }
}
