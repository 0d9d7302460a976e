//! The engine as one process of a node sees it.

use std::os::fd::BorrowedFd;
use std::pin::Pin;

use leasehold_core::engine::{Alarms, no_alarms};
use leasehold_core::inbox::Inbox;
use leasehold_core::{
    Claim, ClaimRef, Engine, EngineInfo, Error, ErrorKind, Hints, Leave, Outcome, Page, Query, Refresh,
    Reply, Result, Standing,
};

use crate::executor::NodeId;
use crate::network::server::{Peer, Receiver, Server};
use crate::network::wire::{Answer, Request};

/// A connection to the server. Requests leave when a method is called; dropping a call stops nothing.
#[derive(Debug)]
pub struct SimEngine {
    info: EngineInfo,
    server: Server,
    peer: Peer,
}

impl SimEngine {
    /// The connection of a node's process.
    pub fn new(info: EngineInfo, server: Server, node: NodeId, life: u32) -> Self {
        let peer = Peer { node, life, inbox: Inbox::default() };
        server.connect(&peer);
        Self { info, server, peer }
    }
}

/// What a call comes to; a server that is gone never answered.
async fn answer(receiver: Receiver) -> Result<Answer> {
    receiver.await.unwrap_or_else(|_| {
        Err(Error::new(ErrorKind::Unavailable, "request", "the engine is gone")
            .with_outcome(Outcome::Unknown))
    })
}

fn standings(count: usize, receiver: Receiver) -> Reply<Standing> {
    Reply::later(async move {
        match answer(receiver).await {
            Ok(Answer::Standings(all)) => all.into_iter().map(Ok).collect(),
            Ok(other) => unreachable!("a join or refresh is not answered with {other:?}"),
            Err(error) => (0..count).map(|_| Err(error.clone())).collect(),
        }
    })
}

impl Engine for SimEngine {
    fn info(&self) -> &EngineInfo {
        &self.info
    }

    fn join(&self, claims: &[Claim]) -> Reply<Standing> {
        standings(claims.len(), self.server.send(&self.peer, Request::Join(claims.into())))
    }

    fn refresh(&self, claims: &[Refresh]) -> Reply<Standing> {
        standings(claims.len(), self.server.send(&self.peer, Request::Refresh(claims.into())))
    }

    fn leave(&self, claims: &[Leave]) -> Reply<()> {
        let count = claims.len();
        let receiver = self.server.send(&self.peer, Request::Leave(claims.into()));
        Reply::later(async move {
            let answer = answer(receiver).await;
            (0..count).map(|_| answer.as_ref().map(|_| ()).map_err(Clone::clone)).collect()
        })
    }

    fn watch(&self, claim: &ClaimRef) -> Hints {
        self.peer.inbox.watch(claim.id)
    }

    fn inspect(&self, query: Query) -> Pin<Box<dyn Future<Output = Result<Page>> + Send>> {
        let receiver = self.server.send(&self.peer, Request::Inspect(query));
        Box::pin(async move {
            match answer(receiver).await? {
                Answer::Page(page) => Ok(page),
                other => unreachable!("an inspect is not answered with {other:?}"),
            }
        })
    }

    fn alarms(&self) -> Alarms {
        no_alarms()
    }

    fn lifeline(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}
