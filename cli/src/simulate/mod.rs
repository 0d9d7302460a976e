//! `leasehold simulate`: a walk-through of what a lock does, as text, as data and as a picture.

mod picture;
mod svg;
mod text;

use leasehold_sim::walk::{Terms, play};

use crate::args::SimulateArgs;
use crate::exit::{CANNOT_CREATE, End, Failure, USAGE};
use crate::output::{data, json};

/// Plays it, and shows what came of it.
pub(crate) fn simulate(args: &SimulateArgs) -> Result<End, Failure> {
    let terms = Terms { ttl: args.ttl, nodes: args.nodes, latency: args.latency };
    let story = play(args.walk, &terms).map_err(|why| Failure::new(USAGE, why))?;
    if let Some(file) = &args.svg {
        let failed = |e| Failure::new(CANNOT_CREATE, format!("cannot write `{}`: {e}", file.display()));
        std::fs::write(file, picture::of(&story)).map_err(failed)?;
    }
    if args.json {
        json(&story)?
    } else {
        data(text::of(&story))?
    }
    Ok(End::Code(0))
}
