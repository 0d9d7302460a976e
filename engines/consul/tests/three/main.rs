//! The engine on three real servers: the leader is killed and paused, and a client is cut off, while locks are held and
//! waited for.
//!
//! Every test has a cluster of its own, whose servers take another leader after a second or two.

mod leaders;
mod line;
#[allow(dead_code, reason = "what one test does not need, another does")]
#[path = "../single/world.rs"]
mod world;
