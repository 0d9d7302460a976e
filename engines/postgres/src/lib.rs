#![doc = include_str!("docs.md")]

pub mod advisory;
mod batch;
mod config;
mod ears;
mod engine;
mod failure;
mod lane;
mod schema;
mod shape;
mod tls;
mod view;
mod wire;

pub use config::{Config, Tls};
pub use engine::{Postgres, info};
pub use schema::SCHEMA;
