//! `redlock://A,B,C`: a quorum of independent Redis servers.

use std::sync::Arc;

use futures_util::future::try_join_all;
use leasehold_core::url::{EngineUrl, parse_duration};
use leasehold_core::{Engine, Env, Error, ErrorKind, Result};
use leasehold_redis::Redis;

/// The quorum of a URL's nodes. Besides the options of the nodes, `node_timeout` says how long one is waited for, and
/// `ask` whether they are asked `together` or `one-by-one`.
pub(crate) async fn open(mut url: EngineUrl) -> Result<Arc<dyn Engine>> {
    let nodes = leasehold_redis::Config::nodes_from_url(&mut url)?;
    let mut config = leasehold_quorum::Config::default();
    if let Some(timeout) = url.take("node_timeout") {
        config = config.timeout(parse_duration(&timeout)?);
    }
    if let Some(order) = url.take("ask") {
        config = config.order(order.parse()?);
    }
    url.done()?;
    let labels: Vec<String> = nodes.iter().map(|node| node.target.to_string()).collect();
    let opened = nodes.into_iter().map(|node| Redis::open_node(node, Env::system()));
    let opened = try_join_all(opened).await?;
    one_vote_each(&labels, &opened)?;
    let there = opened.iter().filter(|node| node.run_id().is_some()).count();
    let all = opened.len();
    let nodes =
        labels.into_iter().zip(opened).map(|(label, node)| (label, Arc::new(node) as Arc<dyn Engine>));
    let quorum = leasehold_quorum::Quorum::spawn(nodes.collect(), config, Env::system())?;
    if there <= all / 2 {
        let message = format!("of the {all} nodes only {there} can be reached, which is no majority");
        return Err(Error::new(ErrorKind::Unavailable, "connect", message));
    }
    Ok(Arc::new(quorum))
}

/// Two names of one server would give it two votes.
fn one_vote_each(labels: &[String], nodes: &[Redis]) -> Result<()> {
    for (at, node) in nodes.iter().enumerate() {
        let same =
            nodes[..at].iter().position(|other| node.run_id().is_some() && other.run_id() == node.run_id());
        if let Some(same) = same {
            let message = format!(
                "`{}` and `{}` are the same server, and one node has one vote; name each once",
                labels[same], labels[at]
            );
            return Err(Error::new(ErrorKind::InvalidInput, "connect", message));
        }
    }
    Ok(())
}
