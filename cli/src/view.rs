//! A queue as people and scripts look at it: who holds, and who waits.

use leasehold_core::claim::CAPACITY_MAX;
use leasehold_core::engine::{ClaimView, QueueView};

use leasehold::{Client, Name, Query};

use crate::exit::Failure;
use crate::output::{printable, span};

/// How many queues are asked for at once.
const PAGE: usize = 500;
/// How many holders are named in one line.
const NAMED_MAX: usize = 3;

/// What a name is used as now.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    Mutex,
    Rwlock,
    Semaphore,
}

impl Kind {
    fn of(capacity: u32) -> Self {
        match capacity {
            1 => Self::Mutex,
            CAPACITY_MAX => Self::Rwlock,
            _ => Self::Semaphore,
        }
    }
}

/// One resource.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub(crate) struct View {
    /// Its name.
    pub(crate) name: Name,
    /// What it is used as; `null` if nobody stands there.
    pub(crate) kind: Option<Kind>,
    /// Its capacity; `null` if nobody stands there.
    pub(crate) capacity: Option<u32>,
    /// Who holds it.
    pub(crate) holders: Vec<ClaimView>,
    /// Who waits, in order.
    pub(crate) waiting: Vec<ClaimView>,
}

impl From<QueueView> for View {
    fn from(queue: QueueView) -> Self {
        let (holders, waiting) =
            queue.claims.into_iter().partition(|claim| claim.token.is_some() || claim.is_foreign());
        Self {
            name: queue.name,
            kind: Some(Kind::of(queue.capacity)),
            capacity: Some(queue.capacity),
            holders,
            waiting,
        }
    }
}

impl View {
    /// What it is used as, in words.
    pub(crate) fn kind(&self) -> String {
        match (self.kind, self.capacity) {
            (None, _) | (_, None) => "free".into(),
            (Some(Kind::Mutex), _) => "mutex".into(),
            (Some(Kind::Rwlock), _) => "rwlock".into(),
            (Some(Kind::Semaphore), Some(capacity)) => format!("semaphore {capacity}"),
        }
    }

    /// How a claim holds or wants it, in words.
    pub(crate) fn share(&self, claim: &ClaimView) -> String {
        match self.kind {
            Some(Kind::Rwlock) if claim.weight < CAPACITY_MAX => "shared".into(),
            Some(Kind::Semaphore) => format!("{} of {}", claim.weight, self.capacity.unwrap_or_default()),
            _ => "exclusive".into(),
        }
    }

    /// Who holds it and for how long they have been there, in a few words.
    pub(crate) fn holders(&self) -> String {
        let named = self.holders.iter().take(NAMED_MAX);
        let mut said = named
            .map(|claim| format!("{} for {}", printable(&claim.meta.owner), span(claim.age)))
            .collect::<Vec<_>>()
            .join(", ");
        if let Some(more) = self.holders.len().checked_sub(NAMED_MAX).filter(|&more| more > 0) {
            said.push_str(&format!(" and {more} more"));
        }
        said
    }
}

/// One resource; with nobody in it if it is free.
pub(crate) async fn look(client: &Client, name: &Name) -> Result<View, Failure> {
    let page = client.inspect(Query::exactly(name)).await?;
    let found = page.queues.into_iter().find(|queue| queue.name == *name);
    let nobody = || View { name: name.clone(), kind: None, capacity: None, holders: vec![], waiting: vec![] };
    Ok(found.map_or_else(nobody, View::from))
}

/// All resources whose names start so.
pub(crate) async fn look_all(client: &Client, prefix: &str) -> Result<Vec<View>, Failure> {
    let mut query = Query { prefix: prefix.to_owned(), after: None, limit: PAGE };
    let mut all = Vec::new();
    loop {
        let page = client.inspect(query.clone()).await?;
        all.extend(page.queues.into_iter().map(View::from));
        match page.next {
            Some(next) => query.after = Some(next),
            None => return Ok(all),
        }
    }
}
