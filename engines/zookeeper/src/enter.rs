//! How a contender gets into its line, once, whatever happens on the way.

use futures_util::future::join;
use leasehold_core::ordered::store::SessionId;
use leasehold_core::ordered::{Key, Line};
use leasehold_core::{Claim, Outcome, Result, Token};
use zookeeper_client::{Client, CreateMode, Error as Cause};

use crate::failure::{self, Request};
use crate::node::{self, Node};
use crate::session::Session;
use crate::store::{Inner, lock};
use crate::wire::Data;

/// How often a contender is made again because its parent went away under it.
const PARENTS_TO_MAKE: usize = 5;
/// How many locks are remembered to have been looked at before we first put something there.
const LOCKS_REMEMBERED: usize = 50_000;

impl Inner {
    pub(crate) async fn enter(&self, id: &SessionId, claim: &Claim) -> Result<Line> {
        let session = self.session(id)?;
        let parent = self.layout.path(&claim.name);
        if !session.begin(claim.id) {
            if let Some(line) = self.find(&session, &parent, claim).await? {
                return Ok(line);
            }
        } else if !lock(&self.locks).contains(&claim.name)
            && let Err(error) = self.look_before(&session.client, &parent, claim).await
        {
            session.end(claim.id, None);
            return Err(error);
        }
        let made = self.make(&session, &parent, claim).await;
        if !matches!(&made, Err(error) if error.outcome() == Outcome::Unknown) {
            let contender = made.as_ref().ok().map(|(key, token, _)| (key.clone(), *token));
            session.end(claim.id, contender);
        }
        let (_, _, children) = made?;
        self.line_up_to(&session, &parent, children?, claim).await
    }

    /// Looks whether a lock's path is that of something else, before anything is put there.
    async fn look_before(&self, client: &Client, parent: &str, claim: &Claim) -> Result<()> {
        let request = Request { operation: "lock", path: parent };
        match join(client.get_data(parent), client.list_children(parent)).await {
            (Ok((data, _)), _) if !data.is_empty() => {
                return Err(failure::not_a_lock("lock", parent, "holds somebody's data"));
            }
            (Ok(_), Ok(children)) => {
                if let Some(other) = children.into_iter().find(|child| Node::parse(child.clone()).is_none()) {
                    let what = format!("has the child `{other}`, which no lock has");
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
        let mut locks = lock(&self.locks);
        if locks.len() >= LOCKS_REMEMBERED {
            locks.clear();
        }
        locks.insert(claim.name.clone());
        Ok(())
    }

    /// Makes a contender's node and lists all, in one go: requests of a session are done in order.
    async fn make(
        &self,
        session: &Session,
        parent: &str,
        claim: &Claim,
    ) -> Result<(Key, Token, Result<Vec<String>>)> {
        let (client, prefix) = (&session.client, format!("{parent}/{}", node::prefix(claim)));
        let data = Data::of(claim).write();
        let options = CreateMode::EphemeralSequential.with_acls(self.acls());
        let request = Request { operation: "lock", path: parent };
        for _ in 0..PARENTS_TO_MAKE {
            let created = client.create(&prefix, &data, &options);
            let listed = client.list_children(parent);
            match join(created, listed).await {
                (Ok((stat, number)), listed) => {
                    let key: Key = format!("{prefix}{number}").into();
                    let token = self.token(&key, &stat)?;
                    // It is there, so without the line its outcome is not unknown; but asking again is the cure.
                    let listed = listed
                        .map_err(|cause| failure::request(request, cause).with_outcome(Outcome::Unknown));
                    return Ok((key, token, listed));
                }
                (Err(Cause::NoNode), _) => self.make_parent(client, parent).await?,
                (Err(cause), _) => return Err(failure::request(request, cause)),
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
        let token = self.token(&key, &stat)?;
        session.end(claim.id, Some((key, token)));
        self.line_up_to(session, parent, children, claim).await.map(Some)
    }

    async fn line_up_to(
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
