//! Faults of time: deadlines that are set by the wrong one, to the wrong time, or on the wrong clock.

use std::sync::Arc;
use std::time::Duration;

use leasehold::claim::{Claim, Leave, Manner, Refresh, WAITING_TTL_MAX};
use leasehold::clock::BootClock;
use leasehold::engine::Standing;
use leasehold::{Clock, Engine, Env, Query, Result};

use super::{Fault, Inner, Memo, broken};

fn renewal(claim: &Claim) -> Refresh {
    Refresh { claim: claim.key(), ttl: claim.ttl, raise: claim.raise }
}

/// A `join` that is repeated says how the claim stood, and does not renew it.
#[derive(Debug, Default)]
pub(crate) struct JoinDoesNotRenew(Memo<Standing>);

impl Fault for JoinDoesNotRenew {
    async fn join(&self, to: &Inner, claim: Claim) -> Result<Standing> {
        if let Some(standing) = self.0.get(claim.id) {
            return Ok(standing);
        }
        let id = claim.id;
        let standing = to.join(claim).await?;
        self.0.put(id, standing.clone());
        Ok(standing)
    }
}

/// A `refresh` of what is held says so, and does not renew it.
#[derive(Debug, Default)]
pub(crate) struct RefreshDoesNotRenew(Memo<Standing>);

impl Fault for RefreshDoesNotRenew {
    async fn join(&self, to: &Inner, claim: Claim) -> Result<Standing> {
        let id = claim.id;
        let standing = to.join(claim).await?;
        if matches!(standing, Standing::Held { .. }) {
            self.0.put(id, standing.clone());
        }
        Ok(standing)
    }

    async fn refresh(&self, to: &Inner, ask: Refresh) -> Result<Standing> {
        match self.0.get(ask.claim.id) {
            Some(standing) => Ok(standing),
            None => to.refresh(ask).await,
        }
    }
}

/// Any request renews whatever the engine has seen, for minutes: nobody dies while somebody asks.
#[derive(Debug, Default)]
pub(crate) struct AnyoneRenewsAll(Memo<Claim>);

impl AnyoneRenewsAll {
    async fn renew_all(&self, to: &Inner) -> Result<()> {
        for claim in self.0.all() {
            to.refresh(Refresh { ttl: Duration::from_secs(120), ..renewal(&claim) }).await?;
        }
        Ok(())
    }
}

impl Fault for AnyoneRenewsAll {
    async fn join(&self, to: &Inner, claim: Claim) -> Result<Standing> {
        self.renew_all(to).await?;
        self.0.put(claim.id, claim.clone());
        to.join(claim).await
    }

    async fn refresh(&self, to: &Inner, ask: Refresh) -> Result<Standing> {
        self.renew_all(to).await?;
        to.refresh(ask).await
    }
}

/// Whoever comes next to a held lock cuts the holder's time.
#[derive(Debug, Default)]
pub(crate) struct NewcomerCutsHolder(Memo<Claim>);

impl Fault for NewcomerCutsHolder {
    async fn join(&self, to: &Inner, claim: Claim) -> Result<Standing> {
        self.0.put(claim.id, claim.clone());
        to.join(claim).await
    }

    async fn refresh(&self, to: &Inner, ask: Refresh) -> Result<Standing> {
        let standing = to.refresh(ask.clone()).await?;
        if let Standing::Queued { .. } = standing {
            let holder = self.0.all().into_iter().find(|c| c.name == ask.claim.name && c.id != ask.claim.id);
            if let Some(holder) = holder {
                to.leave(Leave { claim: holder.key(), manner: Manner::Evict }).await?;
            }
        }
        Ok(standing)
    }
}

/// A hand-over sets the next one's deadline, as if it had asked.
#[derive(Debug, Default)]
pub(crate) struct HandOverRenews(Memo<Claim>);

impl Fault for HandOverRenews {
    async fn join(&self, to: &Inner, claim: Claim) -> Result<Standing> {
        self.0.put(claim.id, claim.clone());
        to.join(claim).await
    }

    async fn leave(&self, to: &Inner, ask: Leave) -> Result<()> {
        let name = ask.claim.name.clone();
        self.0.take(ask.claim.id);
        to.leave(ask).await?;
        for claim in self.0.all().into_iter().filter(|c| c.name == name) {
            to.refresh(renewal(&claim)).await?;
        }
        Ok(())
    }
}

/// Standings promise more time than the engine keeps.
#[derive(Debug, Default)]
pub(crate) struct BoastsOfTtl;

fn boast(standing: Standing) -> Standing {
    match standing {
        Standing::Held { token, ttl } => Standing::Held { token, ttl: ttl * 4 },
        Standing::Queued { ahead, ttl, look_again } => Standing::Queued { ahead, ttl: ttl * 4, look_again },
        other => other,
    }
}

impl Fault for BoastsOfTtl {
    async fn join(&self, to: &Inner, claim: Claim) -> Result<Standing> {
        to.join(claim).await.map(boast)
    }

