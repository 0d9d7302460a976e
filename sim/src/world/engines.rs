//! What a node's process locks with: one engine, or a quorum of several.

use std::pin::Pin;
use std::sync::Arc;

use leasehold_core::{Engine, Env};
use leasehold_quorum::{Config, Quorum};

use crate::dice::{Dice, SimRng};
use crate::executor::NodeId;
use crate::mutation::Mutation;
use crate::network::engine::SimEngine;
use crate::world::World;

/// The background work of an engine.
type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

impl World {
    /// Opens the engine for a node's process.
    pub(super) fn open(&self, node: NodeId, life: u32) -> (Arc<dyn Engine>, Work) {
        let connect = |which: usize| -> Arc<dyn Engine> {
            Arc::new(SimEngine::new(self.plan.info.clone(), self.servers[which].clone(), node, life))
        };
        if self.plan.quorum.is_none() {
            return (connect(0), Box::pin(std::future::ready(())));
        }
        let nodes = (0..self.servers.len()).map(|which| (format!("engine {which}"), connect(which)));
        let rng = SimRng::new(Dice::new(self.seed, 500_000 + node as u64 * 1000 + u64::from(life)));
        let env = Env { clock: Arc::new(self.clocks[node].clone()), rng: Arc::new(rng) };
        let mut config = Config::default();
        config.rules = self.mutation.map(Mutation::quorum_rules).unwrap_or_default();
        match Quorum::new(nodes.collect(), config, env) {
            Ok((quorum, tail)) => (Arc::new(quorum), Box::pin(tail.run())),
            Err(error) => unreachable!("these nodes make a quorum: {error:?}"),
        }
    }
}
