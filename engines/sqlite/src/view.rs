//! Who stands where: one read transaction.

use leasehold_core::engine::{Page, Query, QueueView};
use leasehold_core::{Name, Result};

use crate::line::Line;
use crate::store::{Store, World};
use crate::wire::Wire;
use crate::{boot, failure};

/// How many queues a page has at the most.
const PAGE_QUEUES_MAX: usize = 1024;

/// A page of queues.
pub(crate) fn page(store: &Store, world: &World, query: &Query) -> Result<Page> {
    let fail = |e| failure::sqlite("inspect", &world.place.path, e);
    let wire = &store.wire;
    wire.begin_read().map_err(fail)?;
    let page = match wire.head().map_err(fail) {
        Ok(head) if head.boot == world.boot => read(wire, world, query),
        Ok(_) => Err(boot::two_machines().with("database", world.place.path.display())),
        Err(e) => Err(e),
    };
    wire.roll_back();
    page
}

fn read(wire: &Wire, world: &World, query: &Query) -> Result<Page> {
    let limit = query.limit.min(PAGE_QUEUES_MAX);
    let mut page = Page::default();
    let mut last = query.after.as_ref().map(|name| name.as_str().to_owned());
    if last.as_deref().is_some_and(|after| after < query.prefix.as_str()) {
        last = None;
    }
    while let Some(queue) = next(wire, world, query, &mut last)? {
        if page.queues.len() == limit {
            page.next = page.queues.last().map(|q| q.name.clone());
            break;
        }
        page.queues.push(queue);
    }
    Ok(page)
}

/// The next queue with somebody alive in it.
fn next(wire: &Wire, world: &World, query: &Query, last: &mut Option<String>) -> Result<Option<QueueView>> {
    let fail = |e| failure::sqlite("inspect", &world.place.path, e);
    loop {
        let name = match last {
            Some(last) => wire.name_from(last, true),
            None => wire.name_from(&query.prefix, false),
        };
        let Some(name) = name.map_err(fail)?.filter(|name| name.starts_with(&query.prefix)) else {
            return Ok(None);
        };
        let checked = Name::new(&name)?;
        *last = Some(name);
        let line = Line::load(wire, &checked).map_err(fail)?;
        if let Some(view) = line.queue.view(world.env.now(), &checked) {
            return Ok(Some(view));
        }
    }
}
