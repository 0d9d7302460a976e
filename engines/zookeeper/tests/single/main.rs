//! The engine on one real server.

#[path = "../common/mod.rs"]
mod common;
mod crowds;
mod faults;
mod foreign;
mod layout;
mod refusals;
mod world;
