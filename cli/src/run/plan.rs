//! What `leasehold run` was asked to do, checked as far as it can be without an engine.

use std::ffi::OsString;
use std::time::Duration;

use leasehold::Name;

use crate::args::{Permits, RunArgs};
use crate::exit::{Failure, USAGE};
use crate::output::span;

/// How the lock is to be held.
#[derive(Clone, Copy, Debug)]
pub(super) enum Mode {
    Exclusive,
    Shared,
    Permits(Permits),
}

/// A run that makes sense.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) name: Name,
    pub(super) mode: Mode,
    pub(super) ttl: Duration,
    pub(super) grace: Duration,
    /// How long to wait; zero for not at all, `None` for ever.
    pub(super) wait: Option<Duration>,
    pub(super) at_least: Option<Duration>,
    pub(super) at_most: Option<Duration>,
    pub(super) conflict_exit_code: u8,
    pub(super) command: Vec<OsString>,
}

impl Plan {
    /// Refuses what cannot be meant, and says what to do instead.
    pub(super) fn check(args: RunArgs) -> Result<Self, Failure> {
        let RunArgs { ttl, grace, at_most, .. } = args;
        let name = Name::new(&args.name)?;
        let ttl_min = grace * 2 + Duration::from_secs(2);
        if ttl < ttl_min {
            return refuse(format!(
                "a TTL of {} is too short for a grace of {}: it takes 2 x grace + 2 s to renew in time and to \
                 end CMD in time; use `--ttl {}s` or more, or a shorter `--grace`",
                span(ttl),
                span(grace),
                ttl_min.as_secs_f64()
            ));
        }
        let most_min = grace + Duration::from_secs(2);
        if let Some(most) = at_most.filter(|&most| most < most_min) {
            return refuse(format!(
                "at most {} leaves CMD no time, for a grace of {} belongs to it; use `--at-most {}s` or more, \
                 or a shorter `--grace`",
                span(most),
                span(grace),
                most_min.as_secs_f64()
            ));
        }
        let mode = match (args.shared, args.permits) {
            (_, Some(permits)) => Mode::Permits(permits),
            (true, None) => Mode::Shared,
            (false, None) => Mode::Exclusive,
        };
        let wait = if args.no_wait { Some(Duration::ZERO) } else { args.wait };
        Ok(Self {
            name,
            mode,
            ttl,
            grace,
            wait,
            at_least: args.at_least,
            at_most,
            conflict_exit_code: args.conflict_exit_code,
            command: args.command,
        })
    }
}

fn refuse<T>(message: String) -> Result<T, Failure> {
    Err(Failure::new(USAGE, message))
}
