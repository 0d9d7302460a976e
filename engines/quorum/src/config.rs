//! Which nodes make a quorum, and how they are asked.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use leasehold_core::{Engine, Error, ErrorKind, Result};

use crate::bell::ROPES_MAX;
use crate::rules::Rules;

/// The fewest nodes of which a majority survives the loss of one.
const NODES_MIN: usize = 3;
/// The longest that a node is waited for, unless the configuration says otherwise.
const TIMEOUT_MAX: Duration = Duration::from_millis(200);
/// The shortest: a node in another place needs that long for its answer.
const TIMEOUT_MIN: Duration = Duration::from_millis(20);

/// In which order the nodes are asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum Order {
    /// All at once: a lock that nobody else wants takes one round trip to the slowest of the majority.
    #[default]
    Together,
    /// Each when the one before has answered, or has been waited for, and nothing is decided before the last: as the
    /// original algorithm is told. It takes as many round trips as there are nodes, and validity runs out meanwhile.
    OneByOne,
}

impl FromStr for Order {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "together" => Ok(Self::Together),
            "one-by-one" => Ok(Self::OneByOne),
            _ => Err(refuse(
                ErrorKind::InvalidInput,
                format!("nodes cannot be asked `{text}`; write together or one-by-one"),
            )),
        }
    }
}

/// How nodes are asked.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Config {
    /// In which order the nodes are asked.
    pub order: Order,
    /// How long one node is waited for. It should be several times the round trip to the farthest node, and small
    /// against the TTL: while a node is waited for, validity runs out. By default a twentieth of the TTL, but at
    /// least 20 ms and at most 200 ms.
    pub timeout: Option<Duration>,
    /// Other decisions than the right ones: for the simulator.
    #[doc(hidden)]
    pub rules: Rules,
}

impl Config {
    /// The same with this order.
    #[must_use]
    pub fn order(mut self, order: Order) -> Self {
        self.order = order;
        self
    }

    /// The same with this time for one node.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// How long one node is waited for on behalf of a claim.
    pub(crate) fn patience(&self, ttl: Duration) -> Duration {
        self.timeout.unwrap_or_else(|| (ttl / 20).clamp(TIMEOUT_MIN, TIMEOUT_MAX).min(ttl / 2))
    }
}

fn refuse(kind: ErrorKind, message: String) -> Error {
    Error::new(kind, "connect", message)
}

/// Refuses what makes no quorum; says what makes a poor one.
pub(crate) fn check(nodes: &[(String, Arc<dyn Engine>)]) -> Result<Vec<String>> {
    let count = nodes.len();
    if count < NODES_MIN {
        return Err(refuse(
            ErrorKind::InvalidInput,
            format!(
                "a quorum of {count} nodes survives the loss of none; name {NODES_MIN}, better 5, \
                 independent nodes, or connect to a single one"
            ),
        ));
    }
    if count > ROPES_MAX {
        return Err(refuse(
            ErrorKind::InvalidInput,
            format!("a quorum has at most {ROPES_MAX} nodes, not {count}; 5 survive the loss of 2"),
        ));
    }
    for (at, (label, engine)) in nodes.iter().enumerate() {
        if nodes[..at].iter().any(|(other, same)| other == label || Arc::ptr_eq(same, engine)) {
            return Err(refuse(
                ErrorKind::InvalidInput,
                format!("the node `{label}` is named twice: one node has one vote; name each once"),
            ));
        }
        let info = engine.info();
        if !info.raise {
            return Err(refuse(
                ErrorKind::Unsupported,
                format!(
                    "the node `{label}` cannot be part of a quorum: the tokens of the engine `{}` cannot be raised",
                    info.engine
                ),
            ));
        }
    }
    let mut warnings = Vec::new();
    if count.is_multiple_of(2) {
        warnings.push(format!(
            "{count} nodes survive the loss of {}, as {} do: leave one out or add one",
            (count - 1) / 2,
            count - 1
        ));
    }
    Ok(warnings)
}

#[cfg(test)]
mod tests {
    use leasehold_core::{Env, Memory};

    use super::*;

    fn nodes(labels: &[&str]) -> Vec<(String, Arc<dyn Engine>)> {
        let memory = || -> Arc<dyn Engine> { Arc::new(Memory::new(Env::system())) };
        labels.iter().map(|label| ((*label).to_owned(), memory())).collect()
    }

    #[test]
    fn what_makes_no_quorum_is_refused_with_what_to_do() {
        let mut same = nodes(&["a", "b", "c"]);
        same[2].1 = Arc::clone(&same[0].1);
        let refused = |nodes: &[(String, Arc<dyn Engine>)]| check(nodes).unwrap_err().to_string();
        insta::assert_debug_snapshot!([
            refused(&nodes(&["a", "b"])),
            refused(&nodes(&["a", "b", "a"])),
            refused(&same),
            check(&nodes(&["a", "b", "c", "d"])).unwrap().join(""),
            "at-once".parse::<Order>().unwrap_err().to_string(),
        ]);
        assert_eq!(check(&nodes(&["a", "b", "c", "d", "e"])).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn a_node_is_waited_for_a_small_part_of_the_ttl() {
        let patience = |ms| Config::default().patience(Duration::from_millis(ms)).as_millis();
        assert_eq!([30_000, 1000, 100, 20].map(patience), [200, 50, 20, 10]);
    }
}
