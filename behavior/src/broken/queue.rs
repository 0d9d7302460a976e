//! Faults of the queue: who stands where, who is told what.

use futures_util::{StreamExt, stream};
use leasehold::claim::{Claim, ClaimId, ClaimRef, Leave, Manner, Refresh};
use leasehold::engine::{Batch, Hint, Hints, Standing};
use leasehold::{Error, ErrorKind, Page, Query, Result, Token};

use super::{Fault, Inner, Memo};

fn release(claim: ClaimRef) -> Leave {
    Leave { claim, manner: Manner::Release }
}

/// A `join` that is repeated stands in the queue once more.
#[derive(Debug, Default)]
pub(crate) struct JoinQueuesTwice(Memo<()>);

impl Fault for JoinQueuesTwice {
    async fn join(&self, to: &Inner, claim: Claim) -> Result<Standing> {
        if self.0.put(claim.id, ()).is_some() {
            to.join(Claim { id: ClaimId(!claim.id.0), ..claim.clone() }).await?;
        }
        to.join(claim).await
    }
}

/// A `join` that is repeated goes to the end of the queue.
#[derive(Debug, Default)]
pub(crate) struct JoinLosesPlace(Memo<()>);

impl Fault for JoinLosesPlace {
    async fn join(&self, to: &Inner, claim: Claim) -> Result<Standing> {
        if self.0.put(claim.id, ()).is_some() {
            to.leave(release(claim.key())).await?;
        }
        to.join(claim).await
    }
}

/// Who refreshes goes to the end of the queue.
#[derive(Debug, Default)]
pub(crate) struct RefreshLosesPlace(Memo<Claim>);

impl Fault for RefreshLosesPlace {
    async fn join(&self, to: &Inner, claim: Claim) -> Result<Standing> {
        self.0.put(claim.id, claim.clone());
        to.join(claim).await
    }

    async fn refresh(&self, to: &Inner, ask: Refresh) -> Result<Standing> {
        let standing = to.refresh(ask.clone()).await?;
        match (standing, self.0.get(ask.claim.id)) {
            (Standing::Queued { .. }, Some(claim)) => {
                to.leave(release(ask.claim)).await?;
                to.join(claim).await
            }
            (standing, _) => Ok(standing),
        }
    }
}

/// A `refresh` of a dead claim queues it again.
#[derive(Debug, Default)]
pub(crate) struct RevivesTheDead(Memo<Claim>);

impl Fault for RevivesTheDead {
    async fn join(&self, to: &Inner, claim: Claim) -> Result<Standing> {
        self.0.put(claim.id, claim.clone());
        to.join(claim).await
    }

    async fn refresh(&self, to: &Inner, ask: Refresh) -> Result<Standing> {
        match (to.refresh(ask.clone()).await?, self.0.get(ask.claim.id)) {
            (Standing::Gone, Some(claim)) => {
                to.leave(Leave { claim: ask.claim, manner: Manner::Evict }).await?;
                to.join(claim).await
            }
            (standing, _) => Ok(standing),
        }
    }
}

/// One claim that is refused or gone makes the whole batch so.
#[derive(Debug, Default)]
pub(crate) struct OneFailsAll;

impl Fault for OneFailsAll {
    fn answers(&self, answers: &mut Batch<Result<Standing>>) {
        let bad = |a: &Result<Standing>| matches!(a, Ok(Standing::Gone | Standing::Refused(_)));
        if let Some(bad) = answers.iter().find(|a| bad(a)).cloned() {
            answers.fill(bad);
        }
    }
}

/// Answers come in the wrong order.
#[derive(Debug, Default)]
pub(crate) struct AnswersReversed;

impl Fault for AnswersReversed {
    fn answers(&self, answers: &mut Batch<Result<Standing>>) {
        answers.reverse();
    }
}

/// The items of a batch take effect in the wrong order.
#[derive(Debug, Default)]
pub(crate) struct BatchReversed;

impl Fault for BatchReversed {
    fn order(&self, items: usize) -> Vec<usize> {
        (0..items).rev().collect()
    }
}

/// `leave` is not heard from those who hold, or not from those who wait.
#[derive(Debug)]
pub(crate) struct LeaveUnheard {
    pub(crate) while_held: bool,
}

impl Fault for LeaveUnheard {
    async fn leave(&self, to: &Inner, ask: Leave) -> Result<()> {
        let page = to.inspect(Query::exactly(&ask.claim.name)).await?;
        let found = page.queues.iter().flat_map(|q| &q.claims).find(|c| c.id == ask.claim.id);
        match found {
            Some(claim) if claim.token.is_some() == self.while_held => Ok(()),
            _ => to.leave(ask).await,
        }
    }
}

/// To leave without being there is an error.
#[derive(Debug, Default)]
pub(crate) struct LeaveMustBeThere;

