//! kazoo's Lock: ZooKeeper's recipe in Python, with one session for all tasks.

use super::python::Library;
use crate::entrant::{Entrant, Role};
use crate::floor::zookeeper;
use crate::site::Site;

const NAME: &str = "kazoo";

/// `None` where it is not installed; that is said.
pub(super) fn entrant(servers: &str, site: &Site<'_>) -> Option<Entrant> {
    let library = Library::find(NAME, include_str!("kazoo.py"))?;
    let (servers, prefix) = (servers.to_owned(), zookeeper::prefix(site));
    Some(Entrant::new(NAME, Role::Peer, move |load| {
        let (servers, library, prefix) = (servers.clone(), library.clone(), prefix.clone());
        Box::pin(async move { library.run(&servers, &prefix, load).await })
    }))
}
