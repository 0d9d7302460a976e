#![doc = include_str!("docs.md")]

mod batch;
mod config;
mod connect;
mod engine;
mod failure;
mod hands;
mod link;
mod member;
mod messages;
mod place;
mod store;
mod version;
mod watch;
mod wire;

pub use config::{Config, Tls};
pub use engine::{Etcd, info};
