#![doc = include_str!("docs.md")]

mod batch;
mod boot;
mod config;
mod engine;
mod failure;
mod filesystem;
mod line;
mod peers;
mod place;
mod post;
mod store;
mod upkeep;
mod view;
mod wire;

pub use config::Config;
pub use engine::{Sqlite, info};
