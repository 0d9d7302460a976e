//! The conformance suite: what every engine must do, on any engine and any stack of layers.
//!
//! ```text
//! cargo run -p leasehold-behavior -- --engine memory: --engine sqlite:temp [--layer chaos=7] [filter]
//! ```
//! A test selects itself by [`EngineInfo`](leasehold::EngineInfo): what `info()` excludes is printed and pinned
//! in `pinned/`. Every test of the contract runs again over deliberately broken engines ([`broken`]), and must
//! fail there: a suite that cannot fail says nothing.
//!
//! Nothing here asserts that something happens *fast*. What must not happen too early is checked against clock
//! readings that bound it soundly, however slow the machine is; what must happen is awaited, with a generous
//! bound that only a hang exceeds.

mod broken;
mod cli;
mod contract;
mod differential;
mod primitives;
mod probe;
mod seen;
mod servers;
mod setup;
mod siege;
mod stack;
mod suite;
mod test;
mod time;
mod verdict;
mod worker;

pub use cli::main;
