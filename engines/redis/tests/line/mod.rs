//! Clients that stand in line for a lock while its servers are switched under them.

use std::sync::{Arc, Mutex};

use leasehold_core::clock::{BootClock, Moment};
use leasehold_core::{Clock, Engine, Guard, Query, Token};
use tokio::task::JoinHandle;

use crate::world::*;

const WAITERS: usize = 4;

/// Clients that wait for a lock, hold it one after the other and note their tokens.
pub(crate) struct Line {
    tokens: Arc<Mutex<Vec<Token>>>,
    waiting: Vec<JoinHandle<()>>,
}

impl Line {
    pub(crate) async fn behind(held: &Guard, url: &str) -> Self {
        let tokens = Arc::new(Mutex::new(vec![held.token()]));
        let mut waiting = Vec::new();
        for _ in 0..WAITERS {
            let (client, tokens) = (client(url, 5 * SECOND).await, Arc::clone(&tokens));
            let name = held.name().to_string();
            waiting.push(tokio::spawn(async move {
                let guard = client.mutex(&name).unwrap().lock().await.unwrap();
                tokens.lock().unwrap().push(guard.token());
                // Whether the fail-over has lost it again does not matter here.
                drop(guard.release().await);
            }));
        }
        let onlooker = open(url).await;
        until("all wait", async || {
            let query = Query::exactly(held.name());
            let page = onlooker.inspect(query).await.unwrap();
            page.queues.first().is_some_and(|queue| queue.claims.len() == 1 + WAITERS)
        })
        .await;
        Self { tokens, waiting }
    }

    /// All have had it, each with a token above those before.
    pub(crate) async fn all_had_it(self) {
        for waiter in self.waiting {
            within("a waiter has had it", waiter).await.unwrap();
        }
        let tokens = self.tokens.lock().unwrap();
        assert_eq!(tokens.len(), 1 + WAITERS);
        assert!(tokens.is_sorted_by(|a, b| a < b), "{tokens:?}");
    }
}

#[expect(clippy::print_stderr, reason = "a figure for who reads a test's output; nothing depends on it")]
pub(crate) fn measured(what: &str, since: Moment) {
    eprintln!("{what}: {:?}", BootClock.now().since(since));
}
