//! The command `leasehold`: run something under a lock, see who holds what, end a hold by hand.
//!
//! Each subcommand is a file; what they share is how they find the engine ([`engine`]), how they look at a
//! queue ([`view`]), how they talk ([`output`]) and with which code they end ([`exit`]).

#[cfg(not(target_os = "linux"))]
compile_error!(
    "the command `leasehold` needs Linux: only there can a guardian be sure of all that a command has started"
);

mod args;
mod bench;
mod engine;
mod engines;
mod exit;
mod guardian;
mod ls;
mod output;
mod run;
mod schema;
mod show;
mod signals;
mod simulate;
mod unlock;
mod view;
mod watch;

use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command};
use exit::{End, Failure, USAGE};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come this way too, and are no errors.
            let code = if error.use_stderr() { USAGE } else { 0 };
            // If the terminal is gone there is nobody to tell.
            let _ = error.print();
            return code.into();
        }
    };
    match execute(cli) {
        Ok(end) => end.into(),
        Err(failure) => {
            output::failure(&failure);
            failure.code.into()
        }
    }
}

fn execute(cli: Cli) -> Result<End, Failure> {
    let url = &cli.engine()?;
    match cli.command {
        Command::Run(args) => run::run(url, *args),
        Command::Ls(args) => ls::ls(url, &args),
        Command::Show(args) => show::show(url, &args),
        Command::Watch(args) => watch::watch(url, &args),
        Command::Unlock(args) => unlock::unlock(url, &args),
        Command::Engines(args) => engines::engines(&args),
        Command::Schema(args) => schema::schema(url, &args),
        Command::Bench(args) => bench::bench(url, &args),
        Command::Simulate(args) => simulate::simulate(&args),
        Command::Guardian(task) => {
            guardian::guard(&task).map(|()| End::Code(0)).map_err(Failure::internal("guardian"))
        }
    }
}
