//! The engine itself: the verbs, put together from their parts.

use std::fmt;
use std::os::fd::BorrowedFd;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::future::join_all;
use futures_util::stream::select_all;
use leasehold_core::engine::{Alarms, Hints, Page, Query, Standing};
use leasehold_core::{
    Batch, Claim, ClaimRef, Engine, EngineInfo, Env, Error, ErrorKind, Leave, Refresh, Reply, Result,
};

use crate::config::{self, Config, Order};
use crate::in_turn::InTurn;
use crate::info;
use crate::node::Node;
use crate::shared::Shared;
use crate::tail::Tail;

/// Locks that a majority of independent engines keeps. Cheap to clone; clones share all.
#[derive(Clone)]
pub struct Quorum {
    life: Arc<Life>,
}

/// Tells the tail when the last clone is gone.
struct Life {
    shared: Arc<Shared>,
}

impl Drop for Life {
    fn drop(&mut self) {
        self.shared.leftovers.close();
    }
}

impl fmt::Debug for Quorum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let labels: Vec<&str> = self.shared().nodes.iter().map(|node| &*node.label).collect();
        f.debug_struct("Quorum").field("nodes", &labels).finish_non_exhaustive()
    }
}

impl Quorum {
    /// A quorum of these nodes, each with a name for messages, and its background work, which the caller must run
    /// until it ends. All processes must name the same nodes in the same order.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for fewer than 3 nodes, or if one is named twice; [`ErrorKind::Unsupported`] if
    /// the tokens of one cannot be raised.
    pub fn new(nodes: Vec<(String, Arc<dyn Engine>)>, config: Config, env: Env) -> Result<(Self, Tail)> {
        let warnings = config::check(&nodes)?;
        let in_order = |engine| match config.order {
            Order::Together => engine,
            Order::OneByOne => Arc::new(InTurn(engine)),
        };
        let nodes: Vec<Node> =
            nodes.into_iter().map(|(label, engine)| Node::new(label, in_order(engine))).collect();
        let mut info = info::of(&nodes);
        info.warnings.extend(warnings);
        let shared = Arc::new(Shared::new(nodes, info, env, config));
        let tail = Tail { shared: Arc::clone(&shared) };
        Ok((Self { life: Arc::new(Life { shared }) }, tail))
    }

    /// The same with its background work as a task of the tokio runtime that this is called in.
    ///
    /// # Errors
    /// As [`new`](Self::new); and [`ErrorKind::InvalidInput`] outside a tokio runtime.
    pub fn spawn(nodes: Vec<(String, Arc<dyn Engine>)>, config: Config, env: Env) -> Result<Self> {
        let runtime = tokio::runtime::Handle::try_current().map_err(|e| {
            Error::new(
                ErrorKind::InvalidInput,
                "connect",
                "a quorum needs a tokio runtime; connect inside one",
            )
            .with_source(e)
        })?;
        let (quorum, tail) = Self::new(nodes, config, env)?;
        runtime.spawn(tail.run());
        Ok(quorum)
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.life.shared
    }
}

impl Engine for Quorum {
    fn info(&self) -> &EngineInfo {
        &self.shared().info
    }

    fn join(&self, claims: &[Claim]) -> Reply<Standing> {
        let shared = Arc::clone(self.shared());
        if let [claim] = claims {
            let claim = claim.clone();
            return Reply::later(async move { Batch::from_iter([shared.join(&claim).await]) });
        }
        // Each may wait for something else. They are polled, and so sent, in their order.
        let claims: Batch<Claim> = claims.into();
        Reply::later(async move { join_all(claims.iter().map(|claim| shared.join(claim))).await.into() })
    }

    fn refresh(&self, claims: &[Refresh]) -> Reply<Standing> {
        let (shared, claims) = (Arc::clone(self.shared()), Batch::from(claims));
        Reply::later(async move { shared.refresh(&claims).await })
    }

    fn leave(&self, claims: &[Leave]) -> Reply<()> {
        let (shared, claims) = (Arc::clone(self.shared()), Batch::from(claims));
        Reply::later(async move { shared.leave(&claims).await })
    }

    fn watch(&self, claim: &ClaimRef) -> Hints {
        self.shared().watch(claim)
    }

    fn inspect(&self, query: Query) -> Pin<Box<dyn Future<Output = Result<Page>> + Send>> {
        let shared = Arc::clone(self.shared());
        Box::pin(async move { shared.view(query).await })
    }

    fn alarms(&self) -> Alarms {
        Box::pin(select_all(self.shared().nodes.iter().map(|node| node.engine.alarms())))
    }

    fn lifeline(&self) -> Option<BorrowedFd<'_>> {
        // A node that passes over the dead early does so for its own vote; there is no one file for all.
        None
    }
}
