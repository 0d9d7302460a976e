//! Servers for a run that has none at hand. They end with it.

use leasehold_core::{Error, ErrorKind, Result};
use leasehold_testkit::redis::{Flavour, Kind, Redis, Servers};

use crate::args::Start;

/// Starts them; they are ready then.
pub(crate) fn start(what: Start) -> Result<Servers> {
    let (kind, flavour) = match what {
        Start::Redis => (Kind::One, Flavour::Redis),
        Start::Valkey => (Kind::One, Flavour::Valkey),
        Start::Five => (Kind::Five, Flavour::Redis),
        Start::Sentinel => (Kind::Sentinels, Flavour::Redis),
        Start::Cluster => (Kind::Cluster, Flavour::Redis),
    };
    Servers::start(kind, &Redis::builder().flavour(flavour))
        .map_err(|e| Error::new(ErrorKind::Unexpected, "bench", "the servers did not start").with_source(e))
}
