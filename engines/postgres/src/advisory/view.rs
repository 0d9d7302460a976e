//! Who has what: our own claims by name, and what others hold by key.

use std::time::Duration;

use hashbrown::HashMap;
use leasehold_core::claim::CAPACITY_MAX;
use leasehold_core::engine::{ClaimView, Page, Query, QueueView};
use leasehold_core::{ClaimId, Meta, Name, Result};
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use crate::advisory::Inner;
use crate::advisory::key::Key;
use crate::lane::Opened;
use crate::{failure, schema};

/// What sessions that are not ours hold in this database. Of a session the client's address tells where it is.
const LOOK: &str = "
    SELECT l.classid, l.objid, l.objsubid, l.mode = 'ShareLock',
           concat_ws(' ', nullif(a.application_name, ''), 'pid ' || l.pid, host(a.client_addr))
      FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
     WHERE l.locktype = 'advisory' AND l.granted AND l.pid <> ALL ($1)
       AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())";

/// A page of queues.
pub(super) async fn page(inner: &Inner, query: &Query) -> Result<Page> {
    let side = inner.side().await?;
    let pids: Vec<i32> = inner.lives().iter().map(|life| life.pid).collect();
    let parameters: [(&(dyn ToSql + Sync), Type); 1] = [(&pids, Type::INT4_ARRAY)];
    let asked = side.connection().client.query_typed(LOOK, &parameters);
    let rows =
        inner.world.in_time(asked).await.ok_or_else(|| failure::late("inspect", &inner.world.place))?;
    let fail = |e| failure::request("inspect", &inner.world.place, e);
    let mut others: HashMap<Key, Vec<ClaimView>> = HashMap::new();
    for row in rows.map_err(fail)? {
        let (key, claim) = other(&row).map_err(fail)?;
        if key != Key::One(schema::RAISING) {
            others.entry(key).or_default().push(claim);
        }
    }
    let mut queues = Vec::new();
    for (key, mut queue) in inner.desk().view(&query.prefix, inner.world.env.now()) {
        let before = others.remove(&key).unwrap_or_default();
        queue.claims.splice(0..0, before.into_iter().map(|claim| of(claim, queue.capacity)));
        queues.push(queue);
    }
    // Whoever asks for one lock tells its name.
    if let Ok(name) = Name::new(&query.prefix)
        && let Some(claims) = others.remove(&inner.keys.key(name.as_str()))
    {
        queues.push(foreign(name, claims));
    }
    for (key, claims) in others {
        let name = Name::new(&key.to_string()).ok().filter(|name| name.as_str().starts_with(&query.prefix));
        queues.extend(name.map(|name| foreign(name, claims)));
    }
    queues.retain(|queue| query.after.as_ref().is_none_or(|after| queue.name > *after));
    queues.sort_unstable_by(|one, other| one.name.cmp(&other.name));
    let mut page = Page::default();
    if queues.len() > query.limit {
        queues.truncate(query.limit);
        page.next = queues.last().map(|queue| queue.name.clone());
    }
    page.queues = queues;
    Ok(page)
}

/// A queue of which nothing is known but who holds.
fn foreign(name: Name, claims: Vec<ClaimView>) -> QueueView {
    let capacity =
        claims.iter().map(|claim| if claim.weight == 1 { CAPACITY_MAX } else { 1 }).max().unwrap_or(1);
    QueueView { name, capacity, claims: claims.into_iter().map(|claim| of(claim, capacity)).collect() }
}

/// A claim that has all of the capacity or shares it.
fn of(claim: ClaimView, capacity: u32) -> ClaimView {
    ClaimView { weight: claim.weight.min(capacity), ..claim }
}

fn other(row: &Row) -> std::result::Result<(Key, ClaimView), tokio_postgres::Error> {
    let (high, low, form): (u32, u32, i16) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    let bits = u64::from(high) << 32 | u64::from(low);
    let key = if form == 1 { Key::One(bits.cast_signed()) } else { Key::two(bits) };
    let claim = ClaimView {
        // Who it is and since when, only its client knows.
        id: ClaimId(0),
        weight: if row.try_get(3)? { 1 } else { CAPACITY_MAX },
        token: None,
        age: Duration::ZERO,
        ttl_left: Duration::ZERO,
        revoked: false,
        meta: Meta { owner: row.try_get::<_, String>(4)?.into(), payload: None },
    };
    Ok((key, claim))
}
