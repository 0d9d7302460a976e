//! The engine on real servers.

mod access;
mod clock;
mod crash;
mod ledger;
mod plain;
mod queue;
mod refusals;
mod world;
