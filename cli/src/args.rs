//! The command line: what can be said, and what it means in words. Nothing is done here.

use std::env::VarError;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use leasehold::url::parse_duration;
use leasehold_bench::{Case, parse_seconds, parse_tasks};
use leasehold_sim::walk::Walk;

use crate::exit::{Failure, USAGE};
use crate::guardian;

/// Where the engine is named if not in the arguments, and where a command finds it.
pub(crate) const ENGINE: &str = "LEASEHOLD_ENGINE";

/// Distributed locks that know when they end.
#[derive(Debug, Parser)]
#[command(name = "leasehold", version, propagate_version = true, max_term_width = 100)]
pub(crate) struct Cli {
    /// Which locks: the URL of an engine [env: LEASEHOLD_ENGINE] [default: sqlite:]
    ///
    /// The default, `sqlite:`, is a file in your state directory: the locks are shared by all that you run on
    /// this machine. `sqlite:/path/to/locks.db` shares them between users. `leasehold engines` lists the
    /// others.
    #[arg(long, global = true, value_name = "URL")]
    engine: Option<String>,

    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Cli {
    /// The URL of the engine that is meant. Not left to clap, which would show it as if it had been written.
    pub(crate) fn engine(&self) -> Result<String, Failure> {
        match (&self.engine, std::env::var(ENGINE)) {
            (Some(url), _) => Ok(url.clone()),
            (None, Ok(url)) => Ok(url),
            (None, Err(VarError::NotPresent)) => Ok("sqlite:".into()),
            (None, Err(e)) => Err(Failure::new(USAGE, format!("{ENGINE}: {e}"))),
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Run(Box<RunArgs>),
    Ls(LsArgs),
    Show(ShowArgs),
    Watch(WatchArgs),
    Unlock(UnlockArgs),
    Engines(EnginesArgs),
    Schema(SchemaArgs),
    Bench(BenchArgs),
    Simulate(SimulateArgs),
    #[command(hide = true)]
    Guardian(guardian::Task),
}

/// Run a command while holding a lock
///
/// Waits in the lock's queue, first come, first served; then runs CMD, renews the lock while it runs, and
/// releases it afterwards. CMD is ended before anybody else can hold the lock, also if the engine is out of
/// reach, and also if `leasehold` itself is stopped or killed.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES, after_long_help = RUN_HELP)]
pub(crate) struct RunArgs {
    /// The lock: 1 to 255 bytes of text without control characters
    pub(crate) name: String,

    /// How long the lock outlives its last renewal, if this machine fails
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_duration)]
    #[arg(allow_hyphen_values = true)]
    pub(crate) ttl: Duration,

    /// Wait at most this long [default: for ever]
    #[arg(long, value_name = "TIME", value_parser = parse_duration, allow_hyphen_values = true)]
    pub(crate) wait: Option<Duration>,

    /// Do not wait at all
    #[arg(long, conflicts_with = "wait")]
    pub(crate) no_wait: bool,

    /// Hold it together with other `--shared` holders; a holder without it excludes them
    #[arg(long)]
    pub(crate) shared: bool,

    /// Take K of the N permits of a semaphore; all who use the name must say the same N
    #[arg(long, value_name = "K/N", value_parser = Permits::parse, conflicts_with = "shared")]
    #[arg(allow_hyphen_values = true)]
    pub(crate) permits: Option<Permits>,

    /// Keep the lock at least this long, even if CMD is faster
    #[arg(long, value_name = "TIME", value_parser = parse_duration, allow_hyphen_values = true)]
    pub(crate) at_least: Option<Duration>,

    /// End CMD and the hold within this time
    #[arg(long, value_name = "TIME", value_parser = parse_duration, allow_hyphen_values = true)]
    pub(crate) at_most: Option<Duration>,

    /// How long CMD gets between SIGTERM and SIGKILL when it has to end
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_duration)]
    #[arg(allow_hyphen_values = true)]
    pub(crate) grace: Duration,

    /// End with this code instead of 75 if the lock is busy
    #[arg(long, value_name = "N", default_value_t = crate::exit::BUSY, hide_default_value = true)]
    pub(crate) conflict_exit_code: u8,

    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    pub(crate) command: Vec<OsString>,
}

