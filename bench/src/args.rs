//! What was asked for.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use leasehold_bench::rounds::ROUNDS_DEFAULT;
use leasehold_bench::{Case, Choice, Load, parse_seconds, parse_tasks};
use leasehold_core::url::{parse_duration, suggestion};
use leasehold_core::{Error, ErrorKind, Result};

/// The same work on an engine, on its bare floor and on peers, in turn
#[derive(Debug, Parser)]
#[command(name = "leasehold-bench", args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) role: Option<Role>,
    /// The engine; `sqlite:` without a path is a file in a temporary folder
    #[arg(long, value_name = "URL", default_value = "memory:")]
    pub(crate) engine: String,
    /// Instead of an engine that is there: servers that are started for this
    #[arg(long, value_name = "WHAT", conflicts_with = "engine")]
    pub(crate) start: Option<Start>,
    /// Only this case: pair, handoff, renew, processes or run
    #[arg(long)]
    pub(crate) case: Option<Which>,
    /// Only this many tasks, held locks or processes
    #[arg(long, value_name = "N", value_parser = parse_tasks)]
    tasks: Option<usize>,
    /// Only this hold
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    hold: Option<Duration>,
    /// How long each entrant of a row runs, all rounds together; 2 unless said otherwise
    #[arg(long, value_name = "S", value_parser = parse_seconds)]
    seconds: Option<Duration>,
    /// The TTL of the locks
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    ttl: Option<Duration>,
    /// How many rounds
    #[arg(long, value_name = "N", default_value_t = ROUNDS_DEFAULT)]
    pub(crate) rounds: u32,
    /// Only these entrants, as for a profiler: leasehold, a floor, a peer
    #[arg(long, value_name = "NAME")]
    pub(crate) only: Vec<String>,
    /// The `leasehold` command, for the case `run`; by default the one beside this program
    #[arg(long, value_name = "PATH")]
    cli: Option<PathBuf>,
    /// An array of rows instead of a table
    #[arg(long)]
    pub(crate) json: bool,
}

/// Which servers to start, on free ports of 127.0.0.1.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Start {
    /// One MariaDB
    Mariadb,
    /// One MariaDB, for the locks of `GET_LOCK`
    Getlock,
    /// One PostgreSQL
    Postgres,
    /// The same for locks of sessions
    Advisory,
    /// One Redis
    Redis,
    /// One Valkey
    Valkey,
    /// Five Redis that know nothing of each other, for Redlock
    Five,
    /// A master, two replicas and three Sentinels
    Sentinel,
    /// A cluster of three masters and three replicas
    Cluster,
    /// One ZooKeeper
    Zookeeper,
    /// Three ZooKeepers that agree
    Zookeeper3,
    /// One member of etcd, which waits for its disk
    Etcd,
    /// Three members of etcd, which wait for the disk
    Etcd3,
    /// One Consul, which keeps everything in memory
    Consul,
    /// Three Consuls that agree
    Consul3,
}

/// What this program is when it has started itself.
#[derive(Debug, Subcommand)]
pub(crate) enum Role {
    /// One of the processes of the case `processes`
    #[command(hide = true)]
    Worker(Worker),
}

/// One of several processes.
#[derive(Debug, clap::Args)]
pub(crate) struct Worker {
    /// Which entrant
    #[arg(long)]
    pub(crate) entrant: String,
    /// The engine
    #[arg(long)]
    pub(crate) engine: String,
    /// Where the floors' files are
    #[arg(long)]
    pub(crate) place: PathBuf,
    /// For how long
    #[arg(long)]
    pub(crate) nanos: u64,
}

/// A case: one of those that every user has, or one of ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Which {
    /// Of the library.
    Of(Case),
    /// Processes, each with a lock of its own.
    Processes,
    /// The whole command `leasehold run NAME -- true`.
    Run,
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Of(case) => case.fmt(f),
            Self::Processes => f.write_str("processes"),
            Self::Run => f.write_str("run"),
        }
    }
}

impl FromStr for Which {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let all = Case::ALL.map(Self::Of).into_iter().chain([Self::Processes, Self::Run]);
        let named: Vec<(String, Self)> = all.map(|which| (which.to_string(), which)).collect();
        let found = named.iter().find(|(name, _)| name == text).map(|(_, which)| *which);
        found.ok_or_else(|| {
            let hint = suggestion(text, named.iter().map(|(name, _)| name.as_str()), "there are none");
            Error::new(ErrorKind::InvalidInput, "bench", format!("there is no case `{text}`; {hint}"))
        })
    }
}

impl Args {
    /// What was chosen of what the library offers.
    pub(crate) fn choice(&self) -> Choice {
        let case = match self.case {
            Some(Which::Of(case)) => Some(case),
            _ => None,
        };
        Choice { case, tasks: self.tasks, hold: self.hold, span: self.seconds, ttl: self.ttl }
    }

    /// The load of a case of ours: pairs, by `tasks` unless told otherwise.
    pub(crate) fn alone(&self, tasks: usize) -> Result<Load> {
        let tasks = self.tasks.unwrap_or(tasks);
        let pairs = Choice { case: Some(Case::Pair), tasks: Some(tasks), hold: None, ..self.choice() };
        let load = pairs.loads()?.into_iter().next();
        load.ok_or_else(|| Error::new(ErrorKind::Unexpected, "bench", "no row was planned"))
    }

    /// Where the command is.
    pub(crate) fn cli(&self) -> Result<PathBuf> {
        let beside = || std::env::current_exe().ok().map(|own| own.with_file_name("leasehold"));
        let path = self.cli.clone().or_else(beside).filter(|path| path.is_file());
        path.ok_or_else(|| {
            let message =
                "the command `leasehold` is not there; build leasehold-cli, or name it with --cli PATH";
            Error::new(ErrorKind::InvalidInput, "bench", message)
        })
    }
}
