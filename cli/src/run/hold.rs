//! Getting the lock that a plan asks for.

use leasehold::{Client, Guard, Lease, Permit, Result};

use super::plan::{Mode, Plan};
use super::waiting;

/// A held lock of any kind.
#[derive(Debug)]
pub(super) enum Hold {
    Guard(Guard),
    Permit(Permit),
}

impl Hold {
    /// Until when it holds, and with which token.
    pub(super) fn lease(&self) -> &Lease {
        match self {
            Self::Guard(guard) => guard,
            Self::Permit(permit) => permit,
        }
    }

    /// Lets go of it.
    pub(super) async fn release(self) -> Result<()> {
        match self {
            Self::Guard(guard) => guard.release().await,
            Self::Permit(permit) => permit.release().await,
        }
    }
}

/// Gets the lock, and says meanwhile why that takes so long; `None` if it is busy for too long.
pub(super) async fn acquire(client: &Client, plan: &Plan) -> Result<Option<Hold>> {
    tokio::select! {
        biased;
        held = ask(client, plan) => held,
        never = waiting::tell(client, &plan.name) => match never {},
    }
}

/// Sets the terms that every kind of lock has.
macro_rules! on_terms {
    ($lock:expr, $plan:expr) => {{
        let mut lock = $lock.ttl($plan.ttl);
        if let Some(least) = $plan.at_least {
            lock = lock.at_least(least);
        }
        if let Some(most) = $plan.at_most {
            lock = lock.at_most(most);
        }
        lock
    }};
}

/// Asks for the lock.
async fn ask(client: &Client, plan: &Plan) -> Result<Option<Hold>> {
    let name = plan.name.as_str();
    let (never, wait) = (plan.wait.is_some_and(|wait| wait.is_zero()), plan.wait);
    let guard = match plan.mode {
        Mode::Permits(permits) => {
            let semaphore = on_terms!(client.semaphore(name, permits.of)?, plan);
            return Ok(match wait {
                _ if never => semaphore.try_acquire_many(permits.wanted).await?,
                Some(wait) => semaphore.acquire_many_timeout(permits.wanted, wait).await?,
                None => Some(semaphore.acquire_many(permits.wanted).await?),
            }
            .map(Hold::Permit));
        }
        Mode::Shared => {
            let lock = on_terms!(client.rwlock(name)?, plan);
            match wait {
                _ if never => lock.try_read().await?,
                Some(wait) => lock.read_timeout(wait).await?,
                None => Some(lock.read().await?),
            }
        }
        // The writer of a reader/writer lock, so that those who run with `--shared` are its readers.
        Mode::Exclusive if client.info().shared => {
            let lock = on_terms!(client.rwlock(name)?, plan);
            match wait {
                _ if never => lock.try_write().await?,
                Some(wait) => lock.write_timeout(wait).await?,
                None => Some(lock.write().await?),
            }
        }
        Mode::Exclusive => {
            let lock = on_terms!(client.mutex(name)?, plan);
            match wait {
                _ if never => lock.try_lock().await?,
                Some(wait) => lock.lock_timeout(wait).await?,
                None => Some(lock.lock().await?),
            }
        }
    };
    Ok(guard.map(Hold::Guard))
}
