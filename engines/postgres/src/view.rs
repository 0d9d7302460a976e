//! Who stands where, ours and others.

use leasehold_core::engine::{ClaimView, Page, Query, QueueView};
use leasehold_core::{ClaimId, Meta, Name, Result, Token};
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use crate::engine::Inner;
use crate::failure;
use crate::wire::span;

/// How many queues a page has at the most.
const PAGE_QUEUES_MAX: usize = 1024;

/// Claims that live, and of those that hold only those whose row says so; and the rows that are others'.
const LOOK: &str = "
    WITH row AS (
        SELECT lock_name COLLATE \"C\" AS name, owner_id, expires_at, created_at FROM distributed_locks
         WHERE expires_at > clock_timestamp() AND lock_name COLLATE \"C\" >= $1 AND starts_with(lock_name, $1)
           AND ($2::text IS NULL OR lock_name COLLATE \"C\" > $2)
    ), ours AS (
        SELECT c.* FROM leasehold_claim c
         WHERE c.deadline > clock_timestamp() AND c.name >= $1 AND starts_with(c.name, $1)
           AND ($2::text IS NULL OR c.name > $2)
           AND (c.token IS NULL OR EXISTS (
                SELECT FROM row r WHERE r.name = c.name AND r.owner_id IN ('leasehold:' || c.id, 'leasehold:shared')))
    ), stands AS (
        SELECT name, seq, id, capacity, weight, token, joined, least(deadline, now() + greatest(ttl, at_least)) AS until,
               revoked, owner, payload
          FROM ours
        UNION ALL
        SELECT r.name, 0, '', coalesce((SELECT min(capacity) FROM ours o WHERE o.name = r.name), 1),
               coalesce((SELECT min(capacity) FROM ours o WHERE o.name = r.name), 1), NULL, r.created_at, r.expires_at, false,
               r.owner_id, NULL
          FROM row r WHERE NOT EXISTS (SELECT FROM ours o WHERE o.name = r.name AND o.token IS NOT NULL)
    )
    SELECT name, id, capacity, weight, token, (extract(epoch FROM now() - joined) * 1000000)::bigint,
           (extract(epoch FROM until - now()) * 1000000)::bigint, revoked, owner, payload
      FROM stands WHERE name IN (SELECT DISTINCT name FROM stands ORDER BY name LIMIT $3)
     ORDER BY name, seq";

/// A page of queues.
pub(crate) async fn page(inner: &Inner, query: &Query) -> Result<Page> {
    let session = inner.side.session().await?;
    let limit = query.limit.min(PAGE_QUEUES_MAX);
    let after = query.after.as_ref().map(Name::as_str);
    let one_more = i64::try_from(limit + 1).unwrap_or(i64::MAX);
    let parameters: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 3] =
        [(&query.prefix, Type::TEXT), (&after, Type::TEXT), (&one_more, Type::INT8)];
    let asked = session.connection.client.query_typed(LOOK, &parameters);
    let Some(rows) = inner.world.in_time(asked).await else {
        inner.side.forget(&session);
        return Err(failure::late("inspect", &inner.world.place));
    };
    let fail = |e| failure::request("inspect", &inner.world.place, e);
    let mut page = Page::default();
    for row in rows.map_err(fail)? {
        let Ok(name) = Name::new(row.try_get::<_, &str>(0).map_err(fail)?) else { continue };
        let claim = claim(&row).map_err(fail)?;
        if let Some(queue) = page.queues.last_mut().filter(|queue| queue.name == name) {
            queue.claims.push(claim);
            continue;
        }
        if page.queues.len() == limit {
            page.next = page.queues.last().map(|queue| queue.name.clone());
            break;
        }
        let capacity: i32 = row.try_get(2).map_err(fail)?;
        page.queues.push(QueueView { name, capacity: capacity.unsigned_abs(), claims: vec![claim] });
    }
    Ok(page)
}

fn claim(row: &Row) -> std::result::Result<ClaimView, tokio_postgres::Error> {
    let (id, weight, token): (&str, i32, Option<i64>) = (row.try_get(1)?, row.try_get(3)?, row.try_get(4)?);
    Ok(ClaimView {
        // Another client's lock has none.
        id: id.parse().unwrap_or(ClaimId(0)),
        weight: weight.unsigned_abs(),
        token: token.and_then(|token| Token::new(token.unsigned_abs())),
        age: span(row.try_get(5)?),
        ttl_left: span(row.try_get(6)?),
        revoked: row.try_get(7)?,
        meta: Meta {
            owner: row.try_get::<_, &str>(8)?.into(),
            payload: row.try_get::<_, Option<&str>>(9)?.map(Into::into),
        },
    })
}
