//! The command `leasehold` as users run it: the real binary, real processes, an engine in a temporary
//! directory.
//!
//! Nothing sleeps here, and nothing is timed: processes say through FIFOs what they have reached, and the
//! tests wait for that, within [`world::BOUND`].

mod bench;
mod dynamodb;
mod ending;
mod help;
mod looking;
mod mysql;
mod postgres;
mod redis;
mod refusals;
mod running;
mod schema;
mod simulate;
mod world;