    async fn refresh(&self, to: &Inner, ask: Refresh) -> Result<Standing> {
        to.refresh(ask).await.map(boast)
    }
}

/// Waiters are sent to look when it is long too late.
#[derive(Debug, Default)]
pub(crate) struct LooksTooLate;

fn late(standing: Standing) -> Standing {
    match standing {
        Standing::Queued { ahead, ttl, .. } => {
            Standing::Queued { ahead, ttl, look_again: Duration::from_secs(24 * 3600) }
        }
        other => other,
    }
}

impl Fault for LooksTooLate {
    async fn join(&self, to: &Inner, claim: Claim) -> Result<Standing> {
        to.join(claim).await.map(late)
    }

    async fn refresh(&self, to: &Inner, ask: Refresh) -> Result<Standing> {
        to.refresh(ask).await.map(late)
    }
}

/// Claims that are held are forgotten after half of their time.
#[derive(Debug, Default)]
pub(crate) struct ForgetsHolders;

fn doubled(standing: Standing) -> Standing {
    match standing {
        Standing::Held { token, ttl } => Standing::Held { token, ttl: ttl * 2 },
        other => other,
    }
}

impl Fault for ForgetsHolders {
    async fn join(&self, to: &Inner, claim: Claim) -> Result<Standing> {
        let ttl = (claim.ttl / 2).max(to.ttl_min());
        to.join(Claim { ttl, ..claim }).await.map(doubled)
    }

    async fn refresh(&self, to: &Inner, ask: Refresh) -> Result<Standing> {
        to.refresh(Refresh { ttl: ask.ttl / 2, ..ask }).await.map(doubled)
    }
}

/// Claims that wait are forgotten after a quarter of their time.
#[derive(Debug, Default)]
pub(crate) struct ForgetsWaiters;

impl ForgetsWaiters {
    /// For an engine that has no TTL so short.
    async fn join_by_hand(to: &Inner, claim: Claim) -> Result<Standing> {
        let leave = Leave { claim: claim.key(), manner: Manner::Evict };
        let forgotten = BootClock.now() + claim.waiting_ttl() / 4;
        let standing = to.join(claim).await?;
        if let Standing::Queued { .. } = standing {
            let to = to.clone();
            tokio::spawn(async move {
                BootClock.sleep_until(forgotten).await;
                to.leave(leave).await
            });
        }
        Ok(standing)
    }

    async fn finish(to: &Inner, ask: Refresh, standing: Standing) -> Result<Standing> {
        match standing {
            Standing::Held { .. } => to.refresh(ask).await,
            Standing::Queued { ahead, look_again, .. } => {
                Ok(Standing::Queued { ahead, ttl: ask.ttl.min(WAITING_TTL_MAX), look_again })
            }
            other => Ok(other),
        }
    }
}

impl Fault for ForgetsWaiters {
    async fn join(&self, to: &Inner, claim: Claim) -> Result<Standing> {
        let ask = renewal(&claim);
        if claim.ttl / 4 < to.ttl_min() {
            return Self::join_by_hand(to, claim).await;
        }
        let standing = to.join(Claim { ttl: claim.ttl / 4, ..claim }).await?;
        Self::finish(to, ask, standing).await
    }

    async fn refresh(&self, to: &Inner, ask: Refresh) -> Result<Standing> {
        let standing = to.refresh(Refresh { ttl: ask.ttl / 4, ..ask.clone() }).await?;
        Self::finish(to, ask, standing).await
    }
}

/// Deadlines are wall-clock readings of whoever asks, compared with those of whoever waits.
#[derive(Debug)]
pub(crate) struct ComparesWallClocks(Env);

impl ComparesWallClocks {
    pub(crate) fn around(engine: Arc<dyn Engine>, env: &Env) -> Arc<dyn Engine> {
        broken(Self(env.clone()), engine)
    }
}

impl Fault for ComparesWallClocks {
    async fn join(&self, to: &Inner, mut claim: Claim) -> Result<Standing> {
        let deadline = self.0.clock.wall_micros() + u64::try_from(claim.ttl.as_micros()).unwrap_or(u64::MAX);
        claim.meta.payload = Some(deadline.to_string().into());
        to.join(claim).await
    }

    async fn refresh(&self, to: &Inner, ask: Refresh) -> Result<Standing> {
        let page = to.inspect(Query::exactly(&ask.claim.name)).await?;
        for other in page.queues.iter().flat_map(|q| &q.claims).filter(|c| c.id != ask.claim.id) {
            let deadline = other.meta.payload.as_deref().and_then(|text| text.parse::<u64>().ok());
            if deadline.is_some_and(|at| at < self.0.clock.wall_micros()) {
                let claim = leasehold::ClaimRef { name: ask.claim.name.clone(), id: other.id };
                to.leave(Leave { claim, manner: Manner::Evict }).await?;
            }
        }
        to.refresh(ask).await
    }
}
