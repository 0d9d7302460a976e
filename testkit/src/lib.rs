//! What the tests of all crates share about processes: workers that talk in lines, real servers, and a network
//! between them that can be broken. All can be killed and paused, and none outlives the test that started it, even
//! one that is killed.
//!
//! Servers listen on free ports of 127.0.0.1, each with its own folder, and are installed by `.ci/servers`. Starting
//! them blocks until they are ready; that may be done in async tests too.
//!
//! # One Redis
//! ```
//! use leasehold_testkit::redis::Redis;
//!
//! # fn main() -> std::io::Result<()> {
//! let redis = Redis::builder().durable().option("maxmemory", "100mb").start()?;
//! redis.command(["SET", "key", "value"])?;
//! redis.kill()?;
//! redis.restart()?;
//! assert_eq!(redis.command(["GET", "key"])?.text(), "value");
//! # Ok(())
//! # }
//! ```
//! [`Builder`](redis::Builder) has passwords, users, TLS, replicas, Valkey and a wall clock that can be shifted;
//! [`Server`] has all that can be done to it.
//!
//! # Several
//! * `Redis::builder().start_many(5)`: independent ones, for Redlock;
//! * [`redis::Sentinels::start`]: a master, two replicas and three Sentinels;
//! * [`redis::Cluster::start`]: three masters and three replicas;
//! * [`zookeeper::Ensemble::start`]: three servers that elect a leader, and can be parted.
//!
//! # etcd
//! ```
//! use leasehold_testkit::etcd::Cluster;
//!
//! # fn main() -> std::io::Result<()> {
//! let cluster = Cluster::start()?;
//! cluster.ctl(["put", "key", "value"])?;
//! let leader = cluster.leader()?;
//! leader.kill()?;
//! assert_eq!(cluster.ctl(["get", "--print-value-only", "key"])?, "value\n");
//! # Ok(())
//! # }
//! ```
//! One alone is [`etcd::Etcd::start`]; [`etcd::Builder`] has passwords, users and TLS, and [`etcd::Cluster::cut_off`]
//! takes a member away from the others.
//!
//! # Consul
//! ```
//! use leasehold_testkit::consul::Consul;
//!
//! # fn main() -> std::io::Result<()> {
//! let consul = Consul::start()?;
//! let session = consul.session(10)?;
//! consul.api("PUT", &format!("/v1/kv/key?acquire={session}"), "value")?.ok()?;
//! assert_eq!(consul.ctl(["kv", "get", "key"])?, "value\n");
//! # Ok(())
//! # }
//! ```
//! [`consul::Builder`] has tokens and TLS, and [`consul::Cluster::start`] are three, of which one leads.
//!
//! # PostgreSQL
//! ```
//! use leasehold_testkit::postgres::Postgres;
//!
//! # fn main() -> std::io::Result<()> {
//! let postgres = Postgres::start()?;
//! assert_eq!(postgres.sql("SELECT 6 * 7")?, "42");
//! # Ok(())
//! # }
//! ```
//! [`postgres::Builder`] has settings, passwords, TLS, standbys and a wall clock that can be shifted.
//!
//! # A network
//! ```
//! use leasehold_testkit::proxy::Proxy;
//! use leasehold_testkit::redis::{Connection, Redis};
//!
//! # fn main() -> std::io::Result<()> {
//! let redis = Redis::start()?;
//! let proxy = Proxy::before(redis.addr(), 7)?;
//! let mut client = Connection::open(proxy.addr())?;
//! client.command(["SET", "key", "value"])?;
//! proxy.reset();
//! assert!(client.command(["GET", "key"]).is_err());
//! # Ok(())
//! # }
//! ```

mod certificates;
mod clock;
pub mod consul;
pub mod dynamodb;
pub mod etcd;
pub mod ledger;
pub mod mariadb;
mod port;
pub mod postgres;
mod process;
pub mod proxy;
pub mod redis;
pub mod requests;
pub mod s3;
mod server;
mod tools;
pub mod trial;
mod wait;
mod worker;
pub mod zookeeper;

use std::io;

pub use certificates::Certificates;
pub use server::Server;
pub use tempfile::TempDir;
pub use tools::python;
pub use worker::{Ended, Worker, die_with_parent};

/// A directory of its own for one test, in the system's place for temporary files; removed when dropped.
///
/// # Errors
/// Whatever the file system says.
pub fn scratch() -> io::Result<TempDir> {
    tempfile::Builder::new().prefix("leasehold-").tempdir()
}
