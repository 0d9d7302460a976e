//! The engine under test and the layers around it, as the command line has them.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use leasehold::url::EngineUrl;
use leasehold::{Engine, Env, Memory};
use leasehold_chaos::{Chaos, Plan};

use crate::verdict::{Failure, Verdict};

/// A layer around an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layer {
    /// `chaos=SEED`
    Chaos(u64),
}

impl FromStr for Layer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=').map(|(layer, seed)| (layer, seed.parse())) {
            Some(("chaos", Ok(seed))) => Ok(Self::Chaos(seed)),
            _ => Err(format!("`{text}` is not a layer; there is `chaos=SEED`, where SEED is a number")),
        }
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chaos(seed) => write!(f, "chaos={seed}"),
        }
    }
}

/// Which weather a layer of chaos may bring.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weather {
    /// Any that a client must stand.
    Any,
    /// No copies of a request after its reply. A copy of a `join` after its `leave` lives for its TTL, which is
    /// what line 3 of the contract allows, and more than a test of the other lines can wait for.
    NoLateCopies,
}

/// An engine and the layers around it, the outermost last: `sqlite:temp+chaos=7`. `quorum:5` is a quorum over so many
/// memory engines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stack {
    /// An engine URL, except that `sqlite:` is followed by the directory for the tests' databases, or by `temp`. The
    /// servers of what is called `redis:temp`, `redlock:temp` and so on are started for the tests.
    pub(crate) engine: String,
    pub(crate) layers: Vec<Layer>,
}

impl FromStr for Stack {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // A scheme may have a `+` in it: `redis+cluster:`.
        let scheme = text.find(':').unwrap_or(0);
        let (engine, layers) = text.split_at(text[scheme..].find('+').map_or(text.len(), |at| scheme + at));
        let engine = engine.to_owned();
        EngineUrl::parse(&engine).map_err(|e| e.to_string())?;
        Ok(Self { engine, layers: layers.split('+').skip(1).map(str::parse).collect::<Result<_, _>>()? })
    }
}

impl fmt::Display for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.engine)?;
        self.layers.iter().try_for_each(|layer| write!(f, "+{layer}"))
    }
}

impl Stack {
    /// The engine's scheme.
    pub(crate) fn scheme(&self) -> &str {
        self.engine.split_once(':').map_or("", |(scheme, _)| scheme)
    }

    /// A short name for tests and files: `sqlite+chaos`. Of servers that others have started less can be tested.
    pub(crate) fn label(&self) -> String {
        let url = if self.engine.contains("://") { "-url" } else { "" };
        let layers = self.layers.iter().map(|layer| match layer {
            Layer::Chaos(_) => "+chaos",
        });
        [self.scheme(), url].into_iter().chain(layers).collect()
    }

    /// Puts the layers around an engine. `nth` of those of a test: each gets a seed of its own.
    pub(crate) fn wrap(
        &self,
        engine: Arc<dyn Engine>,
        env: &Env,
        nth: u64,
        weather: Weather,
    ) -> Arc<dyn Engine> {
        self.layers.iter().fold(engine, |inner, layer| match layer {
            Layer::Chaos(seed) => {
                let mut plan = Plan::seeded(seed.wrapping_mul(1_000_003).wrapping_add(nth));
                if weather == Weather::NoLateCopies {
                    plan.doubled_late = 0;
                }
                Arc::new(Chaos::new(inner, env.clone(), plan))
            }
        })
    }
}

/// Opens an engine without layers.
pub(crate) async fn open(url: &str) -> Verdict<Arc<dyn Engine>> {
    Ok(leasehold::open(url).await?)
}

/// Opens an engine, without layers, on this clock and this randomness.
pub(crate) async fn open_on(url: &str, env: Env) -> Verdict<Arc<dyn Engine>> {
    let parsed = EngineUrl::parse(url)?;
    match parsed.scheme() {
        "memory" => Ok(Arc::new(Memory::new(env))),
        "sqlite" => {
            let config = leasehold::sqlite::Config::from_url(parsed)?;
            Ok(Arc::new(leasehold::sqlite::Sqlite::open(config, env).await?))
        }
        "consul" => {
            let config = leasehold::consul::Config::from_url(parsed)?;
            Ok(Arc::new(leasehold::consul::open(config, env).await?))
        }
        "dynamodb" => {
            let config = leasehold::dynamodb::Config::from_url(parsed)?;
            Ok(Arc::new(leasehold::dynamodb::DynamoDb::open(config, env).await?))
        }
        "etcd" => {
            let config = leasehold::etcd::Config::from_url(parsed)?;
            Ok(Arc::new(leasehold::etcd::Etcd::open(config, env).await?))
        }
        // Its nodes have clocks of their own.
        "redlock" => open(url).await,
        scheme if scheme.starts_with("redis") => {
            let config = leasehold::redis::Config::from_url(parsed)?;
            Ok(Arc::new(leasehold::redis::Redis::open(config, env).await?))
        }
        other => Err(Failure::Trouble(format!("the suite cannot open `{other}:` on another clock"))),
    }
}
