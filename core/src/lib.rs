//! The heart of leasehold: the rule, the engine contract, the client that owns claims, and the memory engine.
//!
//! Most programs use the `leasehold` crate, which adds the engines. This one is for those who write an engine or
//! a layer: it knows no engine but its own, no exporter and no TLS.

pub mod claim;
pub mod client;
pub mod clock;
pub mod desk;
pub mod engine;
mod error;
pub mod gather;
pub mod inbox;
mod info;
pub mod ledger;
mod lock;
mod memory;
mod name;
pub mod observe;
pub mod ordered;
mod token;
pub mod url;

pub use claim::{Claim, ClaimId, ClaimRef, Leave, Manner, Meta, Refresh};
pub use client::{Builder, Client, Driver};
pub use clock::{Clock, Env, Moment, Rng};
pub use engine::{Batch, Engine, EngineInfo, Guarantee, Hint, Hints, Page, Query, Reply, Standing};
pub use error::{Error, ErrorKind, Outcome, Result};
pub use lock::{Guard, Lease, Mode, Mutex, Permit, RwLock, Semaphore};
pub use memory::Memory;
pub use name::{NAME_BYTES_MAX, Name};
pub use token::{Mint, TOKEN_END, Token};
