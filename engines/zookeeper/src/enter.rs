//! How a contender gets into its line, once, whatever happens on the way.

use futures_util::future::join;
use leasehold_core::ordered::store::SessionId;
use leasehold_core::ordered::{Key, Line};
use leasehold_core::{Claim, Outcome, Result, Token};
use zookeeper_client::{Client, CreateMode, Error as Cause};

use crate::batch::{Create, Made};
use crate::failure::{self, Request};
use crate::node::{self, Node};
use crate::session::{Contender, Session};
use crate::store::{Inner, lock};
use crate::wire::Data;

/// How often a contender is made again because its parent went away under it.
const PARENTS_TO_MAKE: usize = 5;

impl Inner {
    pub(crate) async fn enter(&self, id: &SessionId, claim: &Claim) -> Result<Line> {
        let session = self.session(id)?;
        let parent = self.layout.path(&claim.name);
        let turn = session.turn(claim.id);
        let _once_at_a_time = turn.lock().await;
        if !session.begin(claim.id) {
            if let Some(line) = self.find(&session, &parent, claim).await? {
                return Ok(line);
            }
        } else if !lock(&self.locks).knows(&claim.name)
            && let Err(error) = self.look_before(&session.client, &parent, claim).await
        {
            session.end(claim.id, None);
            return Err(error);
        }
        match self.make(&session, &parent, claim).await {
            Ok((made, token)) => {
                let contender = Contender::new(claim.name.clone(), made.key, token, made.number);
                session.end(claim.id, Some(contender));
                let first = lock(&self.locks).is_first(&claim.name, made.number, token);
                self.after(&session, &parent, claim, first).await
            }
            Err(error) => {
                if error.outcome() == Outcome::NotApplied {
                    session.end(claim.id, None);
                }
                Err(error)
            }
        }
    }

    /// The line up to a contender that has just been made.
    async fn after(&self, session: &Session, parent: &str, claim: &Claim, first: bool) -> Result<Line> {
        if first {
            session.is_first(claim.id);
            if let Some(line) = self.line_of_first(session, claim.id) {
                return Ok(line);
            }
        }
        match session.client.list_children(parent).await {
            Ok(children) => self.line_up_to_it(session, parent, children, claim).await,
            // It is there, so this is not unknown; but it is cured in the same way, by asking again.
            Err(cause) => Err(failure::request(Request { operation: "lock", path: parent }, cause)
                .with_outcome(Outcome::Unknown)),
        }
    }

    /// Looks whether a lock's path is that of something else, before anything is put there.
    async fn look_before(&self, client: &Client, parent: &str, claim: &Claim) -> Result<()> {
        let request = Request { operation: "lock", path: parent };
        match join(client.get_data(parent), client.list_children(parent)).await {
            (Ok((data, _)), _) if !data.is_empty() => {
                return Err(failure::not_a_lock("lock", parent, "it holds somebody's data"));
            }
            (Ok(_), Ok(children)) => {
                if let Some(other) = children.into_iter().find(|child| Node::parse(child.clone()).is_none()) {
                    let what = format!("it has the child `{other}`, which no lock has");
                    return Err(failure::not_a_lock("lock", parent, &what));
                }
            }
            (Err(Cause::NoNode), _) | (_, Err(Cause::NoNode)) => {
                self.make_parent(client, parent).await?;
            }
            (Err(cause), _) | (_, Err(cause)) => {
                return Err(failure::request(request, cause).with_outcome(Outcome::NotApplied));
            }
        }
        lock(&self.locks).learn(&claim.name);
        Ok(())
    }

    /// Makes a contender's node, and its parent if there is none.
    async fn make(&self, session: &Session, parent: &str, claim: &Claim) -> Result<(Made, Token)> {
        let create = Create {
            parent: parent.to_owned(),
            prefix: format!("{parent}/{}", node::prefix(claim)),
            data: Data::of(claim).write(),
        };
        let request = Request { operation: "lock", path: parent };
        for _ in 0..PARENTS_TO_MAKE {
            match session.writes.create(create.clone()).await {
                Ok(made) => {
                    let token = self.token(&made.key, made.zxid)?;
                    return Ok((made, token));
                }
                Err(Cause::NoNode) => self.make_parent(&session.client, parent).await?,
                Err(cause) => return Err(failure::request(request, cause)),
            }
        }
        Err(failure::request(request, Cause::NoNode))
    }

    /// Makes a lock's node, of the kind that goes away by itself.
    async fn make_parent(&self, client: &Client, parent: &str) -> Result<()> {
        let options = CreateMode::Container.with_acls(self.acls());
        let made = client.mkdir(parent, &options).await;
        // Nothing of the claim has been sent.
        made.map_err(|cause| {
            failure::request(Request { operation: "lock", path: parent }, cause)
                .with_outcome(Outcome::NotApplied)
        })
    }

    /// Looks for a contender that may have been made by a request whose answer was lost.
    async fn find(&self, session: &Session, parent: &str, claim: &Claim) -> Result<Option<Line>> {
        let failed = |cause| {
            failure::request(Request { operation: "lock", path: parent }, cause)
                .with_outcome(Outcome::Unknown)
        };
        let client = &session.client;
        session.writes.settled().await;
        // The request may have gone through another server, and be known to the leader and not yet to this one.
        let (synced, listed) = join(client.sync(parent), client.list_children(parent)).await;
        let children = match (synced, listed) {
            (_, Err(Cause::NoNode)) => return Ok(None),
            (Err(cause), _) | (_, Err(cause)) => return Err(failed(cause)),
            (Ok(()), Ok(children)) => children,
        };
        let begins = node::protection(claim.id);
        let Some(child) = children.iter().find(|child| child.starts_with(&begins)) else { return Ok(None) };
        let key: Key = format!("{parent}/{child}").into();
        let Some(stat) = client.check_stat(&key).await.map_err(failed)? else { return Ok(None) };
        let token = self.token(&key, stat.czxid)?;
        let number = Node::parse(child.clone()).map_or(i32::MAX, |node| node.number);
        session.end(claim.id, Some(Contender::new(claim.name.clone(), key, token, number)));
        self.line_up_to_it(session, parent, children, claim).await.map(Some)
    }

    async fn line_up_to_it(
        &self,
        session: &Session,
        parent: &str,
        children: Vec<String>,
        claim: &Claim,
    ) -> Result<Line> {
        let mut line = self.order(&session.client, parent, children).await?;
        if let Some(at) = line.contenders.iter().position(|contender| contender.id == Some(claim.id)) {
            line.contenders.truncate(at + 1);
        }
        Ok(line)
    }
}
