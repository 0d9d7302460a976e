//! The engine on one real server: what stands in it, who else locks there, and what happens when it does not do well.
//!
//! Every test has a server of its own. Nothing sleeps here for something to happen, and nothing is timed: what must
//! happen is awaited, within [`world::BOUND`].

mod access;
mod counts;
mod delay;
mod faults;
mod foreign;
mod queue;
mod world;
