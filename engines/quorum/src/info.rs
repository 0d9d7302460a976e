//! What a quorum promises: what its weakest node does, and what a majority makes of it.

use leasehold_core::EngineInfo;
use leasehold_core::engine::{ClockKind, Durability, Reach, Validity, Wakeups};

use crate::node::Node;

/// What a quorum can do and guarantees whose nodes are all like this one.
pub fn info(node: &EngineInfo) -> EngineInfo {
    weakest(&[node])
}

/// The info of a quorum of these nodes.
pub(crate) fn of(nodes: &[Node]) -> EngineInfo {
    let mut info = weakest(&nodes.iter().map(|node| node.engine.info()).collect::<Vec<_>>());
    info.warnings = nodes
        .iter()
        .flat_map(|node| {
            node.engine.info().warnings.iter().map(|warning| format!("{}: {warning}", node.label))
        })
        .collect();
    info
}

fn weakest(nodes: &[&EngineInfo]) -> EngineInfo {
    let each = || nodes.iter();
    let mut info = EngineInfo::least("redlock");
    info.reach = each().map(|i| i.reach).min().unwrap_or(Reach::Process);
    // Nodes in this process all die with it; others one by one.
    let together = info.reach == Reach::Process && each().all(|i| i.durability == Durability::Volatile);
    info.durability = if together { Durability::Volatile } else { Durability::Quorum };
    info.clock =
        each().map(|i| i.clock).find(|&c| c != ClockKind::ServerBoot).unwrap_or(ClockKind::ServerBoot);
    let push = each().all(|i| i.wakeups == Wakeups::Push);
    info.wakeups = if push { Wakeups::Push } else { Wakeups::Poll };
    let proven = each().all(|i| i.validity == Validity::Proven && i.clock != ClockKind::ServerWall);
    info.validity = if proven { Validity::Proven } else { Validity::Estimated };
    info.ttl_min = each().map(|i| i.ttl_min).max().unwrap_or(info.ttl_min);
    info.ttl_max = each().map(|i| i.ttl_max).min().unwrap_or(info.ttl_max);
    info.ttl_step = each().map(|i| i.ttl_step).max().unwrap_or(info.ttl_step);
    info.batch_max = each().map(|i| i.batch_max).min().unwrap_or(info.batch_max);
    info.shared = each().all(|i| i.shared);
    // It would count from when the first node lets the claim in, which may be long before the hold begins.
    info.at_least = false;
    info.shared_fate = each().any(|i| i.shared_fate);
    // Two majorities may share just one node. If that one forgets its register, only its clock keeps tokens rising.
    info.tokens_rise = each().map(|i| i.tokens_rise).min().unwrap_or(info.tokens_rise);
    info
}
