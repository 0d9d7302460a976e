//! Renewal: many locks are held and nothing is done with them. What counts is what that asks of the engine.

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use leasehold_core::{Env, Error, ErrorKind, Guard, Result};

use crate::load::Load;
use crate::measure::{Measured, Waits, cpu_time, per_second};
use crate::ours::Ours;

/// Locks are renewed about this often in a TTL.
const RENEWALS_A_TTL: u32 = 3;
/// How many locks are acquired at a time.
const ACQUIRE_AT_ONCE: usize = 64;

/// Holds locks for a whole number of renewals, at least the load's time, and counts requests.
///
/// # Errors
/// The first that a lock meets, or that a lock was lost.
pub async fn renew(env: &Env, ours: &Ours, load: Load) -> Result<Measured> {
    let mut waits = Waits::default();
    let mut guards: Vec<Guard> = Vec::with_capacity(load.tasks);
    let mut acquiring = FuturesUnordered::new();
    for lock in 0..load.tasks {
        if acquiring.len() == ACQUIRE_AT_ONCE {
            take(&mut guards, &mut waits, acquiring.next().await)?;
        }
        let mutex = ours.mutex(&format!("renew/{lock}"))?;
        acquiring.push(async move {
            let asked = env.now();
            let guard = mutex.lock().await?;
            Ok::<_, Error>((guard, env.now().since(asked)))
        });
    }
    while let Some(one) = acquiring.next().await {
        take(&mut guards, &mut waits, Some(one))?;
    }
    let period = ours.ttl() / RENEWALS_A_TTL;
    let periods = load.span.div_duration_f64(period).ceil().max(1.0);
    // Half-way between two renewals nothing is under way, so each period sees each lock renewed once.
    env.clock.sleep_until(env.now() + period / 2).await;
    let (began, cpu) = (env.now(), cpu_time()?);
    let counts = ours.counts();
    let (requests, renewals) = (counts.all(), counts.renewals());
    env.clock.sleep_until(began + period.mul_f64(periods)).await;
    let span = env.now().since(began);
    let (requests, renewals) = (counts.all() - requests, counts.renewals() - renewals);
    let cpu = cpu_time()?.saturating_sub(cpu);
    let lost = guards.iter().filter(|guard| !guard.is_valid()).count();
    if lost > 0 {
        let message = format!("{lost} of {} locks were lost while they were only renewed", guards.len());
        return Err(Error::new(ErrorKind::Lost, "bench", message));
    }
    Ok(Measured {
        rate_per_s: per_second(renewals, span),
        waits,
        shares: Vec::new(),
        requests_per_s: Some(per_second(requests, span)),
        cpu: Some(cpu.div_duration_f64(span)),
    })
}

fn take(
    guards: &mut Vec<Guard>,
    waits: &mut Waits,
    one: Option<Result<(Guard, std::time::Duration)>>,
) -> Result<()> {
    if let Some(one) = one {
        let (guard, wait) = one?;
        waits.record(wait);
        guards.push(guard);
    }
    Ok(())
}
