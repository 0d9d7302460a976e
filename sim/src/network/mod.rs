//! What lies between a client and its queues: a network that delays, loses and repeats, and an engine that
//! restarts.

pub mod broken;
pub mod engine;
pub mod faults;
pub mod server;
pub(crate) mod wire;
