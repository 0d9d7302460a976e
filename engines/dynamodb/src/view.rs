//! What onlookers are shown.

use leasehold_core::engine::{Page, Query, QueueView};
use leasehold_core::{Name, Result};

use crate::engine::Inner;
use crate::failure;
use crate::http::plain;

/// A page of queues. A table has no order and no index: unless one lock is asked for by its name, all of it is read.
pub(crate) async fn page(inner: &Inner, query: &Query) -> Result<Page> {
    let (world, now) = (&inner.world, inner.world.env.now());
    if query.limit == 1
        && query.after.is_none()
        && let Ok(name) = Name::new(&query.prefix)
        && let Some(view) = inner.lines.of(&name, now).inspect(world).await?
    {
        // Others may follow whose names begin with this one.
        return Ok(Page { queues: vec![view], next: Some(name) });
    }
    let mut queues: Vec<QueueView> = Vec::new();
    let mut from = None;
    loop {
        let request = world.table.scan(&query.prefix, from.as_ref());
        let mut answer = world.http.ask("Scan", &request).await.map_err(plain)?;
        for value in answer["Items"].as_array().into_iter().flatten() {
            let name = world.table.name_of(value).map_err(|why| failure::odd("look", why))?;
            let Some(name) = name else { continue };
            if query.after.as_ref().is_some_and(|after| name <= *after) {
                continue;
            }
            let item = world.item_of("look", &name, value)?;
            queues.extend(inner.lines.of(&name, now).show(world, &item));
        }
        from = Some(answer["LastEvaluatedKey"].take()).filter(serde_json::Value::is_object);
        if from.is_none() {
            break;
        }
    }
    queues.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    let more = queues.len() > query.limit;
    queues.truncate(query.limit);
    let next = queues.last().filter(|_| more).map(|queue| queue.name.clone());
    Ok(Page { queues, next })
}
