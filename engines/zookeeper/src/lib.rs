#![doc = include_str!("docs.md")]

mod batch;
mod config;
mod connect;
mod engine;
mod enter;
mod failure;
mod layout;
mod line;
mod locks;
mod node;
mod own;
mod session;
mod store;
mod wire;

pub use config::{Acl, Address, Config, Tls};
pub use engine::{ZooKeeper, info};
