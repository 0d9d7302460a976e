//! The queues as an onlooker sees them.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;

use crate::claim::ClaimId;
use crate::engine::{ClaimView, Page, Query, QueueView};
use crate::error::Result;
use crate::name::Name;
use crate::ordered::Inner;
use crate::ordered::store::{Contender, Line, Store};

/// How many lines are read at a time.
const LINES_AT_A_TIME: usize = 16;

/// A page of queues.
pub(super) async fn page<S: Store>(inner: Arc<Inner<S>>, query: Query) -> Result<Page> {
    let mut names =
        inner.store.names(&query.prefix, query.after.as_ref(), query.limit.saturating_add(1)).await?;
    let more = names.len() > query.limit;
    names.truncate(query.limit);
    let next = if more { names.last().cloned() } else { None };
    let lines: Vec<_> = stream::iter(names)
        .map(|name| async { (inner.look_closely(&name).await, name) })
        .buffered(LINES_AT_A_TIME)
        .collect()
        .await;
    let wall = inner.env.clock.wall_micros();
    let mut queues = Vec::with_capacity(lines.len());
    for (line, name) in lines {
        queues.extend(view(line?, name, wall));
    }
    Ok(Page { queues, next })
}

impl<S: Store> Inner<S> {
    /// A line with all that is known of others' contenders.
    pub(super) async fn look_closely(&self, name: &Name) -> Result<Line> {
        let line = self.store.line(name).await?;
        self.store.describe(line).await
    }
}

/// One line; `None` if nobody stands in it.
fn view(line: Line, name: Name, wall: u64) -> Option<QueueView> {
    // Foreigners name no capacity: where there are no others, it is a mutex.
    let capacity = line.contenders.iter().find(|c| c.id.is_some()).map_or(1, |c| c.capacity);
    let mut taken = 0;
    let claims: Vec<_> = line
        .contenders
        .into_iter()
        .map(|contender| {
            taken += u64::from(contender.weight.min(capacity));
            claim(contender, taken <= u64::from(capacity), wall)
        })
        .collect();
    (!claims.is_empty()).then_some(QueueView { name, capacity, claims })
}

fn claim(contender: Contender, fits: bool, wall: u64) -> ClaimView {
    ClaimView {
        id: contender.id.unwrap_or(ClaimId(0)),
        weight: contender.weight,
        token: contender.token.filter(|_| fits),
        age: Duration::from_micros(contender.since.map_or(0, |since| wall.saturating_sub(since))),
        ttl_left: contender.ttl.unwrap_or_default(),
        revoked: contender.revoked,
        meta: contender.meta,
    }
}
