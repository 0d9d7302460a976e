#![doc = include_str!("docs.md")]

mod acquire;
mod ask;
mod bell;
mod config;
mod crowd;
mod engine;
mod in_turn;
mod info;
mod join;
mod leave;
mod node;
mod renew;
mod roll;
mod round;
pub mod rules;
mod shared;
mod tail;
mod tally;
mod view;
mod watch;

pub use config::{Config, Order};
pub use engine::Quorum;
pub use info::info;
pub use tail::Tail;

#[cfg(test)]
mod tests;
