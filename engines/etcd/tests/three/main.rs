//! The engine on three real members: the leader is killed, paused and cut off while locks are held and waited for.
//!
//! Every test has a cluster of its own, whose members take another leader after a second.

mod leaders;
mod line;
#[allow(dead_code, reason = "what one test does not need, another does")]
#[path = "../one/world.rs"]
mod world;
