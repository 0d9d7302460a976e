//! Fences and guards of a real client.

use leasehold_core::{Client, Env, Memory as Engine, Mode, Result};
use leasehold_fence::{Memory, Sequencer};

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

#[tokio::test]
async fn the_engine_says_whether_a_sequencer_is_held() -> Result<()> {
    let locks = client()?;
    let guard = locks.mutex("x")?.lock().await?;
    let text = Sequencer::from(&guard).to_string();
    let received: Sequencer = text.parse()?;
    assert!(received.is_held(&locks).await?);
    guard.release().await?;
    assert!(!received.is_held(&locks).await?);
    let next = locks.mutex("x")?.lock().await?;
    assert!(!received.is_held(&locks).await?, "held by somebody else");
    drop(next);
    Ok(())
}
