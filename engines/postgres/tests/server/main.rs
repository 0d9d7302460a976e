//! The engine on real servers.

mod access;
mod clock;
mod crash;
mod ledger;
mod plain;
mod pooler;
mod queue;
mod refusals;
mod versions;
mod world;
