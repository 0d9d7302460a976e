//! Distributed locks that know when they end.
//!
//! One API over the engines that people already run, a fencing token on every acquisition, and a holder that
//! knows, by its own clock, when its hold ends.
//!
//! # Lock something
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> leasehold::Result<()> {
//! let locks = leasehold::connect("memory:").await?; // any engine URL; cheap to clone
//! let guard = locks.mutex("inventory/42")?.lock().await?; // waits in a FIFO queue
//! println!("held with token {} for {:?}", guard.token(), guard.remaining());
//! guard.release().await?; // or drop it
//!
//! // Acquire, renew while it runs, cancel it when the lock is lost, release.
//! let sum = locks.mutex("report")?.run(|_lease| async { 1 + 1 }).await?;
//! # assert_eq!(sum, 2);
//! # Ok(()) }
//! ```
//! Readers and writers: [`Client::rwlock`]. Permits: [`Client::semaphore`]. Not to wait, or not for ever:
//! [`Mutex::try_lock`], [`Mutex::lock_timeout`]: busy is `None`, not an error. Without async: [`blocking`].
//!
//! # Which engine
//! People lock for one of two reasons. *Efficiency*: doing the work twice is a nuisance. *Correctness*: doing it
//! twice is damage. [`EngineInfo::purpose`] says which one an engine serves, and a program can insist:
//! ```
//! # async fn example() -> leasehold::Result<()> {
//! use leasehold::{Guarantee, Purpose};
//! let locks = leasehold::connect("sqlite:").require([Guarantee::Purpose(Purpose::Correctness)]).await?;
//! # Ok(()) }
//! ```
//! | URL | shared by | serves | notes |
//! |---|---|---|---|
//! | `memory:` | the tasks of one process | efficiency | nothing outlives the process |
//! | `sqlite:`, `sqlite:PATH` | the processes of one machine | correctness | no server; feature `sqlite` |
//! | `consul://`, `consuls://` | many machines | correctness | also against `consul lock`; feature `consul` |
//! | `dynamodb://TABLE` | many machines | correctness | feature `dynamodb` |
//! | `mysql://`, `mariadb://` | many machines | correctness | the table `distributed_locks`; feature `mysql` |
//! | `mysql+getlock://`, `mariadb+getlock://` | many machines | efficiency | `GET_LOCK`, gone at once with its connection; feature `mysql` |
//! | `postgres://` | many machines | correctness | the table `distributed_locks`; feature `postgres` |
//! | `postgres+advisory://` | many machines | efficiency | advisory locks, gone at once with their connection; feature `postgres` |
//! | `redis://`, `rediss://`, `redis+unix:`, `redis+sentinel://`, `redis+cluster://` | many machines | efficiency | feature `redis` |
//! | `etcd://A,B,C`, `etcds://A,B,C` | many machines | correctness | excludes `etcdctl lock`, Go's `concurrency.Mutex` and the lock service; feature `etcd` |
//! | `zookeeper://A,B,C/CHROOT` | many machines | correctness | excludes Curator's and kazoo's locks; feature `zookeeper` |
//! | `redlock://A,B,C` | many machines | efficiency | a majority of independent Redis servers; feature `redlock` |
//!
//! # No lease is enough
//! A holder can be paused by a page fault, a debugger or the hypervisor for longer than its lease, wake up, and
//! write before it looks at a clock. So every acquisition has a [`Token`], a number that only rises. Hand it to
//! the storage with each access, *raise the storage's mark first, then read, then write*, and have the storage
//! refuse lower numbers: that, and not the lock, is what protects data. The crate `leasehold-fence` does it in one line
//! for SQL, Redis, files, object stores and HTTP services.
//!
//! # When a lock is the wrong tool
//! If the storage has transactions, a unique constraint or a compare-and-set that covers the whole step, use
//! that: it is simpler, and right. A lock is for work that spans more than one storage, that is too dear to do
//! twice, or whose target cannot check anything.

pub mod blocking;
mod connect;
#[cfg(feature = "redlock")]
mod redlock;

pub use connect::{Connect, SCHEMES, connect, engines, open};
#[cfg(feature = "consul")]
pub use leasehold_consul as consul;
pub use leasehold_core::engine::{Purpose, Reach};
pub use leasehold_core::*;
#[cfg(feature = "dynamodb")]
pub use leasehold_dynamodb as dynamodb;
#[cfg(feature = "etcd")]
pub use leasehold_etcd as etcd;
#[cfg(feature = "mysql")]
pub use leasehold_mysql as mysql;
#[cfg(feature = "postgres")]
pub use leasehold_postgres as postgres;
#[cfg(feature = "quorum")]
pub use leasehold_quorum as quorum;
#[cfg(feature = "redis")]
pub use leasehold_redis as redis;
#[cfg(feature = "sqlite")]
pub use leasehold_sqlite as sqlite;
#[cfg(feature = "zookeeper")]
pub use leasehold_zookeeper as zookeeper;
