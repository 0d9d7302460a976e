//! Clients that stand in line for a lock while things happen to its servers.

use std::sync::{Arc, Mutex};

use leasehold_core::{Guard, Token};
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
            let (client, tokens) = (client(url, 30 * SECOND).await, Arc::clone(&tokens));
            let name = held.name().to_string();
            waiting.push(tokio::spawn(async move {
                let guard = client.mutex(&name).unwrap().lock().await.unwrap();
                tokens.lock().unwrap().push(guard.token());
                guard.release().await.unwrap();
            }));
        }
        let onlooker = open(url).await;
        until("all wait", async || standing(&onlooker, held.name().as_str()).await == 1 + WAITERS).await;
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
