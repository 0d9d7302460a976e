//! Who stands in line: the children of a lock's node, in their order.

use leasehold_core::ordered::{Contender, Key, Line};
use leasehold_core::{ClaimId, ClaimRef, Meta, Name, Result, Token};
use zookeeper_client::{Client, Error as Cause, MultiReadResult, Stat};

use crate::failure::{self, Request};
use crate::node::{self, Node};
use crate::session::Session;
use crate::store::{Inner, lock};
use crate::wire::{self, Data};

/// How many nodes are read in one request.
const READ_TOGETHER: usize = 128;

impl Inner {
    pub(crate) async fn line(&self, client: &Client, name: &Name) -> Result<Line> {
        let parent = self.layout.path(name);
        match client.list_children(&parent).await {
            Ok(children) => self.order(client, &parent, children).await,
            Err(Cause::NoNode) => Ok(Line::default()),
            Err(cause) => Err(failure::request(Request { operation: "look", path: &parent }, cause)),
        }
    }

    /// The line that these children are.
    pub(crate) async fn order(&self, client: &Client, parent: &str, children: Vec<String>) -> Result<Line> {
        let mut nodes: Vec<_> = children.into_iter().filter_map(Node::parse).collect();
        if !node::order(&mut nodes) {
            nodes = self.order_by_transaction(client, parent, nodes).await?;
        }
        let line = self.in_order(parent, nodes);
        if let Some(id) = line.contenders.first().and_then(|first| first.id) {
            lock(&self.sessions).values().for_each(|session| session.is_first(id));
        }
        Ok(line)
    }

    /// The line up to a contender of ours.
    pub(crate) async fn line_up_to(&self, session: &Session, claim: &ClaimRef) -> Result<Line> {
        if session.comes_first(claim.id).await
            && let Some(line) = self.line_of_first(session, claim.id)
        {
            return Ok(line);
        }
        self.line(&session.client, &claim.name).await
    }

    /// The line up to a contender of ours that is the first.
    pub(crate) fn line_of_first(&self, session: &Session, id: ClaimId) -> Option<Line> {
        let contender = session.contender(id)?;
        let (parent, child) = contender.key.rsplit_once('/')?;
        Some(self.in_order(parent, vec![Node::parse(child.to_owned())?]))
    }

    /// The line of these nodes, which are in order.
    pub(crate) fn in_order(&self, parent: &str, nodes: Vec<Node>) -> Line {
        let sessions: Vec<_> = lock(&self.sessions).values().cloned().collect();
        let contender = |node: Node| {
            let key: Key = format!("{parent}/{}", node.child).into();
            let token = node.id.and_then(|id| sessions.iter().find_map(|session| session.token(id)));
            Contender {
                key,
                id: node.id,
                capacity: node.share.capacity,
                weight: node.share.weight,
                token,
                ttl: None,
                since: None,
                revoked: false,
                meta: Meta::default(),
            }
        };
        Line { contenders: nodes.into_iter().map(contender).collect(), stamp: 0 }
    }

    /// Sorts contenders by the transactions that made them. Those that are gone meanwhile are left out.
    async fn order_by_transaction(
        &self,
        client: &Client,
        parent: &str,
        nodes: Vec<Node>,
    ) -> Result<Vec<Node>> {
        let paths: Vec<_> = nodes.iter().map(|node| format!("{parent}/{}", node.child)).collect();
        let read = self.read(client, &paths).await?;
        let mut found: Vec<_> =
            read.into_iter().zip(nodes).filter_map(|(read, node)| Some((read?.1.czxid, node))).collect();
        found.sort_unstable_by_key(|(transaction, _)| *transaction);
        Ok(found.into_iter().map(|(_, node)| node).collect())
    }

    /// Reads nodes; `None` for those that are not there or not for us to read.
    pub(crate) async fn read(
        &self,
        client: &Client,
        paths: &[String],
    ) -> Result<Vec<Option<(Vec<u8>, Stat)>>> {
        // Each is sent when it is made.
        let mut requests = Vec::new();
        for chunk in paths.chunks(READ_TOGETHER) {
            let mut reader = client.new_multi_reader();
            for path in chunk {
                reader.add_get_data(path).expect("the servers themselves have named these paths");
            }
            requests.push((Request { operation: "look", path: &chunk[0] }, reader.commit()));
        }
        let mut out = Vec::with_capacity(paths.len());
        for (request, results) in requests {
            let results = results.await.map_err(|cause| failure::request(request, cause))?;
            out.extend(results.into_iter().map(|result| match result {
                MultiReadResult::Data { data, stat } => Some((data, stat)),
                _ => None,
            }));
        }
        Ok(out)
    }

    pub(crate) async fn describe(&self, mut line: Line) -> Result<Line> {
        let session = self.any();
        let paths: Vec<_> = line.contenders.iter().map(|contender| contender.key.to_string()).collect();
        let read = self.read(&session.client, &paths).await?;
        let described = line.contenders.drain(..).zip(read).filter_map(|(mut contender, read)| {
            let (data, stat) = read?;
            contender.token = u64::try_from(stat.czxid).ok().and_then(Token::new);
            contender.since = u64::try_from(stat.ctime).ok().map(|millis| millis.saturating_mul(1000));
            match Data::read(&data).filter(|_| contender.id.is_some()) {
                Some(data) => {
                    contender.ttl = Some(data.ttl());
                    contender.revoked = data.revoked;
                    contender.meta = data.meta();
                }
                // Curator's are spelled as ours are.
                None => {
                    contender.id = None;
                    contender.meta = wire::foreign(&data);
                }
            }
            Some(contender)
        });
        let contenders = described.collect();
        Ok(Line { contenders, ..line })
    }

    pub(crate) async fn names(&self, prefix: &str, after: Option<&Name>, limit: usize) -> Result<Vec<Name>> {
        let (session, top) = (self.any(), self.layout.top());
        let client = &session.client;
        let failed = |cause| failure::request(Request { operation: "look", path: top }, cause);
        let children = match client.list_children(top).await {
            Ok(children) => children,
            Err(Cause::NoNode) => return Ok(Vec::new()),
            Err(cause) => return Err(failed(cause)),
        };
        let mut names: Vec<_> = children
            .iter()
            .filter_map(|child| self.layout.name(child))
            .filter(|name| name.as_str().starts_with(prefix) && after.is_none_or(|after| name > after))
            .collect();
        names.sort_unstable();
        let mut found = Vec::new();
        for chunk in names.chunks(READ_TOGETHER) {
            let mut reader = client.new_multi_reader();
            for name in chunk {
                reader.add_get_children(&self.layout.path(name)).map_err(failed)?;
            }
            let lines = reader.commit().await.map_err(failed)?;
            found.extend(
                chunk.iter().zip(lines).filter(|(_, line)| is_a_line(line)).map(|(name, _)| name.clone()),
            );
            if found.len() >= limit {
                break;
            }
        }
        found.truncate(limit);
        Ok(found)
    }
}

/// Whether somebody stands there.
fn is_a_line(read: &MultiReadResult) -> bool {
    match read {
        MultiReadResult::Children { children } => {
            children.iter().any(|child| Node::parse(child.clone()).is_some())
        }
        _ => false,
    }
}
