#![doc = include_str!("docs.md")]

mod batch;
mod bell;
mod bits;
mod config;
mod engine;
mod enter;
mod exit;
mod failure;
mod http;
mod insist;
mod line;
mod listing;
mod names;
mod own;
mod place;
mod plan;
mod rings;
mod store;
mod tls;
mod watch;
mod wire;

pub use config::{Address, Config, Tls};
pub use engine::{Consul, info, open};
pub use store::Kv;
