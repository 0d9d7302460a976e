//! First come, first served.

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::try_join_all;

use crate::broken::{queue, with};
use crate::setup::Setup;
use crate::test::{ONE_QUEUE, Test, test};
use crate::verdict::{Failure, Verdict, ensure};

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test!("order", waiters_get_it_in_the_order_in_which_they_came)
            .needs(&[ONE_QUEUE])
            .catches("hands over to the last", with::<queue::LastComesFirst>),
    ]
}

async fn waiters_get_it_in_the_order_in_which_they_came(setup: Setup) -> Verdict {
    let (one, seen_one) = setup.watched().await?;
    let (two, seen_two) = setup.watched().await?;
    let name = setup.name("m");
    let holder = one.mutex(&name)?.lock().await?;
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut waiters = Vec::new();
    for at in 0..20 {
        // In turns by two clients, as two processes would have them.
        let (client, seen) = if at % 2 == 0 { (&one, &seen_one) } else { (&two, &seen_two) };
        let (lock, order) = (client.mutex(&name)?, Arc::clone(&order));
        waiters.push(tokio::spawn(async move {
            let guard = lock.lock().await?;
            order.lock().unwrap_or_else(PoisonError::into_inner).push((at, guard.token()));
            drop(guard.release().await);
            Ok::<_, Failure>(())
        }));
        setup.within("the waiter stands in the queue", seen.queued(at / 2 + 1)).await?;
    }
    drop(holder);
    for waiter in setup.within("all get it", try_join_all(waiters)).await?? {
        waiter?;
    }
    let order = order.lock().unwrap_or_else(PoisonError::into_inner).clone();
    ensure!(order.is_sorted(), "they came as 0, 1, 2 ... and got it as {order:?}");
    setup.emptied(&one).await
}
