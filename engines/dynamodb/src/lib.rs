#![doc = include_str!("docs.md")]

mod aws;
mod config;
mod engine;
mod failure;
mod http;
mod line;
mod lines;
mod sight;
mod size;
mod table;
mod view;
mod wire;

pub use config::{Config, Layout};
pub use engine::{DynamoDb, info};
pub use table::{create, schema};