/// List what is held or waited for
#[derive(Debug, Args)]
pub(crate) struct LsArgs {
    /// Only locks whose names start so
    #[arg(default_value = "", hide_default_value = true)]
    pub(crate) prefix: String,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Show who holds a lock and who waits for it
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// The lock
    pub(crate) name: String,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Tell who comes to hold, waits and goes, until you stop it
///
/// First what is there, then every change: a claim `holds`, `waits`, is `revoked`, has `ended` (it held) or has `left`
/// (it waited). The engine is looked at again and again: what comes and goes between two looks is not seen.
#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    /// Only locks whose names start so
    #[arg(default_value = "", hide_default_value = true)]
    pub(crate) prefix: String,

    /// How long to wait between two looks; each is a request, or one for every 500 locks
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_duration)]
    #[arg(allow_hyphen_values = true)]
    pub(crate) every: Duration,

    /// Print JSON, one object a line
    #[arg(long)]
    pub(crate) json: bool,
}

/// End a hold by hand
///
/// Without `--force` this is safe: the lock is renewed no more, its holder is told, and the next one follows
/// when the holder lets go or its time to live is over. All holders of the lock are ended; who waits is not
/// touched.
#[derive(Debug, Args)]
pub(crate) struct UnlockArgs {
    /// The lock
    pub(crate) name: String,

    /// Hand over now, while the old holder may still believe that it holds
    ///
    /// Prints for how long it may, and the token to raise at the storage: only a fence that has seen that
    /// token refuses the old holder's writes.
    #[arg(long)]
    pub(crate) force: bool,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// List the engines and what they guarantee
///
/// An engine for `efficiency` keeps work from being done twice as a rule; one for `correctness` serves where
/// doing it twice is damage, and then with a fence at the storage.
#[derive(Debug, Args)]
pub(crate) struct EnginesArgs {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Measure what the engine does for you
///
/// `pair`: lock and release with nothing in between, by 1 and by 64 tasks, each with a lock of its own.
/// `handoff`: 8 and 16 tasks want one lock; what counts is how often the holder changed, for an empty critical
/// section flatters engines whose waiters poll. `renew`: 10,000 locks are held and renewed; what counts is how
/// many requests that takes. All under names of its own, in this process alone. Waits are from asking for a
/// lock to holding it; fairness is Jain's index: 1 if all tasks got their turn equally often, 1/n if one got
/// them all.
#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// Only this: pair, handoff or renew
    #[arg(long)]
    pub(crate) case: Option<Case>,

    /// By this many tasks; for `renew`, on this many locks
    #[arg(long, value_name = "N", value_parser = parse_tasks, allow_hyphen_values = true)]
    pub(crate) tasks: Option<usize>,

    /// Hold each lock this long [default: not at all, and for `handoff` also 1ms]
    #[arg(long, value_name = "TIME", value_parser = parse_duration, allow_hyphen_values = true)]
    pub(crate) hold: Option<Duration>,

    /// Measure each row this many seconds [default: 2; `renew` takes 10 at least]
    #[arg(long, value_name = "S", value_parser = parse_seconds, allow_hyphen_values = true)]
    pub(crate) seconds: Option<Duration>,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Walk through what a lock does, on simulated time
///
/// Two clients, A and B, want one lock. They, what renews their locks, the nodes and the fence at the storage are
/// leasehold's real code; the time is simulated, so it takes none. Work takes no time there, and each message half of
/// `--latency`. Needs no engine.
#[derive(Debug, Args)]
pub(crate) struct SimulateArgs {
    /// What happens
    pub(crate) walk: Walk,

    /// The time to live of the lock
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    #[arg(allow_hyphen_values = true)]
    pub(crate) ttl: Duration,

