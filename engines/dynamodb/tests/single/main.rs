//! One engine on a server, by what goes over the wire.

mod aws;
mod bad_input;
mod limits;
mod relay;
mod requests;
mod world;
