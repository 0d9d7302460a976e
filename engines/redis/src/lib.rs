#![doc = include_str!("docs.md")]

mod bits;
mod config;
mod connect;
mod engine;
mod failure;
mod foreign;
mod link;
mod script;
mod sentinel;
mod session;
mod slots;
mod together;
mod view;
mod wire;

pub use config::{Access, Address, Config, Target, Tls};
pub use engine::{Redis, info};
