#![doc = include_str!("docs.md")]

mod batch;
mod config;
mod ears;
mod engine;
mod failure;
pub mod getlock;
mod lane;
mod schema;
mod shape;
mod view;
mod wire;

pub use config::{Config, Tls};
pub use engine::{MySql, info};
pub use schema::SCHEMA;
