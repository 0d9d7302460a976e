//! What is to be done: which work, by how many, for how long.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use leasehold_core::client::TTL_DEFAULT;
use leasehold_core::url::suggestion;
use leasehold_core::{Error, ErrorKind, Result};

/// How many locks the renewal case holds unless told otherwise.
const RENEW_LOCKS: usize = 10_000;
/// How long a row measures unless told otherwise.
const SPAN_DEFAULT: Duration = Duration::from_secs(2);
/// The longest that a row may measure.
const SPAN_MAX: Duration = Duration::from_secs(3600);
/// How many tasks or locks a row may have: a queue takes no more claims.
const TASKS: RangeInclusive<usize> = 1..=10_000;

/// Reads how long a row measures: seconds, with or without a fraction.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] if it is no such number.
pub fn parse_seconds(text: &str) -> Result<Duration> {
    let seconds = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds.filter(|span| *span <= SPAN_MAX).ok_or_else(|| {
        let message =
            format!("`{text}` is not a number of seconds; write one such as `2` or `0.5`, up to an hour");
        Error::new(ErrorKind::InvalidInput, "bench", message)
    })
}

/// Reads how many tasks there are to be.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] if it is no such number.
pub fn parse_tasks(text: &str) -> Result<usize> {
    text.parse().ok().filter(|tasks| TASKS.contains(tasks)).ok_or_else(|| bad_tasks(text))
}

fn bad_tasks(tasks: impl fmt::Display) -> Error {
    let message = format!("`{tasks}` tasks cannot be run; choose {} to {}", TASKS.start(), TASKS.end());
    Error::new(ErrorKind::InvalidInput, "bench", message)
}

/// A kind of work.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Case {
    /// Lock and release with nothing in between, each task its own lock.
    Pair,
    /// All tasks want one lock, again and again.
    Handoff,
    /// Hold many locks and do nothing.
    Renew,
}

impl Case {
    /// All of them, in the order in which they run.
    pub const ALL: [Self; 3] = [Self::Pair, Self::Handoff, Self::Renew];
}

impl FromStr for Case {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|case| case.to_string() == text).ok_or_else(|| {
            let names = Self::ALL.map(|case| case.to_string());
            let hint = suggestion(text, names.iter().map(String::as_str), "there are none");
            Error::new(ErrorKind::InvalidInput, "bench", format!("there is no case `{text}`; {hint}"))
        })
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pair => "pair",
            Self::Handoff => "handoff",
            Self::Renew => "renew",
        })
    }
}

/// One row's work.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Load {
    /// Which.
    pub case: Case,
    /// By how many tasks; for [`Case::Renew`], on how many locks.
    pub tasks: usize,
    /// How long a lock is held before it is released.
    pub hold: Duration,
    /// How long it is done.
    pub span: Duration,
    /// The TTL of the locks.
    pub ttl: Duration,
}

/// What a user chose; the rest is up to us.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Choice {
    /// Only this case.
    pub case: Option<Case>,
    /// Only this many tasks.
    pub tasks: Option<usize>,
    /// Only this hold.
    pub hold: Option<Duration>,
    /// For this long a row.
    pub span: Option<Duration>,
    /// With this TTL.
    pub ttl: Option<Duration>,
}

impl Choice {
    /// The rows to run.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for no tasks, too many, or no time.
    pub fn loads(&self) -> Result<Vec<Load>> {
        if let Some(tasks) = self.tasks.filter(|tasks| !TASKS.contains(tasks)) {
            return Err(bad_tasks(tasks));
        }
        if self.span.is_some_and(|span| span.is_zero()) {
            let message = "nothing can be measured in no time; choose more than 0 seconds";
            return Err(Error::new(ErrorKind::InvalidInput, "bench", message));
        }
        let mut loads = Vec::new();
        for case in Case::ALL {
            if self.case.is_none_or(|chosen| chosen == case) {
                self.rows(case, &mut loads);
            }
        }
        Ok(loads)
    }

    fn rows(&self, case: Case, out: &mut Vec<Load>) {
        let (tasks, holds): (&[usize], &[Duration]) = match case {
            Case::Pair => (&[1, 64], &[Duration::ZERO]),
            Case::Handoff => (&[8, 16], &[Duration::ZERO, Duration::from_millis(1)]),
            Case::Renew => (&[RENEW_LOCKS], &[Duration::ZERO]),
        };
        let ttl = self.ttl.unwrap_or(TTL_DEFAULT);
        let span = self.span.unwrap_or(SPAN_DEFAULT);
        let tasks = self.tasks.as_ref().map_or(tasks, std::slice::from_ref);
        let holds = self.hold.as_ref().map_or(holds, std::slice::from_ref);
        for &tasks in tasks {
            out.extend(holds.iter().map(|&hold| Load { case, tasks, hold, span, ttl }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unchosen_means_all_rows() {
        let loads = Choice::default().loads().unwrap();
        let rows: Vec<_> = loads.iter().map(|l| (l.case, l.tasks, l.hold.as_millis())).collect();
        let expected = [
            (Case::Pair, 1, 0),
            (Case::Pair, 64, 0),
            (Case::Handoff, 8, 0),
            (Case::Handoff, 8, 1),
            (Case::Handoff, 16, 0),
            (Case::Handoff, 16, 1),
            (Case::Renew, 10_000, 0),
        ];
        assert_eq!(rows, expected);
    }

    #[test]
    fn choices_narrow_and_nonsense_is_refused() {
        assert_eq!(parse_seconds("0.5").unwrap(), Duration::from_millis(500));
        let choice = Choice { case: Some(Case::Handoff), tasks: Some(3), ..Choice::default() };
        assert_eq!(choice.loads().unwrap().len(), 2);
        let said: Vec<String> = [
            Choice { tasks: Some(0), ..choice },
            Choice { tasks: Some(1_000_000), ..choice },
            Choice { span: Some(Duration::ZERO), ..choice },
        ]
        .iter()
        .map(|choice| choice.loads().unwrap_err().to_string())
        .chain(["handof", "ping"].map(|word| word.parse::<Case>().unwrap_err().to_string()))
        .chain(["", "-1", "many"].map(|text| parse_tasks(text).unwrap_err().to_string()))
        .chain(["", "-1", "2s", "1e9", "NaN"].map(|text| parse_seconds(text).unwrap_err().to_string()))
        .collect();
        insta::assert_debug_snapshot!(said);
    }
}
