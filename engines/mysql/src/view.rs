//! Who stands where, ours and others.

use leasehold_core::engine::{ClaimView, Page, Query, QueueView};
use leasehold_core::{ClaimId, Meta, Name, Result, Token};
use mysql_async::{Error, Row};

use crate::engine::Inner;
use crate::failure;
use crate::wire::{self, get, hex, span};

/// How many queues a page has at the most.
const PAGE_QUEUES_MAX: usize = 1024;

/// Claims that live, and of those that hold only those whose row says so; and the rows that are others'.
fn look(query: &Query, limit: usize) -> String {
    let prefix = hex(&query.prefix);
    let length = query.prefix.len();
    let after = query.after.as_ref().map(|name| hex(name.as_str()));
    let wanted = |column: &str| {
        let after = after.as_ref().map_or(String::new(), |after| format!(" AND {column} > x'{after}'"));
        format!("{column} >= x'{prefix}' AND LEFT({column}, {length}) = x'{prefix}'{after}")
    };
    let (claims, rows) = (wanted("c.name"), wanted("l.lock_name"));
    let one_more = limit + 1;
    format!(
        "SET @leasehold_clock = CAST(UNIX_TIMESTAMP(SYSDATE(6)) * 1000000 AS SIGNED);
         WITH ours AS (
             SELECT c.* FROM leasehold_claim c
               LEFT JOIN distributed_locks l
                 ON l.lock_name = c.name AND l.expires_at > FROM_UNIXTIME(@leasehold_clock * 0.000001)
              WHERE {claims} AND c.deadline > @leasehold_clock
                AND (NOT c.held OR l.owner_id = CONCAT('leasehold:', LOWER(HEX(c.id))) OR l.owner_id = 'leasehold:shared')
         ), stands AS (
             SELECT name, seq, id, capacity, weight, held, joined,
                    LEAST(deadline, @leasehold_clock + GREATEST(ttl, at_least)) AS until, revoked, owner, payload
               FROM ours
             UNION ALL
             SELECT l.lock_name, 0, x'00000000000000000000000000000000',
                    COALESCE((SELECT MIN(o.capacity) FROM ours o WHERE o.name = l.lock_name), 1),
                    COALESCE((SELECT MIN(o.capacity) FROM ours o WHERE o.name = l.lock_name), 1), FALSE,
                    CAST(UNIX_TIMESTAMP(l.created_at) * 1000000 AS SIGNED),
                    CAST(UNIX_TIMESTAMP(l.expires_at) * 1000000 AS SIGNED), FALSE,
                    CONVERT(l.owner_id USING utf8mb4) COLLATE utf8mb4_bin, NULL
               FROM distributed_locks l
              WHERE {rows} AND l.expires_at > FROM_UNIXTIME(@leasehold_clock * 0.000001)
                AND NOT EXISTS (SELECT 1 FROM ours o WHERE o.name = l.lock_name AND o.held)
         )
         SELECT s.name, HEX(s.id), s.capacity, s.weight, IF(s.held, s.seq, NULL), @leasehold_clock - s.joined,
                s.until - @leasehold_clock, s.revoked, s.owner, s.payload
           FROM stands s JOIN (SELECT DISTINCT name FROM stands ORDER BY name LIMIT {one_more}) p ON p.name = s.name
          ORDER BY s.name, s.seq;
         COMMIT"
    )
}

/// A page of queues.
pub(crate) async fn page(inner: &Inner, query: &Query) -> Result<Page> {
    let mut session = inner.side.session().await?;
    let limit = query.limit.min(PAGE_QUEUES_MAX);
    let looking = wire::rows(session.conn(), look(query, limit));
    let rows =
        inner.world.in_time(looking).await.ok_or_else(|| failure::late("inspect", &inner.world.place))?;
    let fail = |e| failure::request("inspect", &inner.world.place, e);
    // After an error the connection is not kept: its transaction is open.
    let rows = rows.map_err(fail)?;
    session.keep();
    let mut page = Page::default();
    for row in rows {
        let name: Vec<u8> = get(&row, 0).map_err(fail)?;
        let Some(Ok(name)) = std::str::from_utf8(&name).ok().map(Name::new) else { continue };
        let claim = claim(&row).map_err(fail)?;
        if let Some(queue) = page.queues.last_mut().filter(|queue| queue.name == name) {
            queue.claims.push(claim);
            continue;
        }
        if page.queues.len() == limit {
            page.next = page.queues.last().map(|queue| queue.name.clone());
            break;
        }
        page.queues.push(QueueView { name, capacity: get(&row, 2).map_err(fail)?, claims: vec![claim] });
    }
    Ok(page)
}

fn claim(row: &Row) -> std::result::Result<ClaimView, Error> {
    let (id, token): (String, Option<u64>) = (get(row, 1)?, get(row, 4)?);
    let (owner, payload): (String, Option<String>) = (get(row, 8)?, get(row, 9)?);
    Ok(ClaimView {
        // Another client's lock has none.
        id: id.parse().unwrap_or(ClaimId(0)),
        weight: get(row, 3)?,
        token: token.and_then(Token::new),
        age: span(get(row, 5)?),
        ttl_left: span(get(row, 6)?),
        revoked: get(row, 7)?,
        meta: Meta { owner: owner.into(), payload: payload.map(Into::into) },
    })
}
