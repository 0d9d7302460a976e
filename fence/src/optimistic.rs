//! Optimistic first, pessimistic in the end.

use leasehold_core::{Guard, Mutex};

/// Tries a versioned update up to `tries` times without a lock; if somebody else was faster each time, takes the lock and
/// forces it.
///
/// `attempt` reads, computes, and writes if the version is still the one that it read; `None` says that it was not.
/// `force` enters the fence with the guard, reads and writes, and changes the version too, so that attempts of others
/// see it. It still meets those attempts, so it writes in a transaction, or repeats its own compare-and-set: from then on
/// it competes with them alone, not with all who were forced to queue. It lets go of the guard when it is done.
///
/// # When which wins
/// Where hardly anybody else writes, an attempt costs one read and one write, and a lock would cost two requests more. Where
/// everybody does, somebody's attempt still succeeds in each round, so attempts make more updates than a queue; but most of
/// the work is thrown away, and nothing says that a given one ever succeeds. So the lock is for work that is dear, or that
/// somebody waits for. 16 tasks on rows of PostgreSQL, 1 ms of work between the read and the write, on a machine that was
/// busy with other things (`cargo bench -p leasehold-fence --bench optimistic`); updates a second, and reads for each:
///
/// | they write | attempts alone | 3 attempts, then the lock | the lock alone |
/// |---|---|---|---|
/// | one of 1,000 rows | 306, 1.0 | 340, 1.0 | 139, 1.0 |
/// | one row | 46, 7.7 | 38, 2.3 | 19, 1.0 |
///
/// # Errors
/// Those of `attempt` and `force`, and of the lock.
///
/// # Cancel safety
/// That of `attempt` and `force`. The lock is let go.
pub async fn optimistic<T, E, A, F>(
    tries: u32,
    lock: &Mutex,
    mut attempt: impl FnMut() -> A,
    force: impl FnOnce(Guard) -> F,
) -> Result<T, E>
where
    E: From<leasehold_core::Error>,
    A: Future<Output = Result<Option<T>, E>>,
    F: Future<Output = Result<T, E>>,
{
    for _ in 0..tries {
        if let Some(done) = attempt().await? {
            return Ok(done);
        }
    }
    force(lock.lock().await?).await
}

#[cfg(test)]
mod tests {
    use leasehold_core::{Client, Env, Memory, Result};

    use super::*;

    #[tokio::test]
    async fn the_lock_is_taken_only_when_all_tries_have_failed() -> Result<()> {
        let locks = Client::new(Memory::new(Env::system()))?;
        let lock = locks.mutex("x")?;
        let mut tries = 0;
        let mut attempt = || {
            tries += 1;
            let done = (tries == 2).then_some("attempted");
            async move { Ok::<_, leasehold_core::Error>(done) }
        };
        let force = async |guard: Guard| guard.release().await.map(|()| "forced");
        assert_eq!(optimistic(2, &lock, &mut attempt, force).await?, "attempted");
        assert_eq!(optimistic(3, &lock, &mut attempt, force).await?, "forced");
        assert_eq!(tries, 5);
        assert!(lock.try_lock().await?.is_some(), "it was let go");
        Ok(())
    }
}
