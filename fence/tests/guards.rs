//! Fences and guards of a real client.

use std::time::Duration;

use leasehold_core::{Client, Env, Memory as Engine, Mode, Result};
use leasehold_fence::{Memory, Sequencer};
use leasehold_testkit::consul::Consul;
use leasehold_testkit::etcd::Etcd;
use leasehold_testkit::postgres::Postgres;
use leasehold_testkit::redis::Redis;
use leasehold_testkit::zookeeper::ZooKeeper;

fn client() -> Result<Client> {
    Client::new(Engine::new(Env::system()))
}

#[tokio::test]
async fn the_next_holder_overtakes_the_last() -> Result<()> {
    let (locks, fence) = (client()?, Memory::new());
    let first = locks.mutex("x")?.lock().await?;
    let late = Sequencer::from(&first);
    drop(fence.enter(&first).await.unwrap());
    first.release().await?;
    let second = locks.mutex("x")?.lock().await?;
    drop(fence.enter(&late).await.expect("nobody later has been there"));
    drop(fence.enter(&second).await.unwrap());
    let stale = fence.enter(&late).await.unwrap_err();
    assert_eq!((stale.presented, stale.seen), (late.token(), second.token().get()));
    Ok(())
}

#[tokio::test]
async fn the_mode_travels_with_the_token() -> Result<()> {
    let (locks, fence) = (client()?, Memory::new());
    let lock = locks.rwlock("x")?;
    let (one, other) = (lock.read().await?, lock.read().await?);
    assert_eq!(Sequencer::from(&one).mode(), Mode::Shared);
    drop(fence.enter(&other).await.unwrap());
    drop(fence.enter(&one).await.expect("a valid reader with the lower token"));
    drop((one.release().await, other.release().await));
    let writer = lock.write().await?;
    assert_eq!(Sequencer::from(&writer).mode(), Mode::Exclusive);
    drop(fence.enter(&writer).await.unwrap());
    Ok(())
}

/// All of them offer this one.
const TTL: Duration = Duration::from_secs(10);

/// A service that is handed a sequencer asks the engine, as a client of its own where there may be another.
async fn the_engine_at(url: &str) -> Result<()> {
    let locks = leasehold::connect(url).ttl(TTL).await?;
    let service = if url == "memory:" { locks.clone() } else { leasehold::connect(url).ttl(TTL).await? };
    let lock = locks.mutex("fence/one")?;
    let guard = lock.lock().await?;
    let text = Sequencer::from(&guard).to_string();
    let received: Sequencer = text.parse()?;
    assert!(received.is_held(&service).await?, "{url}");
    let as_reader = Sequencer::new(received.name().clone(), received.token(), Mode::Shared);
    assert!(!as_reader.is_held(&service).await?, "{url}: not in this mode");
    guard.release().await?;
    assert!(!received.is_held(&service).await?, "{url}: held by nobody");
    let next = lock.lock().await?;
    assert!(!received.is_held(&service).await?, "{url}: held by somebody else");
    assert!(Sequencer::from(&next).is_held(&service).await?, "{url}");
    next.release().await?;

    let lock = locks.rwlock("fence/many")?;
    let readers = (lock.read().await?, lock.read().await?);
    let (one, other) = (Sequencer::from(&readers.0), Sequencer::from(&readers.1));
    assert!(one.is_held(&service).await? && other.is_held(&service).await?, "{url}");
    readers.0.release().await?;
    assert!(!one.is_held(&service).await? && other.is_held(&service).await?, "{url}: one has gone");
    readers.1.release().await?;
    let writer = lock.write().await?;
    assert!(Sequencer::from(&writer).is_held(&service).await?, "{url}");
    writer.release().await
}

#[tokio::test]
async fn every_engine_says_whether_a_sequencer_is_held() -> Result<()> {
    let folder = leasehold_testkit::scratch().unwrap();
    let (redis, postgres) = (Redis::start().unwrap(), Postgres::start().unwrap());
    let (etcd, zookeeper) = (Etcd::start().unwrap(), ZooKeeper::builder().fast().start().unwrap());
    let consul = Consul::start().unwrap();
    for url in [
        "memory:".to_owned(),
        format!("sqlite:{}", folder.path().join("locks").display()),
        redis.url(),
        postgres.url(),
        etcd.url(),
        zookeeper.url(),
        consul.url(),
    ] {
        the_engine_at(&url).await?;
    }
    Ok(())
}
