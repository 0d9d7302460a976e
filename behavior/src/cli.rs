//! The command line.

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use libtest_mimic::Arguments;

use crate::siege::{self, Siege};
use crate::stack::{Layer, Stack};
use crate::suite;
use crate::worker::{self, Task};

/// Most tests wait most of the time.
const TEST_THREADS: usize = 12;

/// Runs the conformance suite of leasehold.
#[derive(Parser)]
#[command(name = "leasehold-behavior", args_conflicts_with_subcommands = true)]
struct Args {
    /// An engine to test: `memory:`, `sqlite:temp`, `sqlite:DIRECTORY` (for the tests' databases) or a server's URL, with
    /// layers behind it as in `memory:+chaos=7`. Started for the tests are `redis:temp`, `valkey:temp`, `redlock:temp`,
    /// `redis+sentinel:temp`, `redis+cluster:temp`, `dynamodb:temp`, `etcd:temp`, `etcd+cluster:temp`, `consul:temp`,
    /// `consul+cluster:temp` and `zookeeper:temp`. May be given more than once.
    #[arg(long = "engine", value_name = "URL")]
    engines: Vec<Stack>,
    /// A layer around every engine: `chaos=SEED`. May be given more than once, the outermost last.
    #[arg(long = "layer", value_name = "LAYER")]
    layers: Vec<Layer>,
    /// Where the random operations of the differential tests start.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Write down what the engines' info() excludes, instead of comparing it.
    #[arg(long)]
    pin: bool,
    #[command(flatten)]
    harness: Arguments,
    #[command(subcommand)]
    role: Option<Role>,
}

#[derive(Subcommand)]
enum Role {
    /// Besieges three servers that agree: kills, pauses and cuts off one after the other while clients lock.
    Siege(Siege),
    /// What the tests start as other processes.
    #[command(hide = true)]
    Worker(Task),
}

/// Runs the suite over the engines that the arguments name, or else over these.
pub fn main(default: &[&str]) -> ExitCode {
    let mut args = Args::parse();
    match args.role {
        Some(Role::Worker(task)) => return worker::main(&task),
        Some(Role::Siege(siege)) => return siege::main(&siege),
        None => {}
    }
    if args.engines.is_empty() {
        args.engines = default.iter().map(|text| text.parse().expect("the defaults are good")).collect();
    }
    if args.engines.is_empty() {
        say("name an engine: --engine memory: or --engine sqlite:temp\n");
        return ExitCode::from(2);
    }
    args.harness.test_threads.get_or_insert(TEST_THREADS);
    let mut trials = Vec::new();
    for mut stack in args.engines {
        stack.layers.extend(&args.layers);
        let info = match suite::info(&stack) {
            Ok(info) => info,
            Err(failed) => {
                say(&format!(
                    "{stack} cannot be opened: {}\n",
                    failed.message().unwrap_or("no reason given")
                ));
                return ExitCode::from(2);
            }
        };
        introduce(&stack, &info, args.seed);
        trials.extend(suite::trials(&stack, &info, args.seed, args.pin));
    }
    libtest_mimic::run(&args.harness, trials).exit_code()
}

/// Says what is tested and what is not.
fn introduce(stack: &Stack, info: &leasehold::EngineInfo, seed: u64) {
    let layers: Vec<String> = stack.layers.iter().map(Layer::to_string).collect();
    let layers = if layers.is_empty() { "none".to_owned() } else { layers.join(", ") };
    let mut text = format!("engine {}, layers: {layers}, seed {seed}\n", stack.engine);
    for (name, lacks) in suite::excluded(stack, info) {
        text += &format!("  excluded by info(): {name} (needs {lacks})\n");
    }
    say(&text);
}

fn say(text: &str) {
    // A closed stderr is no reason not to run the tests.
    drop(std::io::stderr().write_all(text.as_bytes()));
}
