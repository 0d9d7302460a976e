//! The engine on one real node: what stands in it, who else locks there, and what happens when it does not do well.
//!
//! Every test has a node of its own. Nothing sleeps here for something to happen, and nothing is timed: what must
//! happen is awaited, within [`world::BOUND`].

mod access;
mod batches;
mod counts;
mod faults;
mod foreign;
mod layout;
mod names;
mod refusals;
mod unlocking;
mod world;