    /// How many nodes keep it: 1 is a single engine, 3 and more are Redlock [default: 5 for normal and partition, else 1]
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub(crate) nodes: Option<usize>,

    /// How long a request to a node and its answer take
    #[arg(long, value_name = "TIME", default_value = "1ms", value_parser = parse_duration)]
    #[arg(allow_hyphen_values = true)]
    pub(crate) latency: Duration,

    /// Also draw it into this file
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,

    /// Print JSON, with all that was sent
    #[arg(long)]
    pub(crate) json: bool,
}

/// Print what to give to a database before it is used
#[derive(Debug, Args)]
pub(crate) struct SchemaArgs {
    #[command(subcommand)]
    pub(crate) what: Schema,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Schema {
    Dynamodb(SchemaDynamodbArgs),
    Fence(SchemaFenceArgs),
    /// Print what the engine keeps in a MySQL or MariaDB database
    ///
    /// The engine makes its tables and procedures itself if it may. Where it may not, somebody who may gives this once to
    /// the command line client, and the grants that are written at its top.
    #[command(alias = "mariadb")]
    Mysql,
    /// Print what the engine keeps in a PostgreSQL database
    ///
    /// The engine makes its tables itself if it may. Where it may not, somebody who may runs this once, and the grants
    /// that are written at its top.
    Postgres,
}

/// Print the commands that make the table of a DynamoDB engine, or make it
///
/// The table is that of the engine's URL, as in `--engine 'dynamodb://locks?region=eu-central-1'`. It is billed by request.
#[derive(Debug, Args)]
pub(crate) struct SchemaDynamodbArgs {
    /// Make the table, unless it is there, and wait until it can be used
    #[arg(long)]
    pub(crate) apply: bool,
}

/// Print the table of a fence, and triggers that refuse writes without a token or with a stale one
///
/// With `--table` and `--lock` the database itself refuses whoever writes to that table without a fencing token,
/// or with one that a later holder has overtaken, whatever program it is. Comments say how a token is declared.
#[derive(Debug, Args)]
pub(crate) struct SchemaFenceArgs {
    /// The database: postgres, mysql (also for MariaDB) or sqlite
    #[arg(long, value_name = "NAME")]
    pub(crate) dialect: String,

    /// The table to protect
    #[arg(long, requires = "lock")]
    pub(crate) table: Option<String>,

    /// The lock that protects a row, with columns in braces: `inventory/{id}`
    #[arg(long, value_name = "NAME", requires = "table")]
    pub(crate) lock: Option<String>,

    /// The table that keeps the marks
    #[arg(long, value_name = "TABLE", default_value = "leasehold_fence")]
    pub(crate) marks: String,
}

/// Some of the permits of a semaphore.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Permits {
    pub(crate) wanted: u32,
    pub(crate) of: u32,
}

impl Permits {
    fn parse(text: &str) -> Result<Self, String> {
        let form = || "write how many of how many, as in `1/3`".to_owned();
        let (wanted, of) = text.split_once('/').ok_or_else(form)?;
        let (Ok(wanted), Ok(of)) = (wanted.parse::<u32>(), of.parse::<u32>()) else { return Err(form()) };
        if wanted == 0 || wanted > of {
            return Err(format!("{wanted} of {of} permits cannot be had; ask for 1 to {}", of.max(1)));
        }
        Ok(Self { wanted, of })
    }
}

// A paragraph is one line there, which clap wraps to the terminal; tables stay under 80 columns.
const EXIT_CODES: &str = include_str!("help/exit_codes.txt");
const RUN_HELP: &str = concat!(include_str!("help/run.txt"), include_str!("help/exit_codes.txt"));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn permits() {
        assert_eq!(Permits::parse("2/3"), Ok(Permits { wanted: 2, of: 3 }));
        for bad in ["", "3", "0/3", "5/3", "0/0", "-1/3", "a/b", "1/2/3", "1/99999999999"] {
            Permits::parse(bad).unwrap_err();
        }
    }
}
