//! A value in this process.

use std::sync::{Arc, Mutex};

use leasehold_fence::Memory;

use crate::order::{Order, Reply, Value};
use crate::{Answer, Check, Failure, Open, Storage, Target};

#[derive(Clone, Default)]
struct InMemory {
    fence: Memory,
    value: Arc<Mutex<Value>>,
}

struct Seen {
    all: InMemory,
    check: Check,
}

pub(crate) fn target() -> Result<Target, Failure> {
    let all = InMemory::default();
    let open = move |check| -> Box<dyn Storage> { Box::new(Seen { all: all.clone(), check }) };
    Ok(Target {
        name: "memory",
        writes: 100_000,
        open: Open::Tasks(Box::new(open)),
        engine: None,
        _keeps: Box::new(()),
    })
}

impl Storage for Seen {
    fn obey(&mut self, order: Order) -> Answer<'_> {
        Box::pin(async move {
            let (who, to_write) = order.under(self.check);
            let inside = match who.map(|who| self.all.fence.enter(who)) {
                None => None,
                Some(entering) => match entering.await {
                    Ok(inside) => Some(inside),
                    Err(stale) => return Ok(stale.into()),
                },
            };
            // Somebody else's turn, if it can be.
            tokio::task::yield_now().await;
            let mut value = self.all.value.lock().map_err(|_| "somebody panicked")?;
            let reply = match to_write {
                Some(new) => {
                    *value = new;
                    Reply::Done
                }
                None => Reply::Value(*value),
            };
            drop(value);
            drop(inside);
            Ok(reply)
        })
    }
}