impl Fault for LeaveMustBeThere {
    async fn leave(&self, to: &Inner, ask: Leave) -> Result<()> {
        let page = to.inspect(Query::exactly(&ask.claim.name)).await?;
        if page.queues.iter().flat_map(|q| &q.claims).any(|c| c.id == ask.claim.id) {
            return to.leave(ask).await;
        }
        Err(Error::new(ErrorKind::Unexpected, "leave", "that claim is not there"))
    }
}

/// Who has waited is told of its turn by a hint only.
#[derive(Debug, Default)]
pub(crate) struct OnlyHintsTell(Memo<Standing>);

impl Fault for OnlyHintsTell {
    async fn join(&self, to: &Inner, claim: Claim) -> Result<Standing> {
        let id = claim.id;
        let standing = to.join(claim).await?;
        if matches!(standing, Standing::Queued { .. }) {
            self.0.put(id, standing.clone());
        }
        Ok(standing)
    }

    async fn refresh(&self, to: &Inner, ask: Refresh) -> Result<Standing> {
        let id = ask.claim.id;
        let standing = to.refresh(ask).await?;
        match self.0.get(id) {
            Some(queued) if matches!(standing, Standing::Held { .. }) => Ok(queued),
            _ => Ok(standing),
        }
    }
}

/// Hints of a hand-over that never was.
#[derive(Debug, Default)]
pub(crate) struct HintsTooEarly;

impl Fault for HintsTooEarly {
    fn watch(&self, to: &Inner, claim: &ClaimRef) -> Hints {
        let early = Token::new(1).expect("1 is a token");
        Box::pin(stream::iter([Hint::Held(early)]).chain(to.0.watch(claim)))
    }
}

/// Hints with another token than the claim's.
#[derive(Debug, Default)]
pub(crate) struct HintsWrongToken;

impl Fault for HintsWrongToken {
    fn watch(&self, to: &Inner, claim: &ClaimRef) -> Hints {
        Box::pin(to.0.watch(claim).map(|hint| match hint {
            Hint::Held(token) => Hint::Held(Token::new(token.get() - 1).expect("the one before is a token")),
            // An engine that pushes nothing but looks is broken by hinting too early.
            Hint::Look => Hint::Held(Token::new(1).expect("1 is a token")),
        }))
    }
}

/// No hints at all.
#[derive(Debug, Default)]
pub(crate) struct NoHints;

impl Fault for NoHints {
    fn watch(&self, _to: &Inner, _claim: &ClaimRef) -> Hints {
        Box::pin(stream::pending())
    }
}

/// Who holds a lock gets it once more, as with a native lock that is re-entrant for its session.
#[derive(Debug, Default)]
pub(crate) struct ReentrantForSession(Memo<()>);

impl Fault for ReentrantForSession {
    async fn join(&self, to: &Inner, claim: Claim) -> Result<Standing> {
        let page = to.inspect(Query::exactly(&claim.name)).await?;
        let holder = page.queues.iter().flat_map(|q| &q.claims).find(|c| c.token.is_some());
        match holder.map(|h| (self.0.get(h.id), h.token)) {
            Some((Some(()), Some(token))) => Ok(Standing::Held { token, ttl: claim.ttl }),
            _ => {
                self.0.put(claim.id, ());
                to.join(claim).await
            }
        }
    }
}

/// Whoever comes goes to the head of those who wait.
#[derive(Debug, Default)]
pub(crate) struct LastComesFirst(Memo<(Claim, usize)>);

impl Fault for LastComesFirst {
    async fn join(&self, to: &Inner, claim: Claim) -> Result<Standing> {
        let waiting = self.0.all();
        let standing = to.join(claim.clone()).await?;
        if matches!(standing, Standing::Queued { .. }) {
            self.0.put(claim.id, (claim.clone(), waiting.len()));
            let mut behind: Vec<_> = waiting.into_iter().filter(|(c, _)| c.name == claim.name).collect();
            behind.sort_by_key(|(_, at)| std::cmp::Reverse(*at));
            for (other, _) in behind {
                to.leave(release(other.key())).await?;
                to.join(other).await?;
            }
        }
        Ok(standing)
    }

    async fn leave(&self, to: &Inner, ask: Leave) -> Result<()> {
        self.0.take(ask.claim.id);
        to.leave(ask).await
    }
}

/// Every page is the first.
#[derive(Debug, Default)]
pub(crate) struct FirstPageForEver;

impl Fault for FirstPageForEver {
    async fn inspect(&self, to: &Inner, query: Query) -> Result<Page> {
        to.inspect(Query { after: None, ..query }).await
    }
}

/// Names are shown whatever they start with.
#[derive(Debug, Default)]
pub(crate) struct PrefixUnheard;

impl Fault for PrefixUnheard {
    async fn inspect(&self, to: &Inner, query: Query) -> Result<Page> {
        let prefix = query.prefix.trim_end_matches("page/").to_owned();
        to.inspect(Query { prefix, ..query }).await
    }
}
