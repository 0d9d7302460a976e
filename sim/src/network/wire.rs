//! What is on the wire between a client and an engine.

use leasehold_core::{Batch, Claim, ClaimId, Leave, Manner, Page, Query, Refresh, Standing, Token};

/// A request on the wire.
#[derive(Clone, Debug)]
pub(crate) enum Request {
    Join(Batch<Claim>),
    Refresh(Batch<Refresh>),
    Leave(Batch<Leave>),
    Inspect(Query),
}

/// Its answer.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Standings(Vec<Standing>),
    Left,
    Page(Page),
}

/// A request's verb and whom it is about.
pub(crate) fn describe(request: &Request) -> (&'static str, Vec<ClaimId>) {
    match request {
        Request::Join(claims) => ("join", claims.iter().map(|c| c.id).collect()),
        Request::Refresh(asks) => ("refresh", asks.iter().map(|a| a.claim.id).collect()),
        Request::Leave(leaves) if leaves.iter().any(|l| l.manner == Manner::Revoke) => {
            ("revoke", leaves.iter().map(|l| l.claim.id).collect())
        }
        Request::Leave(leaves) => ("leave", leaves.iter().map(|l| l.claim.id).collect()),
        Request::Inspect(_) => ("inspect", Vec::new()),
    }
}

/// The tokens that a request proposes.
pub(crate) fn proposals(request: &Request) -> Vec<Token> {
    match request {
        Request::Join(claims) => claims.iter().filter_map(|claim| claim.raise).collect(),
        Request::Refresh(asks) => asks.iter().filter_map(|ask| ask.raise).collect(),
        Request::Leave(_) | Request::Inspect(_) => Vec::new(),
    }
}
