//! Fenced storage: the other half of a correct lock.
//!
//! A holder can be paused for longer than its lease and write before it looks at a clock. No lock can prevent that;
//! the storage can, if it is shown the holder's token with every access and refuses those that a later holder has
//! overtaken. A token that nobody checks protects nothing.
//!
//! # Raise, read, write
//! A storage that checks only writes still loses updates: the new holder reads, the old one writes (nothing higher has
//! been seen yet), the new one writes what it made of the value it read. So a new holder **raises** the mark first,
//! then reads, then writes. Here that order is the natural one: reads and writes hang off what `enter` returns.
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let locks = leasehold_core::Client::new(leasehold_core::Memory::new(leasehold_core::Env::system()))?;
//! let fence = leasehold_fence::Memory::new();
//! let guard = locks.mutex("inventory/42")?.lock().await?;
//! let inside = fence.enter(&guard).await?; // raises; a stale guard is refused here
//! // ... read and write ...
//! drop(inside);
//! # Ok(()) }
//! ```
//! The mode travels with the token ([`Sequencer`]), and the storage keeps two registers ([`Marks`]): a reader is not
//! refused because a reader with a higher token was there before. Permits of semaphores fence nothing and are refused
//! by their type.
//!
//! Where the data is in the same etcd, ZooKeeper or Consul as the lock, there is nothing to raise: each access fails from the
//! moment on at which the lock is not held any more, before anybody else can have it.
//!
//! # Where the data is
//! | storage | module | check and write are one because | feature |
//! |---|---|---|---|
//! | this process | [`Memory`] | whoever is let in keeps the others out until it is done | |
//! | PostgreSQL, MySQL, MariaDB, SQLite | [`sql`] | both are in your transaction | `tokio-postgres`, `sqlx`, `mysql_async`, `rusqlite` |
//! | Redis, Valkey | [`redis`] | both are one script | `redis` |
//! | files | [`mod@file`] | an advisory lock is held over both | |
//! | S3, GCS, Azure, local files as such a store | [`object`] | a put is conditional on the version whose marks were read | `object_store`, `object_store_local` |
//! | etcd, ZooKeeper, Consul | [`etcd`], [`zookeeper`], [`consul`] | both are one transaction, and the lock itself is the mark | the same |
//! | HTTP and gRPC services | [`tower`] | a request is inside until it is answered | `tower`, `tonic` |
//!
//! Measured in turns within one run on a loaded machine of two cores (`cargo bench -p leasehold-fence`): a fenced SET on
//! Redis at 0.87 of the rate of a bare one, a transaction with one UPDATE on PostgreSQL at 0.71, with its disk awaited; a
//! request through the layer takes 0.3 us more. Each module says what its check costs and what it cannot see.

#[cfg(feature = "consul")]
pub mod consul;
mod error;
#[cfg(feature = "etcd")]
pub mod etcd;
pub mod file;
mod marks;
mod memory;
#[cfg(feature = "object_store")]
pub mod object;
mod optimistic;
#[cfg(feature = "redis")]
pub mod redis;
mod sequencer;
pub mod sql;
#[cfg(feature = "tower")]
pub mod tower;
#[cfg(feature = "zookeeper")]
pub mod zookeeper;

pub use error::Error;
pub use marks::{Marks, Stale};
pub use memory::{Entered, Memory};
pub use optimistic::optimistic;
pub use sequencer::Sequencer;
