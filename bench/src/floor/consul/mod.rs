//! Under Consul: its own recipe, `?acquire` and `?release`, by the bare HTTP library. No token, no queue, no renewal.

mod bare;
mod herd;
mod pair;

use leasehold_core::{Error, ErrorKind};

use crate::entrant::{Entrant, Role};
use crate::load::Case;
use crate::site::Site;

/// The floor of whatever this URL names.
pub(super) fn of(site: &Site<'_>, case: Case) -> Option<Entrant> {
    let (servers, prefix) = (bare::Servers::of(site.url), site.prefix());
    match case {
        Case::Pair => Some(Entrant::opened("?acquire + ?release", Role::Floor, site.env, move |load| {
            pair::Pairs::open(servers.clone(), prefix.clone(), load)
        })),
        Case::Handoff => Some(Entrant::opened("?acquire herd", Role::Floor, site.env, move |load| {
            herd::Herd::open(servers.clone(), prefix.clone(), load)
        })),
        Case::Renew => None,
    }
}

fn failed(source: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::Unexpected, "floor", "bare Consul failed").with_source(source)
}

fn odd(what: &str) -> Error {
    Error::new(ErrorKind::Unexpected, "floor", format!("bare Consul answered `{what}`"))
}
